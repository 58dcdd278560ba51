"""An engine without a model file: `arts_lite.search.protocols.Engine` in plain Python."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from fakes.models import END, Model, rambling, uniform_hash
from numpy.typing import NDArray

from arts_lite.errors import BranchClosedError, ContextOverflowError
from arts_lite.types import BranchId, Event, EventKind, SamplingParams, StepRules, StopReason


class FakeClock:
    """Tells a time that moves only when it is told to, in seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeStats:
    """Counts what the fake did; names as in `arts_lite._core.Stats`."""

    num_tokens_decoded: int = 0
    num_forks: int = 0
    num_parked: int = 0
    num_branches: int = 0
    num_rows_max: int = 16
    num_cells_capacity: int = 1 << 20


@dataclass
class FakeBranch:
    """Everything that the fake knows about one branch."""

    prompt: tuple[int, ...]
    sampling: SamplingParams
    rules: StepRules
    key: tuple[object, ...]
    max_tokens: int
    owner: int
    drawn: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    expected_log_probs: list[float] = field(default_factory=list)
    boundaries: list[int] = field(default_factory=list)
    num_forks_at: dict[int, int] = field(default_factory=dict)
    pause_on_step: bool = False
    reason: StopReason | None = None
    visible_end: int | None = None

    @property
    def length(self) -> int:
        return len(self.prompt) + len(self.drawn)

    def generated(self) -> bytes:
        return bytes(token for token in self.drawn if token < END)


