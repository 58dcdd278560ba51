"""Any order of calls, against a model in plain Python: tokens, cells and sequence ids always add up."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule
from tiny_gguf import TinyModel, write_tiny_gguf

from arts_lite.engine import Engine, EngineConfig, Model
from arts_lite.types import BranchId, EventKind, SamplingParams, StepRules, StopReason

SAMPLING = (SamplingParams(temperature=1.0, top_p=1.0), SamplingParams(temperature=0.0))
RULES = StepRules(delimiters=("\n", " "))
CTX_SIZE = 96
PROMPTS = st.lists(st.sampled_from(list(b"ab1 ")), min_size=1, max_size=24)


class Branches(RuleBasedStateMachine):
    """Drives an engine with room for everything, and remembers what each branch must hold."""

    architecture = "qwen2"
    has_head = False
    settings_of_engine: ClassVar[dict[str, int]] = {"num_cells": 8192, "num_sequences": 256, "max_rows": 32}
    branches = Bundle("branches")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        path = write_tiny_gguf(self.folder / "tiny.gguf", TinyModel(architecture=self.architecture))
        with Model(path) as model:
            self.engine = Engine(model, EngineConfig(threads=1, ctx_size=CTX_SIZE, **self.settings_of_engine))
        if self.has_head:
            self.engine.set_head(np.random.default_rng(0).normal(0, 0.1, self.engine.num_embd))
        self.tokens: dict[BranchId, list[int]] = {}
        self.written: dict[BranchId, list[int]] = {}  # who wrote each token: forks share what their parent wrote
        self.counter = itertools.count()
        self.num_prompt: dict[BranchId, int] = {}
        self.max_length: dict[BranchId, int] = {}
        self.state: dict[BranchId, str] = {}
        self.parked: set[BranchId] = set()
        self.reason: dict[BranchId, StopReason | None] = {}
        self.appending: set[BranchId] = set()
        self.unread: set[BranchId] = set()  # whose last append was not seen to its end
        self.marks: dict[BranchId, set[int]] = {}
        self.values: dict[tuple[int, ...], float] = {}  # of every prefix ever read

    def teardown(self) -> None:
        for branch in list(self.tokens):
            self.engine.close(branch)
        stats = self.engine.stats()
        assert (stats.num_cells_used, stats.num_sequences_used, stats.num_branches) == (0, 0, 0)
        self.engine.check()
        self.engine.shutdown()
        shutil.rmtree(self.folder)

    @rule(
        target=branches,
        prompt=PROMPTS,
        stream=st.integers(0, 3),
        max_tokens=st.integers(1, 100),
        sampling=st.sampled_from(SAMPLING),
    )
    def open(self, prompt: list[int], stream: int, max_tokens: int, sampling: SamplingParams) -> BranchId:
        branch = self.engine.open(
            prompt, sampling=sampling, rules=RULES, seed=3, stream=stream, max_tokens=max_tokens, owner=0
        )
        return self._add(branch, prompt, len(prompt), min(CTX_SIZE, len(prompt) + max_tokens))

    @rule(target=branches, parent=branches, share=st.floats(0, 1))
    def fork(self, parent: BranchId, share: float) -> object:
        position = 1 + round(share * (len(self.tokens[parent]) - 1))
        if position == len(self.tokens[parent]) and self.reason[parent] is StopReason.END_OF_TEXT:
            return multiple()  # behind the last word there is nothing to go on from
        child = self.engine.fork(parent, position)
        assert child not in self.tokens
        num_prompt = min(position, self.num_prompt[parent])
        self._add(child, self.tokens[parent][:position], num_prompt, self.max_length[parent])
        if parent not in self.unread:
            self.marks[child] = {mark for mark in self.marks[parent] if mark <= position}
        self.written[child] = self.written[parent][:position]
        return child

    @rule(branch=branches, share=st.floats(0, 1))
    def truncate(self, branch: BranchId, share: float) -> None:
        self.advance(1)  # events that `run` has left must not outlive what they tell
        self.engine.pause(branch)
        self._stop(branch)
        position = 1 + round(share * (len(self.tokens[branch]) - 1))
        self.engine.truncate(branch, position)
        if position < len(self.tokens[branch]):
            self.state[branch], self.reason[branch] = "paused", None
        del self.tokens[branch][position:], self.written[branch][position:]
        self.num_prompt[branch] = min(position, self.num_prompt[branch])
        self.marks[branch] = {mark for mark in self.marks[branch] if mark <= position}

    @rule(branch=branches)
    def park(self, branch: BranchId) -> None:
        self.engine.park(branch)
        self._stop(branch)
        self.parked.add(branch)
        others = [self.tokens[other] for other in self.tokens if other != branch]
        shared = max((common(self.tokens[branch], other) for other in others), default=0)
        assert self.engine.num_cached(branch) <= shared

    @rule(branch=branches)
    def pause(self, branch: BranchId) -> None:
        self.engine.pause(branch)
        self._stop(branch)

    @rule(branch=branches, given=st.lists(st.sampled_from(list(b"ab1 ")), max_size=20), marks=st.lists(st.floats(0, 1)))
    def append(self, branch: BranchId, given: list[int], marks: list[float]) -> None:
        self.pause(branch)
        given = [] if self.state[branch] == "ended" else given[: CTX_SIZE - len(self.tokens[branch])]
        self.tokens[branch] += given
        self.written[branch] += [next(self.counter) for _ in given]
        positions = [1 + round(share * (len(self.tokens[branch]) - 1)) for share in marks]
        self.engine.append(branch, given, marks=positions, keep_states=not self.has_head)
        self.marks[branch] |= set(positions)
        self.state[branch] = "running"
        self.appending.add(branch)
        self.unread.add(branch)
        self.parked.discard(branch)

    @rule(branch=branches, pause_on_step=st.booleans())
    def run(self, branch: BranchId, pause_on_step: bool) -> None:
        if self.state[branch] == "ended" or branch in self.appending:
            return
        self.engine.run(branch, pause_on_step=pause_on_step)
        self.parked.discard(branch)
        if len(self.tokens[branch]) >= self.max_length[branch]:  # a fork of a whole trace: nothing is left to do
            self.state[branch] = "ended"
            self.reason[branch] = StopReason.MAX_TOKENS
        else:
            self.state[branch] = "running"

    @rule(count=st.integers(1, 6))
    def advance(self, count: int) -> None:
        for _ in range(count):
            events = self.engine.advance()
            assert events or "running" not in self.state.values() or self._nothing_runs()
            for event in events:
                if event.kind is EventKind.CACHE_PRESSURE:
                    continue
                assert event.branch is not None
                if event.kind is EventKind.APPENDED:
                    assert event.position == len(self.tokens[event.branch])
                    self._stop(event.branch)
                    self.unread.discard(event.branch)
                    continue
                if event.branch in self.appending:  # told of what it was when it was asked to append
                    continue
                ended = event.kind is EventKind.TRACE_ENDED
                self.state[event.branch] = "ended" if ended else "paused"
                self.reason[event.branch] = event.reason if ended else None
        self._grow()

    @rule(branch=consumes(branches))
    def close(self, branch: BranchId) -> None:
        self.engine.close(branch)
        for book in (self.tokens, self.written, self.num_prompt, self.max_length, self.state, self.reason, self.marks):
            del book[branch]
        for group in (self.appending, self.unread, self.parked):
            group.discard(branch)

    @invariant()
    def books_agree_with_llama_cpp(self) -> None:
        self.engine.check()

    @invariant()
    def branches_hold_what_they_must(self) -> None:
        for branch, tokens in self.tokens.items():
            assert self.engine.tokens(branch).tolist() == tokens
            assert self.engine.num_prompt_tokens(branch) == self.num_prompt[branch]
            assert self.engine.state(branch) == self.state[branch]
            assert len(tokens) <= CTX_SIZE
            text = bytes(token for token in tokens[self.num_prompt[branch] :] if token < 256)
            assert self.engine.text(branch) == text
            assert len(self.engine.log_probs(branch)[0]) == len(tokens) - self.num_prompt[branch]

    @invariant()
    def what_was_marked_is_read_and_a_prefix_has_one_value(self) -> None:
        for branch in self.tokens.keys() - self.unread:
            if not self.has_head:
                assert np.isfinite(self.engine.hidden_states(branch, sorted(self.marks[branch]))).all()
                continue
            assert np.isfinite(self.engine.values(branch, sorted(self.marks[branch]))).all()
            for position, value in enumerate(self.engine.values(branch, range(1, len(self.tokens[branch]) + 1)), 1):
                known = self.values.setdefault(tuple(self.tokens[branch][:position]), value)
                assert np.isnan(value) or np.isnan(known) or abs(value - known) < 0.1

    @invariant()
    def used_cells_are_the_distinct_prefix_tokens_alive(self) -> None:
        """No cell is lost, and none held twice but for what a fork drew (or decoded) again after its siblings."""
        stats = self.engine.stats()
        cached = {branch: self.engine.num_cached(branch) for branch in self.tokens}
        prefixes = {tuple(self.tokens[branch][:end]) for branch in cached for end in range(1, cached[branch] + 1)}
        written = {token for branch in cached for token in self.written[branch][: cached[branch]]}
        assert len(prefixes) <= stats.num_cells_used <= len(written) + stats.num_tokens_redecoded
        assert stats.num_cells_used <= stats.num_cells_high_water <= stats.num_cells_capacity
        assert stats.num_branches == len(self.tokens)
        assert stats.num_sequences_used <= stats.num_sequences

    def _add(self, branch: BranchId, tokens: Sequence[int], num_prompt: int, max_length: int) -> BranchId:
        self.tokens[branch] = list(tokens)
        self.max_length[branch] = max_length
        self.written[branch] = [next(self.counter) for _ in tokens]
        self.num_prompt[branch] = num_prompt
        self.state[branch] = "paused"
        self.reason[branch] = None
        self.marks[branch] = set()
        return branch

    def _stop(self, branch: BranchId) -> None:
        if self.state[branch] == "running":
            self.state[branch] = "ended" if self.reason[branch] else "paused"
        self.appending.discard(branch)

    def _grow(self) -> None:
        """What a branch had stays as it was; only what runs may have grown."""
        for branch, before in self.tokens.items():
            now = self.engine.tokens(branch).tolist()
            assert now[: len(before)] == before
            assert len(now) <= max(len(before), self.max_length[branch])
            self.tokens[branch] = now
            self.written[branch] += [next(self.counter) for _ in now[len(before) :]]

    def _nothing_runs(self) -> bool:
        return all(self.engine.state(branch) != "running" for branch in self.tokens)


class CrampedBranches(Branches):
    """The same with four sequence ids and 256 cells: parking must make room and change nothing that can be seen."""

    has_head = True
    settings_of_engine: ClassVar[dict[str, int]] = {
        "num_cells": 256,
        "num_sequences": 4,
        "max_rows": 3,
        "max_prefill_rows": 256,
    }


class ValuedBranches(Branches):
    """The same with a value head: steps are told one decode later."""

    has_head = True


class WindowedBranches(Branches):
    """The same over a sliding-window model, whose cells are held twice."""

    architecture = "gemma3"
    settings_of_engine: ClassVar[dict[str, int]] = {"num_cells": 2048, "num_sequences": 32, "max_rows": 8}


def common(one: Sequence[int], other: Sequence[int]) -> int:
    length = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        length += 1
    return length


_SETTINGS = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestBranches = Branches.TestCase
TestBranches.settings = _SETTINGS
TestCrampedBranches = CrampedBranches.TestCase
TestCrampedBranches.settings = _SETTINGS
TestValuedBranches = ValuedBranches.TestCase
TestValuedBranches.settings = _SETTINGS
TestWindowedBranches = WindowedBranches.TestCase
TestWindowedBranches.settings = _SETTINGS
