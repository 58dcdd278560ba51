"""A tree as a verifier learns from it: the complete, graded traces alone, with what they say about each prefix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from arts_lite.tasks import Rewards
from arts_lite.tree import Tree
from arts_lite.tree.tree import ENDED, ROOT

_EQUAL = 1e-9  # relative; means of the same rewards may differ in their last bits


@dataclass(frozen=True, eq=False)
class TrainingTree:
    """Nodes are prefixes; node 0 is the question. Parents precede their children, and every node has a leaf below it.

    A leaf is a draw of a complete trace, so that traces drawn alike count as often as they were drawn.

    Attributes:
        key: names the problem; trees of one problem share it.
        task: name of the task, or "".
        question: as the proposer was asked.
        texts: one per node, of its step; "" for the root.
        source_node: int32[num_nodes], the node of the tree file's tree.
        parent, depth: int32[num_nodes]; the root's parent is -1.
        draws: int32[num_nodes], how often the node's step was drawn at its parent; the root's is the number of mains.
        main_draws: int32[num_nodes], of these, by main traces; 0 for what only forks drew.
        log_pf_model, log_pf_sampling: float64[num_nodes], see `arts_lite.tree.Tree`.
        num_ended, ended_correct: int32[num_nodes], leaves that end in this very node, and correct ones among them.
        ended_reward: float64[num_nodes], their mean reward; nan where none ends.
        num_leaves, num_correct: int32[num_nodes], leaves at or below a node, and correct ones among them.
        log_mean_reward: float64[num_nodes], log of the mean reward of these leaves.
        log_sum_reward: float64[num_nodes], log of the sum over *distinct* leaves: what the child sum unrolls to.
        pairs: int32[num_pairs, 2], siblings (better, worse) by mean reward; ties and equal texts are left out.
        pair_weight: float64[num_pairs], 2 / number of siblings: k of them hold k - 1 independent comparisons.
        trace_node: int32[num_traces], where each trace ended, in the file's order.
        trace_is_main, trace_correct: bool[num_traces].
        delimiters: that ended the proposer's steps, see `InputRules.step_tokens`.
        source: the tree of the file, if it was asked for: what a probe reads are the proposer's own tokens.
    """

    key: str
    task: str
    question: str
    texts: tuple[str, ...]
    source_node: NDArray[np.int32]
    parent: NDArray[np.int32]
    depth: NDArray[np.int32]
    draws: NDArray[np.int32]
    main_draws: NDArray[np.int32]
    log_pf_model: NDArray[np.float64]
    log_pf_sampling: NDArray[np.float64]
    num_ended: NDArray[np.int32]
    ended_correct: NDArray[np.int32]
    ended_reward: NDArray[np.float64]
    num_leaves: NDArray[np.int32]
    num_correct: NDArray[np.int32]
    log_mean_reward: NDArray[np.float64]
    log_sum_reward: NDArray[np.float64]
    pairs: NDArray[np.int32]
    pair_weight: NDArray[np.float64]
    trace_node: NDArray[np.int32]
    trace_is_main: NDArray[np.bool_]
    trace_correct: NDArray[np.bool_]
    delimiters: tuple[str, ...] = ()
    source: Tree | None = None

    @property
    def num_nodes(self) -> int:
        """Nodes, the root included."""
        return len(self.parent)

    @property
    def is_inner(self) -> NDArray[np.bool_]:
        """bool[num_nodes]: whether a node has children."""
        inner = np.zeros(self.num_nodes, np.bool_)
        inner[self.parent[1:]] = True
        return inner

    @property
    def is_mixed(self) -> bool:
        """Whether it holds correct and wrong leaves."""
        return bool(0 < self.num_correct[ROOT] < self.num_leaves[ROOT])

    def path(self, node: int) -> list[int]:
        """Nodes from the root to a node, both included."""
        nodes = [node]
        while nodes[-1] != ROOT:
            nodes.append(int(self.parent[nodes[-1]]))
        return nodes[::-1]


@dataclass(frozen=True, slots=True)
class ContextLimit:
    """What a verifier can read.

    Attributes:
        max_tokens: of a question and the steps of a trace.
        question_tokens, step_tokens: count a text's tokens, as `InputRules` makes them; a step's with its delimiters.
    """

    max_tokens: int
    question_tokens: Callable[[str], int]
    step_tokens: Callable[[str, tuple[str, ...]], int]


def usable_traces(
    tree: Tree, limit: ContextLimit | None = None, *, needs_reward: bool = True
) -> tuple[list[int], Counter[str]]:
    """Name the traces to learn from, and count the others by what is wrong with them.

    Reasons: "unfinished" (cut or pruned), "ungraded" (no verdict or no reward), "bad_reward" (not finite and > 0),
    "too_long" (for the verifier's context).
    """
    fits = _fitting(tree, limit)
    kept: list[int] = []
    reasons: Counter[str] = Counter()
    for index, end in enumerate(tree.ends):
        if end.state != ENDED:
            reasons["unfinished"] += 1
        elif end.correct is None or (needs_reward and end.reward is None):
            reasons["ungraded"] += 1
        elif needs_reward and end.reward is not None and not 0 < end.reward < np.inf:
            reasons["bad_reward"] += 1
        elif not fits[tree.trace_node[index]]:
            reasons["too_long"] += 1
        else:
            kept.append(index)
    return kept, reasons


def training_tree(tree: Tree, traces: Sequence[int], rewards: Rewards | None = None) -> TrainingTree:
    """Make the arrays of a tree's usable traces; nodes that only other traces passed are left out.

    Args:
        traces: their numbers, ascending, at least one with a step; see `usable_traces`.
        rewards: of the leaves, instead of the file's.
    """
    used, all_draws, main_draws = _draws(tree, traces)
    number = np.full(tree.num_nodes, -1, np.int32)
    number[used] = np.arange(len(used))
    parent = np.where(used == ROOT, -1, number[tree.parent[used]]).astype(np.int32)
    trace_node = number[tree.trace_node[list(traces)]]
    correct = np.array([tree.ends[index].correct is True for index in traces], np.bool_)
    leaves = _leaves(parent, trace_node, correct, _worth(tree, traces, rewards))
    texts = tuple(tree.texts[node] for node in used)
    problem = tree.origin.problem or {}
    return TrainingTree(
        problem_key(tree),
        str(problem.get("task", "")),
        tree.origin.question,
        texts,
        used,
        parent,
        tree.depth[used],
        all_draws[used],
        main_draws[used],
        tree.log_pf_model[used],
        tree.log_pf_sampling[used],
        *leaves,
        *_pairs(parent, np.exp(leaves.log_mean_reward), texts),
        trace_node,
        tree.trace_parent[list(traces)] < 0,
        correct,
        delimiters_of(tree),
    )


def delimiters_of(tree: Tree) -> tuple[str, ...]:
    """Texts that ended the proposer's steps; none where the file does not tell."""
    return tuple(map(str, tree.origin.rules.get("delimiters") or ()))


def problem_key(tree: Tree) -> str:
    """Name a tree's problem, the same in every file.

    Generated problems are named by their content in one order; ids of other problems may be row numbers, so that their
    question's text names them.
    """
    problem = tree.origin.problem or {}
    metadata = problem.get("metadata")
    if isinstance(metadata, dict) and "split" in metadata and problem.get("id"):
        return str(problem["id"])
    return " ".join(str(problem.get("question") or tree.origin.question).split())


def log_targets(tree: TrainingTree, estimator: str) -> NDArray[np.float64]:
    """Unroll flow matching down to the rewards: float64[num_nodes].

    "sum": F(s) = sum of F(child) over distinct children; "expected": their mean, weighted by draws. In both a leaf that
    ends in a node which others pass is one more child, with F = R.
    """
    if estimator == "sum":
        return tree.log_sum_reward
    weight = tree.num_ended.astype(np.float64)
    total = weight * np.nan_to_num(tree.ended_reward)
    for node in range(tree.num_nodes - 1, 0, -1):
        weight[tree.parent[node]] += tree.draws[node]
        total[tree.parent[node]] += tree.draws[node] * total[node] / weight[node]
    return np.asarray(np.log(total / weight))


class _Leaves(NamedTuple):
    """What `TrainingTree` says of leaves, in its order."""

    num_ended: NDArray[np.int32]
    ended_correct: NDArray[np.int32]
    ended_reward: NDArray[np.float64]
    num_leaves: NDArray[np.int32]
    num_correct: NDArray[np.int32]
    log_mean_reward: NDArray[np.float64]
    log_sum_reward: NDArray[np.float64]


def _leaves(
    parent: NDArray[np.int32], trace_node: NDArray[np.int32], correct: NDArray[np.bool_], worth: NDArray[np.float64]
) -> _Leaves:
    num_ended, ended_correct, ended_total = (np.zeros(len(parent)) for _ in range(3))
    for at_node, values in ((num_ended, 1.0), (ended_correct, correct), (ended_total, worth)):
        np.add.at(at_node, trace_node, values)
    ended_reward = np.divide(ended_total, num_ended, out=np.full(len(parent), np.nan), where=num_ended > 0)
    num_leaves = _sums_below(parent, num_ended)
    return _Leaves(
        num_ended.astype(np.int32),
        ended_correct.astype(np.int32),
        ended_reward,
        num_leaves.astype(np.int32),
        _sums_below(parent, ended_correct).astype(np.int32),
        np.log(_sums_below(parent, ended_total) / num_leaves),
        np.log(_sums_below(parent, np.nan_to_num(ended_reward))),
    )


def _sums_below(parent: NDArray[np.int32], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum values over each node and all below it."""
    sums: NDArray[np.float64] = values.copy()
    for node in range(len(parent) - 1, 0, -1):
        sums[parent[node]] += sums[node]
    return sums


def _worth(tree: Tree, traces: Sequence[int], rewards: Rewards | None) -> NDArray[np.float64]:
    ends = [tree.ends[index] for index in traces]
    if rewards is None:
        return np.array([end.reward for end in ends], np.float64)
    return np.array([rewards.of(end.correct is True) for end in ends], np.float64)


def _draws(tree: Tree, traces: Sequence[int]) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Nodes that the traces pass, and how often each step was drawn on their way: in all, and by main traces.

    A step that a fork took over was drawn by the trace that it was forked from, used or not.
    """
    length = np.zeros(tree.num_nodes, np.int64)  # generated tokens from the prompt to a node's end
    for node in range(1, tree.num_nodes):
        length[node] = length[tree.parent[node]] + tree.step_offsets[node + 1] - tree.step_offsets[node]
    drawn: set[tuple[int, int]] = set()
    for index in traces:
        drawer = index
        for node in reversed(tree.path(int(tree.trace_node[index]))):
            while tree.trace_parent[drawer] >= 0 and length[node] <= tree.trace_shared[drawer]:
                drawer = int(tree.trace_parent[drawer])
            drawn.add((drawer, node))
    all_draws, main_draws = np.zeros(tree.num_nodes, np.int32), np.zeros(tree.num_nodes, np.int32)
    for drawer, node in drawn:
        all_draws[node] += 1
        main_draws[node] += tree.trace_parent[drawer] < 0
    return np.flatnonzero(all_draws).astype(np.int32), all_draws, main_draws


def _pairs(
    parent: NDArray[np.int32], value: NDArray[np.float64], texts: Sequence[str]
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    siblings: dict[int, list[int]] = {}
    for node in range(1, len(parent)):
        siblings.setdefault(int(parent[node]), []).append(node)
    pairs, weights = [], []
    for group in siblings.values():
        for first, second in combinations(group, 2):
            if abs(value[first] - value[second]) > _EQUAL * value[first] and texts[first] != texts[second]:
                pairs.append((first, second) if value[first] > value[second] else (second, first))
                weights.append(2 / len(group))
    return np.array(pairs, np.int32).reshape(-1, 2), np.array(weights, np.float64)


def _fitting(tree: Tree, limit: ContextLimit | None) -> NDArray[np.bool_]:
    if limit is None:
        return np.ones(tree.num_nodes, np.bool_)
    length = np.zeros(tree.num_nodes, np.int64)
    delimiters = delimiters_of(tree)
    length[ROOT] = limit.question_tokens(tree.origin.question)
    for node in range(1, tree.num_nodes):
        length[node] = length[tree.parent[node]] + limit.step_tokens(tree.texts[node], delimiters)
    return length <= limit.max_tokens
