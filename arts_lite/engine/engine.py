"""The engine: branches of token sequences over one model, as the search sees them."""

from __future__ import annotations

import dataclasses
import os
import weakref
from collections.abc import Sequence
from functools import cached_property
from types import TracebackType
from typing import Any

import llama_cpp.llama_cpp as llama
import numpy as np
from numpy.typing import NDArray

from arts_lite import _core
from arts_lite.engine import log
from arts_lite.engine.capacity import CachePlan, plan_cache
from arts_lite.engine.conditions import conditions_of
from arts_lite.engine.config import DEFAULT_CONFIG, EngineConfig
from arts_lite.engine.context import make_context
from arts_lite.engine.model import Model
from arts_lite.engine.stats import EngineStats
from arts_lite.engine.translate import MAX_I32, MAX_U64, check_number, core_rules, core_sampling, token_array
from arts_lite.engine.values import ValueReader
from arts_lite.types import BranchId, Event, EventKind, SamplingParams, StepRules, StopReason


class Engine(ValueReader):
    """Branches over one model. Implements `arts_lite.search.protocols.Engine`, which says what each method does.

    Methods may be called from any thread; calls take turns. After `shutdown` they raise BranchClosedError.

    Attributes:
        model: the model, which stays loaded as long as the engine is up.
        config, plan: what was asked for and what came of it.
    """

    def __init__(self, model: Model, config: EngineConfig = DEFAULT_CONFIG) -> None:
        """Make a context over a loaded model.

        Raises:
            ModelLoadError: the KV cache does not fit into memory, or an adapter does not fit the model.
            UnsupportedModelError: the model's cache cannot be forked.
            ValueError: settings that contradict each other.
        """
        self.model = model
        self.config = config
        pins_cells = model.sliding_window > 0
        self.plan: CachePlan = plan_cache(model.header, model.num_params, config, pins_cells=pins_cells)
        context = make_context(model, config, self.plan)
        model.retain()
        log.acquire(config.verbose)
        try:
            self._core = _core.Engine(
                context,
                max_trace_tokens=self.plan.ctx_size,
                max_rows=self.plan.max_rows,
                first_rows=self.plan.first_rows,
                max_prefill_rows=llama.llama_n_batch(context),
                num_threads=self.plan.threads,
                num_sequences=config.num_sequences,
                tunes_rows=config.tunes_rows,
                pins_cells=pins_cells,
                is_reproducible=config.reproducible,
            )
        except BaseException:
            _free(None, context, model, config.verbose)
            raise
        # also runs at interpreter exit, before the model's own finalizer
        self._finalizer = weakref.finalize(self, _free, self._core, context, model, config.verbose)
        self._owns_model = False
        self._context = context
        self._sampling: dict[int, tuple[SamplingParams, _core.SamplingParams]] = {}
        self._rules: dict[StepRules, _core.StepRules] = {}

    @classmethod
    def from_gguf(cls, path: str | os.PathLike[str], config: EngineConfig = DEFAULT_CONFIG) -> Engine:
        """Load a model and make an engine over it; `shutdown` frees both. Raises what `Model` and `Engine` raise."""
        model = Model(path, config)
        try:
            engine = cls(model, config)
        except BaseException:
            model.close()
            raise
        engine._owns_model = True
        return engine

    @property
    def ctx_size(self) -> int:
        """Longest trace in tokens."""
        return self.plan.ctx_size

    @property
    def is_reproducible(self) -> bool:
        """Whether what is generated depends on nothing but the model, the calls and the `conditions`."""
        return self.config.reproducible

    @cached_property
    def conditions(self) -> dict[str, Any]:
        """Under which a reproducible engine repeats itself: settings, build, processor; JSON-ready, else {}."""
        return conditions_of(self.config, self.plan) if self.config.reproducible else {}

    @property
    def context_address(self) -> int:
        """Address of the llama_context, for measurements on the cache of an idle engine."""
        return self._context

    @property
    def is_closed(self) -> bool:
        """Whether `shutdown` was called."""
        return not self._finalizer.alive

    def open(
        self,
        tokens: Sequence[int] | NDArray[np.int32],
        *,
        sampling: SamplingParams,
        rules: StepRules,
        seed: int,
        stream: int,
        max_tokens: int,
        owner: int = 0,
    ) -> BranchId:
        """Open a branch on a prompt.

        Raises:
            ValueError: an empty prompt, a token that the vocabulary lacks, a number outside its range.
            ContextOverflowError: the prompt leaves no room for a single token.
            BranchClosedError: the engine is shut down.
        """
        check_number("seed", seed, 0, MAX_U64)
        check_number("stream", stream, 0, MAX_U64)
        check_number("max_tokens", max_tokens, 1, MAX_I32)
        check_number("owner", owner, -(2**63), 2**63 - 1)
        branch = self._core.open(
            token_array(tokens, self.model.vocab.num_tokens),
            self._core_sampling(sampling),
            self._core_rules(rules),
            seed,
            stream,
            max_tokens,
            owner,
        )
        return BranchId(branch)

    def fork(self, branch: BranchId, position: int) -> BranchId:
        """Fork tokens[0:position] as a new paused branch. Raises ValueError: not 1 <= position <= length."""
        check_number("position", position, 1, MAX_I32)
        return BranchId(self._core.fork(branch, position))

    def truncate(self, branch: BranchId, position: int) -> None:
        """Cut a paused or ended branch back to tokens[0:position]; it may run again."""
        check_number("position", position, 1, MAX_I32)
        self._core.truncate(branch, position)

    def run(self, branch: BranchId, *, pause_on_step: bool = False) -> None:
        """Let a paused branch generate until its next event. Raises ValueError: it has ended."""
        self._core.run(branch, pause_on_step)

    def pause(self, branch: BranchId) -> None:
        """Take a running branch out of the loop; nothing of it is lost."""
        self._core.pause(branch)

    def park(self, branch: BranchId) -> None:
        """Pause a branch and free the KV cells that it alone holds; `run` brings it back."""
        self._core.park(branch)

    def close(self, branch: BranchId) -> None:
        """Forget a branch and free what it alone holds; `shutdown` closes the engine."""
        self._core.close(branch)

    def advance(self, max_seconds: float | None = None) -> list[Event]:
        """Decode until something happens and return its events; [] if nothing is running."""
        if max_seconds is not None and not max_seconds >= 0:
            raise ValueError(f"max_seconds is {max_seconds}, but must be >= 0, or None for no limit")
        return [_event(event) for event in self._core.advance(-1.0 if max_seconds is None else max_seconds)]

    def interrupt(self) -> None:
        """Make a running or the next `advance` return soon. Callable from any thread."""
        self._core.interrupt()

    def set_quota(self, owner: int, max_tokens: int) -> None:
        """Allow an owner's branches to decode so many more tokens in all.

        Where not all branches fit, those of the owner whose first open branch is the oldest go first.
        """
        check_number("max_tokens", max_tokens, 0, 2**62)
        self._core.set_quota(owner, max_tokens)

    def quota_spent(self, owner: int) -> int:
        """Tokens that an owner's branches have decoded so far."""
        return self._core.quota_spent(owner)

    def forget_owner(self, owner: int) -> None:
        """Drop the count and the quota of an owner."""
        self._core.forget_owner(owner)

    def tokens(self, branch: BranchId) -> NDArray[np.int32]:
        """All tokens of a branch, prompt included, shape [length]."""
        return self._core.tokens(branch)

    def num_tokens(self, branch: BranchId) -> int:
        """Length of a branch in tokens, prompt included."""
        return self._core.num_tokens(branch)

    def num_prompt_tokens(self, branch: BranchId) -> int:
        """How many of the branch's tokens are its prompt."""
        return self._core.num_prompt_tokens(branch)

    def num_cached(self, branch: BranchId) -> int:
        """How many of the branch's tokens have their KV cell in the cache."""
        return self._core.num_cached(branch)

    def log_probs(self, branch: BranchId) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Natural-log probabilities of the generated tokens: under the model, under the sampling distribution."""
        return self._core.log_probs(branch)

    def expected_log_probs(self, branch: BranchId) -> NDArray[np.float32]:
        """Mean log-probability, under the model, of all that could be drawn in each generated token's place."""
        return self._core.expected_log_probs(branch)

    def boundaries(self, branch: BranchId) -> list[int]:
        """Positions at which the branch's steps end so far, ascending."""
        return self._core.boundaries(branch)

    def text(self, branch: BranchId, start: int | None = None, end: int | None = None) -> bytes:
        """Bytes of tokens[start:end] (default: all that was generated), without special tokens and stop string."""
        first = self._core.num_prompt_tokens(branch) if start is None else start
        last = self._core.num_tokens(branch) if end is None else end
        check_number("start", first, 0, MAX_I32)
        check_number("end", last, 0, MAX_I32)
        return self._core.text(branch, first, last)

    def state(self, branch: BranchId) -> str:
        """Tell whether a branch is 'paused', 'running' or 'ended'."""
        return self._core.state(branch)

    def stats(self) -> EngineStats:
        """Counters since the engine was made."""
        stats = self._core.stats()
        return EngineStats(**{field.name: getattr(stats, field.name) for field in dataclasses.fields(EngineStats)})

    def check(self) -> None:
        """Compare our books with llama.cpp's; raises RuntimeError if they differ. For tests."""
        self._core.check()

    def shutdown(self) -> None:
        """Close all branches and free the context. Idempotent; runs at interpreter exit by itself."""
        self._finalizer()
        if self._owns_model:
            self.model.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shutdown()

    def __repr__(self) -> str:
        return f"Engine({str(self.model.path)!r}, ctx_size={self.ctx_size}, num_cells={self.plan.num_cells})"

    def _core_sampling(self, params: SamplingParams) -> _core.SamplingParams:
        # by identity: params hold a mapping, so they do not hash; the entry keeps its key alive
        known = self._sampling.get(id(params))
        if known is None:
            if len(self._sampling) > 256:
                self._sampling.clear()
            known = self._sampling[id(params)] = (params, core_sampling(params, self.model.vocab.num_tokens))
        return known[1]

    def _core_rules(self, rules: StepRules) -> _core.StepRules:
        known = self._rules.get(rules)
        if known is None:
            if len(self._rules) > 256:
                self._rules.clear()
            known = self._rules[rules] = core_rules(rules)
        return known


def _event(event: _core.Event) -> Event:
    return Event(
        kind=EventKind(event.kind),
        branch=BranchId(event.branch) if event.branch >= 0 else None,
        position=event.position,
        reason=StopReason(event.reason) if event.reason else None,
    )


def _free(core: _core.Engine | None, context: int, model: Model, verbose: bool) -> None:
    if core is not None:
        core.shutdown()
    llama.llama_free(context)
    model.release()
    log.release(verbose)
