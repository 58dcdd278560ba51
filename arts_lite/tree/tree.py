"""A tree of reasoning steps as plain arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = 0
ENDED = "ended"
"""State of a complete trace; others are "cut" (by a budget or the user) and "pruned" (by the strategy)."""


@dataclass(frozen=True, slots=True)
class TraceEnd:
    """How one trace ended.

    Attributes:
        state: "ended", "cut" or "pruned".
        reason: a value of `arts_lite.types.StopReason`, or None.
        why: the strategy's words for pruning it, or ""; begins with "parked" if it was when the search ended.
        answer: what was extracted from its text, or None.
        correct: a grader's verdict, or None where nobody graded it.
        reward: > 0, or None.
        score: the scorer's, higher is better, or None.
    """

    state: str = ENDED
    reason: str | None = None
    why: str = ""
    answer: str | None = None
    correct: bool | None = None
    reward: float | None = None
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a tree comes from: everything that is needed to grow it again.

    Attributes:
        question: as the proposer was asked.
        problem: the task's own data (an id, the true answer, ...), or None.
        num_prompt_tokens: length of the root.
        model: "name" and "sha256" of the proposer's file (None: not known), and whatever else is known of it.
        verifier: the same for the verifier, or None.
        sampling, rules, settings: how tokens were drawn, where steps end, and the search's settings.
        seed: of the search.
        rewards: what a correct and a wrong answer are worth, e.g. {"correct": 10, "wrong": 0.1}, or None.
        stopped_by: a value of `arts_lite.types.StopReason`, or None.
        answer: that the search chose, or None.
        versions: of the software.
    """

    question: str
    problem: Mapping[str, Any] | None = None
    num_prompt_tokens: int = 0
    model: Mapping[str, Any] = field(default_factory=lambda: {"name": "", "sha256": None})
    verifier: Mapping[str, Any] | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    rules: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    rewards: Mapping[str, float] | None = None
    stopped_by: str | None = None
    answer: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Tree:
    """Nodes are prefixes that end where a step ends; node 0 is the root, the prompt. Parents precede their children.

    Attributes:
        origin: where the tree comes from.
        parent: int32[num_nodes], the root's is -1.
        depth: int32[num_nodes], steps from the root.
        log_pf_model: float64[num_nodes], natural log of the probability of a node's step, given its parent, under the
            model; the root's is 0.
        log_pf_sampling: the same under the distribution that was sampled from (after temperature and filters).
        num_draws: int32[num_nodes], how often the node's step was drawn at its parent; the root's is the number of main
            traces. Identical steps at one parent are one node.
        step_tokens: int32[num_tokens], the tokens of all steps, node after node.
        step_offsets: int64[num_nodes + 1]; node i's step is step_tokens[step_offsets[i]:step_offsets[i + 1]].
        texts: one per node, of its step.
        trace_node: int32[num_traces], the node in which each trace ended; traces stand in the order of their opening.
        trace_parent: int32[num_traces], the trace that it was forked from, -1 for a main trace.
        trace_shared: int32[num_traces], how many generated tokens it took over from that one.
        ends: one per trace.
        log_flow: float64[num_nodes], the verifier's value of the prefix, natural log; nan where none was read.
    """

    origin: Origin
    parent: NDArray[np.int32]
    depth: NDArray[np.int32]
    log_pf_model: NDArray[np.float64]
    log_pf_sampling: NDArray[np.float64]
    num_draws: NDArray[np.int32]
    step_tokens: NDArray[np.int32]
    step_offsets: NDArray[np.int64]
    texts: tuple[str, ...]
    trace_node: NDArray[np.int32]
    trace_parent: NDArray[np.int32]
    trace_shared: NDArray[np.int32]
    ends: tuple[TraceEnd, ...]
    log_flow: NDArray[np.float64]

    @property
    def num_nodes(self) -> int:
        """Nodes, the root included."""
        return len(self.parent)

    @property
    def num_traces(self) -> int:
        """Traces, each draw counted."""
        return len(self.ends)

    @cached_property
    def is_leaf(self) -> NDArray[np.bool_]:
        """bool[num_nodes]: whether a complete trace ended in the node."""
        leaf = np.zeros(self.num_nodes, np.bool_)
        leaf[[node for node, end in zip(self.trace_node, self.ends, strict=True) if end.state == ENDED]] = True
        return leaf

    @cached_property
    def reward(self) -> NDArray[np.float64]:
        """float64[num_nodes]: reward of the complete trace that ended in the node, else nan."""
        return self._at_leaves([end.reward for end in self.ends])

    @cached_property
    def correct(self) -> NDArray[np.float64]:
        """float64[num_nodes]: 1 and 0 for leaves that were graded, else nan."""
        return self._at_leaves([end.correct for end in self.ends])

    def tokens(self, node: int) -> NDArray[np.int32]:
        """Tokens of a node's step, int32[length]."""
        return self.step_tokens[self.step_offsets[node] : self.step_offsets[node + 1]]

    def path(self, node: int) -> list[int]:
        """Nodes from the root to a node, both included."""
        nodes = [node]
        while nodes[-1] != ROOT:
            nodes.append(int(self.parent[nodes[-1]]))
        return nodes[::-1]

    def _at_leaves(self, values: list[float | None] | list[bool | None]) -> NDArray[np.float64]:
        at = np.full(self.num_nodes, np.nan)
        for node, end, value in zip(self.trace_node, self.ends, values, strict=True):
            if end.state == ENDED and value is not None:
                at[node] = value
        return at
