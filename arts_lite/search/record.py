"""The tree that a search has grown so far: branches, their steps, their answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from arts_lite.search.budget import Budget
from arts_lite.types import StopReason


class BranchState(str, Enum):
    """What a branch is doing."""

    RUNNING = "running"
    PAUSED = "paused"
    PARKED = "parked"
    ENDED = "ended"  #: the trace is complete
    PRUNED = "pruned"  #: given up by the strategy
    CUT = "cut"  #: unfinished when the budget was spent or the user cancelled


@dataclass(frozen=True, slots=True)
class Step:
    """Tokens [start, end) of a branch; the node that they lead to is the prefix [0, end).

    Attributes:
        log_prob: of the tokens under the model.
        expected_log_prob: what it was to be expected: each token's mean over all that could be drawn in its place.
    """

    start: int
    end: int
    text: str
    log_prob: float = 0.0
    expected_log_prob: float = 0.0


@dataclass(slots=True)
class Branch:
    """One path from the prompt downwards.

    Attributes:
        index: place in `SearchTree.branches`, in order of opening.
        parent: index of the branch that it was forked from; None for a main trace.
        path: (n,) for the n-th main trace; a fork adds (position, its number among the forks there).
        depth: number of forks above it; 0 for a main trace.
        start: position of its first own token (the end of the prompt, or where it was forked).
        length: tokens so far, prompt included.
        steps: complete steps from the prompt on, those before the fork included. An ended trace's last step is the
            text after its last boundary, if any of it is visible.
        reason: why it ended, was cut or was pruned; None while it lives.
        why: the strategy's words for pruning it; begins with "parked" if it was when the search ended.
        text: all that was generated from the prompt on; known once it no longer lives.
        tokens: generated from the prompt on, int32[length - num_prompt_tokens]; known with `text`.
        log_probs: under the model, float32[length - num_prompt_tokens]; known with `text`.
        sampling_log_probs: the same under the sampling distribution.
        answer: what was extracted from the text.
        group: number of its answer's equivalence class (`SearchTree.answers`), None without an answer.
        score: the scorer's value, higher is better; None without any token.
        step_scores: a step scorer's values, one per step; empty with other scorers.
        values: what the engine read at each step's end, nan where nothing was; empty unless the request reads values.
    """

    index: int
    parent: int | None
    path: tuple[int, ...]
    depth: int
    start: int
    length: int
    state: BranchState = BranchState.PAUSED
    steps: list[Step] = field(default_factory=list)
    reason: StopReason | None = None
    why: str = ""
    text: str = ""
    tokens: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    log_probs: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    sampling_log_probs: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    answer: str | None = None
    group: int | None = None
    score: float | None = None
    step_scores: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    @property
    def has_ended(self) -> bool:
        """Whether the trace is complete."""
        return self.state is BranchState.ENDED

    @property
    def is_alive(self) -> bool:
        """Whether it may still generate."""
        return self.state in (BranchState.RUNNING, BranchState.PAUSED, BranchState.PARKED)

    @property
    def num_own_tokens(self) -> int:
        """Tokens that it generated itself."""
        return self.length - self.start

    @property
    def log_prob(self) -> float:
        """Log-probability of its complete steps under the model, those before the fork included."""
        return math.fsum(step.log_prob for step in self.steps)

    @property
    def expected_log_prob(self) -> float:
        """What `log_prob` was to be expected, each token given those before it."""
        return math.fsum(step.expected_log_prob for step in self.steps)

    @property
    def num_own_steps(self) -> int:
        """Steps that it completed itself: the nodes that it added to the tree."""
        return sum(step.end > self.start for step in self.steps)

    @property
    def intermediate_boundaries(self) -> list[int]:
        """Positions > start at which one of its steps ended and another one, known to be complete, began."""
        return [step.end for step in self.steps[:-1] if step.end > self.start]


@dataclass(slots=True)
class SearchTree:
    """All branches of one question.

    Attributes:
        seed: keys every random decision of the strategy.
        num_prompt_tokens: length of the root.
        max_tokens: most tokens that one trace may generate.
        budget: what the search may cost.
        same: whether two answers are equal.
        answers: one representative of each class of equal answers.
        num_main_traces: how many branches were opened on the prompt.
        num_tokens: tokens generated by all branches, as of their last events.
        num_nodes: the root and every step that a branch completed; steps that two branches drew alike count twice.
    """

    seed: int
    num_prompt_tokens: int
    max_tokens: int
    budget: Budget
    same: Callable[[str, str], bool]
    branches: list[Branch] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    num_main_traces: int = 0
    num_tokens: int = 0
    num_nodes: int = 1
    _num_forks: dict[tuple[int, int], int] = field(default_factory=dict)  # by (parent, position)

    @property
    def num_tokens_shared(self) -> int:
        """Tokens that branches took from another one's prefix instead of decoding them."""
        return sum(branch.start for branch in self.branches[1:])

    @property
    def num_cells(self) -> int:
        """KV cells that the running branches stand on, shared ones counted once, as of the branches' last events."""
        num_cells = self.num_prompt_tokens
        needed: dict[int, int] = {}  # by branch: the position up to which it or a fork of it is stood on
        for branch in reversed(self.branches):  # forks come after what they were forked from
            end = branch.length if branch.state is BranchState.RUNNING else needed.get(branch.index, 0)
            num_cells += max(end - branch.start, 0)
            if branch.parent is not None:
                needed[branch.parent] = max(needed.get(branch.parent, 0), min(end, branch.start))
        return num_cells

    def leaves(self) -> list[Branch]:
        """Complete traces; where there is none yet, those that were cut off."""
        ended = [branch for branch in self.branches if branch.has_ended]
        return ended or [branch for branch in self.branches if branch.state is BranchState.CUT]

    def add_main_trace(self) -> Branch:
        """Add a branch that begins at the prompt's end."""
        prompt = self.num_prompt_tokens
        branch = Branch(len(self.branches), None, (self.num_main_traces,), 0, prompt, prompt)
        self.num_main_traces += 1
        self.branches.append(branch)
        return branch

    def add_fork(self, parent: Branch, position: int) -> Branch:
        """Add a branch that shares its parent's first `position` tokens."""
        ordinal = self._num_forks.get((parent.index, position), 0)
        self._num_forks[parent.index, position] = ordinal + 1
        path = (*parent.path, position, ordinal)
        branch = Branch(len(self.branches), parent.index, path, parent.depth + 1, position, position)
        branch.steps = [step for step in parent.steps if step.end <= position]
        branch.step_scores = parent.step_scores[: len(branch.steps)]
        branch.values = parent.values[: len(branch.steps)]
        self.branches.append(branch)
        return branch

    def grow(self, branch: Branch, length: int) -> None:
        """Note that a branch has this length now."""
        self.num_tokens += length - branch.length
        branch.length = length

    def add_step(self, branch: Branch, step: Step) -> None:
        """Add a completed step, which is a new node."""
        branch.steps.append(step)
        self.num_nodes += 1

    def set_answer(self, branch: Branch, answer: str | None) -> None:
        """Note a branch's answer and put it among the answers that are equal to it."""
        branch.answer = answer
        if answer is None:
            return
        for group, other in enumerate(self.answers):
            if other == answer or self.same(other, answer):
                branch.group = group
                return
        branch.group = len(self.answers)
        self.answers.append(answer)
