"""What a search needs of an engine. Implemented by `arts_lite.engine.Engine` and by the tests' fake engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from arts_lite.types import BranchId, Event, SamplingParams, StepRules


class Engine(Protocol):
    """Branches of token sequences over one model, advanced together, seen through events.

    A branch holds tokens[0:length]: the prompt, then what was generated. It is *paused* after `open`, `fork` and every
    event of its own; `run` lets it go on. Positions count tokens from the start of the prompt.
    """

    def open(
        self,
        tokens: Sequence[int],
        *,
        sampling: SamplingParams,
        rules: StepRules,
        seed: int,
        stream: int,
        max_tokens: int,
        owner: int = 0,
    ) -> BranchId:
        """Open a branch on a prompt. Its draws are a function of (seed, stream, path of forks, position).

        Args:
            tokens: prompt, at least one token.
            seed, stream: >= 0; branches of one prompt differ in `stream`.
            max_tokens: most tokens that the trace may generate, >= 1.
            owner: whose quota the branch's tokens count against (`set_quota`).
        """
        ...

    def fork(self, branch: BranchId, position: int) -> BranchId:
        """Fork tokens[0:position] of a branch, 1 <= position <= length, as a paused branch with draws of its own."""
        ...

    def run(self, branch: BranchId, *, pause_on_step: bool = False) -> None:
        """Let a paused branch generate until its next event. An ended branch cannot run."""
        ...

    def pause(self, branch: BranchId) -> None:
        """Take a running branch out of the loop; nothing of it is lost."""
        ...

    def park(self, branch: BranchId) -> None:
        """Pause a branch and free the KV cells that it alone holds; `run` brings it back."""
        ...

    def close(self, branch: BranchId) -> None:
        """Forget a branch and free what it alone holds."""
        ...

    def advance(self, max_seconds: float | None = None) -> list[Event]:
        """Decode until something happens; returns its events, at least one. Nothing running: returns []."""
        ...

    def interrupt(self) -> None:
        """Make a running or the next `advance` return soon with an INTERRUPTED event. Callable from any thread."""
        ...

    def set_quota(self, owner: int, max_tokens: int) -> None:
        """Allow an owner's branches to decode so many more tokens in all (prompts are not counted)."""
        ...

    def quota_spent(self, owner: int) -> int:
        """Tokens that an owner's branches have decoded so far, in the engine's life."""
        ...

    def tokens(self, branch: BranchId) -> NDArray[np.int32]:
        """All tokens of a branch, prompt included, shape [length]."""
        ...

    def num_prompt_tokens(self, branch: BranchId) -> int:
        """How many of the branch's tokens are its prompt."""
        ...

    def log_probs(self, branch: BranchId) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Natural-log probability of each generated token under the model and under the sampling distribution.

        Two arrays of shape [length - num_prompt_tokens].
        """
        ...

    def expected_log_probs(self, branch: BranchId) -> NDArray[np.float32]:
        """What each generated token's log-prob under the model is in expectation, given the tokens before it.

        The mean over the sampling distribution, shape [length - num_prompt_tokens]; at temperature 1 without filters
        the negated entropy.
        """
        ...

    def boundaries(self, branch: BranchId) -> list[int]:
        """Positions at which the branch's steps end so far, ascending; the end of an ended trace is not among them."""
        ...

    def text(self, branch: BranchId, start: int | None = None, end: int | None = None) -> bytes:
        """Bytes of tokens[start:end] (default: all that was generated), without special tokens and stop string."""
        ...


class ScoringEngine(Engine, Protocol):
    """An engine with a value head: the proposer's with a probe, or a verifier's own.

    The value of a position p is what the head says of tokens[0:p]. Forks have the values of what they share.
    """

    def append(
        self,
        branch: BranchId,
        tokens: Sequence[int] = (),
        *,
        marks: Sequence[int] = (),
        keep_states: bool = False,
    ) -> None:
        """Give a branch that is not running more tokens; `advance` decodes all that it holds, then tells APPENDED.

        marks: positions in [1, new length] to read values at.
        """
        ...

    def values(self, branch: BranchId, positions: Sequence[int]) -> NDArray[np.float64]:
        """Values at positions in [1, length]; NaN where none was read."""
        ...

    def step_values(self, branch: BranchId) -> NDArray[np.float64]:
        """Values at the boundaries and, of an ended trace, at its end."""
        ...