class FakeEngine:
    """Draws tokens from a `Model`; a draw is a function of (seed, stream, path of forks, position).

    Args:
        model: next-token probabilities.
        max_rows: most branches that one decode call advances, the earliest run first.
        context_size: longest trace in tokens.
        seconds_per_decode: how far each decode call moves `clock`.
        on_decode: called before each decode call (to interrupt, to fail, to look).
        is_reproducible: what the fake says of itself; it always is.
    """

    def __init__(
        self,
        model: Model | None = None,
        *,
        max_rows: int = 16,
        context_size: int = 4096,
        clock: FakeClock | None = None,
        seconds_per_decode: float = 0.0,
        on_decode: Callable[[], None] | None = None,
        is_reproducible: bool = False,
    ) -> None:
        self.model = model or rambling()
        self.is_reproducible = is_reproducible
        self.conditions: dict[str, Any] = {"reproducible": True} if is_reproducible else {}
        self.max_rows = max_rows
        self.context_size = context_size
        self.clock = clock or FakeClock()
        self.seconds_per_decode = seconds_per_decode
        self.on_decode = on_decode
        self.branches: dict[BranchId, FakeBranch] = {}
        self.running: dict[BranchId, None] = {}
        self.rows_per_decode: list[int] = []
        self.num_forks = 0
        self.num_parked = 0
        self.num_opened = 0
        self._quotas: dict[int, int] = {}
        self._spent: dict[int, int] = {}
        self._interrupted = threading.Event()
        self._entered = threading.Lock()

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
        if not tokens or max_tokens < 1:
            raise ValueError("a branch needs a prompt and may generate at least one token")
        if len(tokens) >= self.context_size:
            raise ContextOverflowError(f"the prompt has {len(tokens)} tokens, the context {self.context_size}")
        return self._add(FakeBranch(tuple(tokens), sampling, rules, (seed, stream), max_tokens, owner))

    def fork(self, branch: BranchId, position: int) -> BranchId:
        parent = self._branch(branch)
        if not 1 <= position <= parent.length:
            raise ValueError(f"cannot fork at {position}, the branch has {parent.length} tokens")
        ordinal = parent.num_forks_at.get(position, 0)
        parent.num_forks_at[position] = ordinal + 1
        kept = position - len(parent.prompt)
        key = (*parent.key, position, ordinal)
        child = FakeBranch(parent.prompt, parent.sampling, parent.rules, key, parent.max_tokens, parent.owner)
        child.drawn, child.log_probs = parent.drawn[:kept], parent.log_probs[:kept]
        child.expected_log_probs = parent.expected_log_probs[:kept]
        child.boundaries = [end for end in parent.boundaries if end <= position]
        self.num_forks += 1
        return self._add(child)

    def run(self, branch: BranchId, *, pause_on_step: bool = False) -> None:
        state = self._branch(branch)
        if state.reason is not None:
            raise ValueError(f"branch {branch} has ended ({state.reason.value}) and cannot run")
        state.pause_on_step = pause_on_step
        self.running[branch] = None

    def pause(self, branch: BranchId) -> None:
        self._branch(branch)
        self.running.pop(branch, None)

    def park(self, branch: BranchId) -> None:
        self.pause(branch)
        self.num_parked += 1

    def close(self, branch: BranchId) -> None:
        self.pause(branch)
        del self.branches[branch]

    def interrupt(self) -> None:
        self._interrupted.set()

    def set_quota(self, owner: int, max_tokens: int) -> None:
        self._quotas[owner] = max_tokens

    def quota_spent(self, owner: int) -> int:
        return self._spent.get(owner, 0)

    def advance(self, max_seconds: float | None = None) -> list[Event]:
        with self._exclusive():
            start = self.clock()
            while self.running:
                if self._interrupted.is_set() or (max_seconds is not None and self.clock() - start >= max_seconds):
                    self._interrupted.clear()
                    return [Event(EventKind.INTERRUPTED)]
                if events := self._decode():
                    return events
            return []

    def tokens(self, branch: BranchId) -> NDArray[np.int32]:
        state = self._branch(branch)
        return np.array([*state.prompt, *state.drawn], dtype=np.int32)

    def num_prompt_tokens(self, branch: BranchId) -> int:
        return len(self._branch(branch).prompt)

    def log_probs(self, branch: BranchId) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        values = np.array(self._branch(branch).log_probs, dtype=np.float32)
        return values, values.copy()

    def expected_log_probs(self, branch: BranchId) -> NDArray[np.float32]:
        return np.array(self._branch(branch).expected_log_probs, dtype=np.float32)

    def boundaries(self, branch: BranchId) -> list[int]:
        return list(self._branch(branch).boundaries)

    def text(self, branch: BranchId, start: int | None = None, end: int | None = None) -> bytes:
        state = self._branch(branch)
        last = state.length if state.visible_end is None else state.visible_end
        first = len(state.prompt) if start is None else start
        last = last if end is None else min(end, last)
        drawn = [*state.prompt, *state.drawn][first:last]
        return bytes(token for token in drawn if token < END)

    def stats(self) -> FakeStats:
        return FakeStats(sum(self.rows_per_decode), self.num_forks, self.num_parked, len(self.branches), self.max_rows)

    def _add(self, state: FakeBranch) -> BranchId:
        branch = BranchId(self.num_opened)
        self.num_opened += 1
        self.branches[branch] = state
        return branch

    def _branch(self, branch: BranchId) -> FakeBranch:
        if branch not in self.branches:
            raise BranchClosedError(f"branch {branch} is closed")
        return self.branches[branch]

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        assert self._entered.acquire(blocking=False), "two threads decode at once"
        try:
            yield
        finally:
            self._entered.release()

    def _decode(self) -> list[Event]:
        if self.on_decode is not None:
            self.on_decode()
        events = []
        num_rows = 0
        for branch in list(self.running)[: self.max_rows]:
            state = self.branches[branch]
            if self._quotas.get(state.owner, 1) <= 0:
                events.append(Event(EventKind.LIMIT_REACHED, branch, state.length, StopReason.BUDGET_TOKENS))
            else:
                num_rows += 1
                self._draw(state)
                event = self._event(branch, state)
                if event is None:
                    continue
                events.append(event)
            del self.running[branch]
        if num_rows:
            self.rows_per_decode.append(num_rows)
            self.clock.now += self.seconds_per_decode
        return events

    def _draw(self, state: FakeBranch) -> None:
        row = dict(sorted(self.model(state.prompt, state.generated()).items()))
        token = max(row, key=lambda candidate: row[candidate])
        if state.sampling.temperature > 0:
            level = uniform_hash(*state.key, state.length)
            for candidate, probability in row.items():
                if probability > 0:
                    token = candidate
                level -= probability
                if level < 0:
                    break
        state.drawn.append(token)
        state.log_probs.append(math.log(row[token]))
        mean = sum(chance * math.log(chance) for chance in row.values() if chance > 0)
        state.expected_log_probs.append(mean if state.sampling.temperature > 0 else state.log_probs[-1])
        self._spent[state.owner] = self._spent.get(state.owner, 0) + 1
        if state.owner in self._quotas:
            self._quotas[state.owner] -= 1

    def _event(self, branch: BranchId, state: FakeBranch) -> Event | None:
        state.reason = self._end_of(state)
        if state.reason is not None:
            last = state.boundaries[-1] if state.boundaries else 0
            if last and not self.text(branch, last).strip():  # a boundary is one only if something visible follows
                state.boundaries.pop()
            return Event(EventKind.TRACE_ENDED, branch, state.length, state.reason)
        since = (state.boundaries[-1] if state.boundaries else len(state.prompt)) - len(state.prompt)
        step = bytes(state.drawn[since:])
        is_long_enough = len(step) >= state.rules.min_step_bytes and step.strip()
        if is_long_enough and any(step.endswith(text.encode()) for text in state.rules.delimiters):
            state.boundaries.append(state.length)
            if state.pause_on_step:
                return Event(EventKind.STEP_ENDED, branch, state.length)
        return None

    def _end_of(self, state: FakeBranch) -> StopReason | None:
        if state.drawn[-1] == END:
            return StopReason.END_OF_TEXT
        for text in state.rules.stop_strings:
            if state.generated().endswith(text.encode()):
                state.visible_end = state.length - len(text.encode())
                return StopReason.STOP_STRING
        if len(state.drawn) >= state.max_tokens:
            return StopReason.MAX_TOKENS
        if state.length >= self.context_size:
            return StopReason.CONTEXT_FULL
        return None
