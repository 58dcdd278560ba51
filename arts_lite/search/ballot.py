"""From the leaves of a tree to one answer: by vote or by score."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from arts_lite.search.record import Branch, SearchTree


@dataclass(frozen=True, slots=True)
class Candidate:
    """One answer: how many traces gave it, and the best score among them."""

    answer: str
    count: int
    score: float | None


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer of a search.

    Attributes:
        answer: None where no trace gave one.
        branch: index of the trace that is shown for it, None where there is no trace at all.
        votes: how many traces gave the answer.
        candidates: all answers, the chosen one first, then by count and score.
        by: what chose: "vote", "weighted vote", "score", "posterior" or "checker".
    """

    answer: str | None
    branch: int | None
    votes: int
    candidates: tuple[Candidate, ...]
    by: str = "vote"


def by_vote(tree: SearchTree) -> Decision:
    """Choose the answer that most leaves give; of equally many, the one that the earliest opened leaf gives.

    The trace that is shown for it is the best scored one.
    """
    groups = _groups(tree.leaves())
    winner = min(groups, key=lambda group: (-len(group), group[0].index), default=None)
    return _decision(tree, groups, winner, "vote")


def by_score(tree: SearchTree, log_prob_weight: float = 0.0) -> Decision:
    """Choose the best scored leaf, of those that give an answer at all; of equally good ones the earliest opened.

    Args:
        log_prob_weight: what a nat of a leaf's log-prob adds to its score. With a log-flow as score and 1, the log-flow
            of the target pi(x) R(x) (arXiv 2602.12846, section 3).
    """
    groups = _groups(tree.leaves())

    def first(group: list[Branch]) -> tuple[float, int]:
        return min((_rank(branch, log_prob_weight), branch.index) for branch in group)

    return _decision(tree, groups, min(groups, key=first, default=None), "score", log_prob_weight)


def by_weight(tree: SearchTree, log_prob_weight: float = 0.0) -> Decision:
    """Choose the answer whose leaves weigh most together, each exp(score); of equally heavy ones the earliest opened.

    With log-flows as scores, a leaf weighs its flow (weighted self-consistency: Wang et al., arXiv 2203.11171).

    Args:
        log_prob_weight: see `by_score`.
    """
    groups = _groups(tree.leaves())

    def score(branch: Branch) -> float:
        return -_rank(branch, log_prob_weight)

    best = max((score(branch) for group in groups for branch in group), default=-math.inf)

    def weight(group: list[Branch]) -> float:
        if math.isinf(best):  # nothing weighs anything, or what is infinite outweighs all else
            return sum(score(branch) == math.inf for branch in group)
        return math.fsum(math.exp(score(branch) - best) for branch in group)

    winner = min(groups, key=lambda group: (-weight(group), group[0].index), default=None)
    return _decision(tree, groups, winner, "weighted vote", log_prob_weight)


def by_posterior(tree: SearchTree, posterior: Mapping[int, float]) -> Decision:
    """Choose the answer that is most likely right, by `Branch.group`; of equally likely ones the earliest opened."""
    groups = _groups(tree.leaves())
    winner = min(groups, key=lambda group: (-posterior.get(group[0].group or 0, 0.0), group[0].index), default=None)
    return _decision(tree, groups, winner, "posterior")


def by_check(tree: SearchTree, accepts: Callable[[str], bool]) -> Decision:
    """Choose the best scored of the leaves whose answer a checker accepts; no answer if it accepts none."""
    groups = _groups(tree.leaves())
    accepted = [group for group in groups if group[0].answer is not None and accepts(group[0].answer)]
    winner = min(accepted, key=lambda group: (_rank(best_scored(group)), best_scored(group).index), default=None)
    return _decision(tree, groups, winner, "checker")


def is_decided(groups: Sequence[Sequence[int]], undecided: Sequence[int]) -> bool:
    """Whether the vote's winner is certain although some traces have not ended.

    With r undecided traces, answer a is certain to win if and only if for every other answer b (one that nobody gave
    yet has 0 votes): votes(b) + r < votes(a), or votes(b) + r = votes(a) and a's earliest trace was opened before b's
    earliest and before the earliest undecided one, since ties go to the answer of the earliest opened trace.

    Args:
        groups: for each answer the indices of the traces that gave it.
        undecided: indices of the traces that have not ended, those that are still to be opened included.
    """
    if not groups:
        return False
    leader = min(groups, key=lambda group: (-len(group), min(group)))
    others = [group for group in groups if group is not leader]
    return all(_is_beaten(leader, other, undecided) for other in [*others, []])


def best_scored(branches: Sequence[Branch], log_prob_weight: float = 0.0) -> Branch:
    """Find the branch with the highest score, the earliest opened of equals; one without a score, or nan, is last."""
    return min(branches, key=lambda branch: (_rank(branch, log_prob_weight), branch.index))


def _is_beaten(leader: Sequence[int], other: Sequence[int], undecided: Sequence[int]) -> bool:
    most = len(other) + len(undecided)
    earliest = min([*other, *undecided], default=None)
    return most < len(leader) or (most == len(leader) and earliest is not None and min(leader) < earliest)


def _groups(leaves: Sequence[Branch]) -> list[list[Branch]]:
    groups: dict[int, list[Branch]] = {}
    for leaf in leaves:
        if leaf.group is not None:
            groups.setdefault(leaf.group, []).append(leaf)
    return list(groups.values())


def _rank(branch: Branch, log_prob_weight: float = 0.0) -> float:
    """Sort key, the best score first; no score, or one that is no number, comes last."""
    if branch.score is None or math.isnan(branch.score):
        return math.inf
    return -(branch.score + log_prob_weight * branch.log_prob)


def _decision(
    tree: SearchTree, groups: list[list[Branch]], winner: list[Branch] | None, by: str, log_prob_weight: float = 0.0
) -> Decision:
    rest = sorted(
        (group for group in groups if group is not winner),
        key=lambda group: (-len(group), _rank(best_scored(group)), group[0].index),
    )
    candidates = tuple(_candidate(group) for group in rest)
    if winner is None:
        leaves = tree.leaves()
        return Decision(None, best_scored(leaves).index if leaves else None, 0, candidates, by)
    chosen = _candidate(winner)
    shown = best_scored(winner, log_prob_weight)
    return Decision(chosen.answer, shown.index, len(winner), (chosen, *candidates), by)


def _candidate(group: list[Branch]) -> Candidate:
    best = best_scored(group)
    assert best.answer is not None  # a group holds branches with an answer
    return Candidate(best.answer, len(group), best.score)
