"""The engine's side of a tree: which engine branch stands behind which record, and what is read from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from arts_lite.search.budget import Budget
from arts_lite.search.protocols import Engine
from arts_lite.search.record import Branch, SearchTree, Step
from arts_lite.search.scorers import Scorer
from arts_lite.search.strategy import Strategy
from arts_lite.types import BranchId, SamplingParams, StepRules


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A question to search, ready for the engine.

    Attributes:
        question: a number by which events name it.
        tokens: the prompt.
        strategy: of its own, not shared with another question.
        scorer: may be shared by questions; their traces are then scored in one batch.
        seed: >= 0; draws and coins are a function of it and of the branch's path.
        max_tokens: most tokens that one trace may generate, >= 1.
        extract: finds the answer in a trace's text.
        same: tells whether two answers are equal; an equivalence.
        read_values: (engine's branch, positions) -> what a value head on the engine says of the prefixes that end
            there, nan where nothing was read; None: it has none. Fills in `Branch.values`.
    """

    question: int
    tokens: Sequence[int]
    strategy: Strategy
    scorer: Scorer
    extract: Callable[[str], str | None]
    same: Callable[[str, str], bool]
    sampling: SamplingParams
    rules: StepRules
    seed: int = 0
    max_tokens: int = 1024
    budget: Budget = field(default_factory=Budget)
    read_values: Callable[[BranchId, Sequence[int]], NDArray[np.float64]] | None = None


class LiveBranches:
    """Engine branches of one search; all are closed by `close_all`."""

    def __init__(self, engine: Engine, request: SearchRequest, tree: SearchTree, owner: int) -> None:
        self._engine = engine
        self._request = request
        self._tree = tree
        self._owner = owner
        self._handles: dict[int, BranchId] = {}
        self._branches: dict[BranchId, Branch] = {}

    def find(self, handle: BranchId | None) -> Branch | None:
        """Find the record of an engine branch; None if it is not one of this search's."""
        return None if handle is None else self._branches.get(handle)

    def open(self) -> Branch:
        """Open a main trace."""
        request = self._request
        handle = self._engine.open(
            request.tokens,
            sampling=request.sampling,
            rules=request.rules,
            seed=request.seed,
            stream=self._tree.num_main_traces,
            max_tokens=request.max_tokens,
            owner=self._owner,
        )
        return self._register(handle, self._tree.add_main_trace())

    def fork(self, parent: Branch, position: int) -> Branch:
        """Fork a branch that has not been dropped."""
        handle = self._engine.fork(self._handle(parent), position)
        return self._register(handle, self._tree.add_fork(parent, position))

    def run(self, branch: Branch, *, pause_on_step: bool) -> None:
        """Let a branch generate."""
        self._engine.run(self._handle(branch), pause_on_step=pause_on_step)

    def park(self, branch: Branch) -> None:
        """Free what only this branch holds in the cache."""
        self._engine.park(self._handle(branch))

    def drop(self, branch: Branch) -> None:
        """Close the engine's branch; a second time is nothing."""
        handle = self._handles.pop(branch.index, None)
        if handle is not None:
            del self._branches[handle]
            self._engine.close(handle)

    def close_all(self) -> None:
        """Drop every branch that is left."""
        for branch in list(self._branches.values()):
            self.drop(branch)

    def read_steps(self, branch: Branch) -> None:
        """Bring a branch's length and its complete steps up to date."""
        handle = self._handle(branch)
        self._tree.grow(branch, len(self._engine.tokens(handle)))
        for end in self._engine.boundaries(handle):
            start = self._end_of_steps(branch)
            if end > start:
                self._tree.add_step(branch, self._step(handle, start, end))
        self._read_values(branch)

    def read_all(self, branch: Branch) -> None:
        """Read what a branch that will not go on has generated; what follows its last boundary is its last step."""
        self.read_steps(branch)
        handle = self._handle(branch)
        branch.text = self._text(handle)
        branch.tokens = self._engine.tokens(handle)[self._tree.num_prompt_tokens :]
        branch.log_probs, branch.sampling_log_probs = self._engine.log_probs(handle)
        self._close_steps(branch, handle)
        self._read_values(branch)

    def _close_steps(self, branch: Branch, handle: BranchId) -> None:
        start = self._end_of_steps(branch)
        if branch.num_own_tokens == 0 or start == branch.length:
            return
        step = self._step(handle, start, branch.length)
        if step.text.strip() or branch.num_own_steps == 0:
            self._tree.add_step(branch, step)
        else:  # nothing visible: it belongs to the step before, whose end a stop string may have swallowed
            branch.steps[-1] = self._step(handle, branch.steps[-1].start, branch.length)

    def _read_values(self, branch: Branch) -> None:
        read = self._request.read_values
        if read is None or not branch.steps:
            return
        handle = self._handle(branch)
        ends = [step.end for step in branch.steps]
        values = read(handle, ends)
        if np.isnan(values[-1]) and ends[-1] == branch.length:  # the last token of an ended trace is never decoded
            values[-1:] = read(handle, [branch.length - 1])
        branch.values = values.tolist()

    def _end_of_steps(self, branch: Branch) -> int:
        return branch.steps[-1].end if branch.steps else self._tree.num_prompt_tokens

    def _step(self, handle: BranchId, start: int, end: int) -> Step:
        prompt = self._tree.num_prompt_tokens
        log_probs, _ = self._engine.log_probs(handle)
        both = (log_probs, self._engine.expected_log_probs(handle))
        sums = [float(np.sum(one[start - prompt : end - prompt], dtype=np.float64)) for one in both]
        return Step(start, end, self._text(handle, start, end), *sums)

    def _text(self, handle: BranchId, start: int | None = None, end: int | None = None) -> str:
        return self._engine.text(handle, start, end).decode("utf-8", errors="replace")

    def _register(self, handle: BranchId, branch: Branch) -> Branch:
        self._handles[branch.index] = handle
        self._branches[handle] = branch
        return branch

    def _handle(self, branch: Branch) -> BranchId:
        if branch.index not in self._handles:
            raise ValueError(f"branch {branch.index} has been dropped or pruned; nothing can be done with it any more")
        return self._handles[branch.index]
