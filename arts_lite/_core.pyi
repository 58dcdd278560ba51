"""Types of the C++ extension. Checked against it by mypy's stubtest."""

from collections.abc import Mapping, Sequence
from typing import NoReturn, final, type_check_only

import numpy as np
from numpy.typing import NDArray

@type_check_only
class _PybindType(type):
    """Metaclass of pybind11's classes."""

def required_symbols() -> list[str]:
    """Names of the libllama functions that `bind` needs."""

def abi() -> dict[str, int]:
    """Struct sizes and field offsets that this extension was compiled with, e.g. ``llama_batch.size``."""

def bind(addresses: Mapping[str, int]) -> None:
    """Use the functions of an already loaded libllama, given by address. Raises ValueError: one is missing."""

def build_commit() -> str:
    """The llama.cpp commit whose headers this extension was compiled with, or ''."""

def log_probabilities(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """log softmax of one row, as the sampler computes it. float32[n_vocab] -> float32[n_vocab]."""

@final
class SamplingParams(metaclass=_PybindType):
    """Checked by `arts_lite.types.SamplingParams`; see there for the meaning and the order of the filters."""

    def __init__(
        self,
        *,
        temperature: float,
        top_k: int,
        top_p: float,
        min_p: float,
        repeat_penalty: float,
        repeat_last_n: int,
        logit_bias: Sequence[tuple[int, float]],
    ) -> None: ...

@final
class StepRules(metaclass=_PybindType):
    """See `arts_lite.types.StepRules`; texts as bytes."""

    def __init__(self, *, delimiters: Sequence[bytes], min_step_bytes: int, stop_strings: Sequence[bytes]) -> None: ...

def sample_row(
    logits: NDArray[np.float32],
    history: NDArray[np.int32],
    params: SamplingParams,
    seed: int,
    stream: int,
    position: int,
) -> tuple[int, float, float]:
    """Draw one token from a row: (token, log-prob under the model, log-prob under the sampling distribution)."""

@final
class Event(metaclass=_PybindType):
    def __init__(self, *args: NoReturn, **kwargs: NoReturn) -> None:
        """Made by the engine only."""

    @property
    def kind(self) -> str:
        """A value of `arts_lite.types.EventKind`."""
    @property
    def branch(self) -> int:
        """-1 where the event has no branch."""
    @property
    def position(self) -> int: ...
    @property
    def reason(self) -> str:
        """A value of `arts_lite.types.StopReason`, or ''."""

@final
class Stats(metaclass=_PybindType):
    """Counters of an engine since it was made. Seconds are wall time."""

    def __init__(self, *args: NoReturn, **kwargs: NoReturn) -> None:
        """Made by the engine only."""

    @property
    def num_tokens_decoded(self) -> int:
        """Rows decoded to extend branches (one row may serve several branches that are still equal)."""
    @property
    def num_tokens_prefilled(self) -> int:
        """Prompt tokens decoded, each distinct prefix once."""
    @property
    def num_tokens_redecoded(self) -> int:
        """Tokens decoded again because their branch had been parked or forked where no candidates were kept."""
    @property
    def num_tokens_shared(self) -> int:
        """Tokens taken from a living prefix instead of decoded: by `open`, `fork`, or drawing what others drew."""
    @property
    def num_rows_padding(self) -> int: ...
    @property
    def num_decode_calls(self) -> int: ...
    @property
    def num_forks(self) -> int:
        """llama.cpp sequence copies made."""
    @property
    def num_parked(self) -> int:
        """Times that a branch was parked, by the caller or for want of room."""
    @property
    def decode_s(self) -> float:
        """Inside llama_decode and waiting for its results."""
    @property
    def sample_s(self) -> float: ...
    @property
    def advance_s(self) -> float:
        """Inside advance() in all; outside share = 1 - decode_s / advance_s."""
    @property
    def num_cells_used(self) -> int: ...
    @property
    def num_cells_high_water(self) -> int:
        """Highest used cell index + 1 at present: what attention has to walk over."""
    @property
    def num_cells_capacity(self) -> int: ...
    @property
    def num_sequences_used(self) -> int: ...
    @property
    def num_sequences(self) -> int: ...
    @property
    def num_branches(self) -> int: ...
    @property
    def num_rows_target(self) -> int:
        """How many branches the loop would run at once now, from what it has measured so far."""
    @property
    def num_rows_max(self) -> int:
        """How many branches one decode call advances at most."""

@final
class Engine(metaclass=_PybindType):
    """Branches over one llama_context. Not owning: the context must outlive it (call `shutdown` first).

    Every method may be called from any thread; calls take turns. Methods of a branch that does not exist or of an
    engine after `shutdown` raise BranchClosedError.
    """

    def __init__(
        self,
        context: int,
        *,
        max_trace_tokens: int,
        max_rows: int,
        first_rows: int = 16,
        max_prefill_rows: int,
        num_threads: int,
        num_sequences: int = 256,
        tunes_rows: bool = True,
        pins_cells: bool = False,
        is_reproducible: bool = False,
    ) -> None:
        """Adopt a llama_context made with kv_unified=True, swa_full=True, n_seq_max=num_sequences.

        max_rows: branches advanced by one decode call at most (the loop measures which number is fast); first_rows: how many
        until it has measured; max_prefill_rows: prompt tokens in one decode call, <= n_batch;
        num_threads: for sampling rows in parallel; tunes_rows: measure which
        batch sizes are fast, and choose them (fewer rows, or padding);
        pins_cells: needed for sliding-window models (llama.cpp recycles cells that only one sequence holds once the
        window has passed them, even in a full-size cache); halves the number of sequences;
        is_reproducible: whenever there is no branch, begin as a new engine does; let no clock and no measurement choose
        what is decoded. What follows is a function of the calls, to the last bit where llama.cpp's kernels repeat.
        """

    def open(
        self,
        tokens: NDArray[np.int32],
        sampling: SamplingParams,
        rules: StepRules,
        seed: int,
        stream: int,
        max_tokens: int,
        owner: int,
    ) -> int: ...
    def fork(self, branch: int, position: int) -> int: ...
    def truncate(self, branch: int, position: int) -> None:
        """Cut a paused or ended branch back to tokens[0:position]; it may run again."""

    def run(self, branch: int, pause_on_step: bool) -> None: ...
    def append(self, branch: int, tokens: NDArray[np.int32], marks: NDArray[np.int32], keep_states: bool) -> None:
        """Have given tokens decoded; see `arts_lite.engine.Engine.append`. Marks are positions in [1, new length]."""

    def set_linear_head(self, weight: NDArray[np.float32], bias: float) -> None:
        """weight: float32[num_embd], finite. Only while no branch is open."""

    def set_token_head(self, token: int, bias: float) -> None: ...
    def remove_head(self) -> None: ...
    @property
    def num_embd(self) -> int:
        """Elements of a hidden state."""

    def values(self, branch: int, positions: NDArray[np.int32]) -> NDArray[np.float64]:
        """float64[len(positions)]; NaN where none was read."""

    def step_values(self, branch: int) -> NDArray[np.float64]: ...
    def hidden_states(self, branch: int, positions: NDArray[np.int32]) -> NDArray[np.float32]:
        """float32[len(positions), num_embd]. Raises ValueError where none was kept."""

    def pause(self, branch: int) -> None: ...
    def park(self, branch: int) -> None: ...
    def close(self, branch: int) -> None: ...
    def advance(self, max_seconds: float) -> list[Event]:
        """`max_seconds` < 0: no limit; 0: one decode call. The GIL is released while decoding."""

    def interrupt(self) -> None: ...
    def set_quota(self, owner: int, max_tokens: int) -> None: ...
    def quota_spent(self, owner: int) -> int:
        """Tokens that an owner's branches have decoded so far."""

    def forget_owner(self, owner: int) -> None: ...
    def tokens(self, branch: int) -> NDArray[np.int32]: ...
    def num_tokens(self, branch: int) -> int: ...
    def num_prompt_tokens(self, branch: int) -> int: ...
    def num_cached(self, branch: int) -> int:
        """How many of the branch's tokens have their KV cell in the cache."""

    def log_probs(self, branch: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]: ...
    def expected_log_probs(self, branch: int) -> NDArray[np.float32]: ...
    def boundaries(self, branch: int) -> list[int]: ...
    def text(self, branch: int, start: int, end: int) -> bytes: ...
    def state(self, branch: int) -> str:
        """'paused' | 'running' | 'ended'."""

    def stats(self) -> Stats: ...
    def check(self) -> None:
        """Compare the books with llama.cpp's (positions of every sequence); raises RuntimeError. For tests."""

    def shutdown(self) -> None:
        """Close all branches and let go of the context. Idempotent."""
