"""What the strategies that step scores guide have in common: a prefix's worth, and siblings that draw a step each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

from arts_lite.search.actions import Action, Fork, Open, Run
from arts_lite.search.record import Branch, SearchTree

Aggregate = Callable[[Sequence[float]], float]
_MOST = 1e300  # differences from it are numbers


class Round:
    """Branches that draw one step each; what comes next is decided when all of them have it.

    A decision is then a function of the tree, whatever the order in which the steps ended.
    """

    def __init__(self) -> None:
        self._members: list[int] = []
        self._missing: set[int] = set()

    def __contains__(self, branch: Branch) -> bool:
        return branch.index in self._members

    def __len__(self) -> int:
        return len(self._members)

    def open(self, tree: SearchTree, width: int) -> Iterator[Action]:
        """Draw first steps."""
        for _ in range(width):
            self._add(len(tree.branches))
            yield Open(pause_on_step=True)

    def fork(self, tree: SearchTree, branch: Branch, width: int) -> Iterator[Action]:
        """Draw steps that follow a branch where it stands, by forks; it stays there."""
        position = branch.length
        for _ in range(width):
            self._add(len(tree.branches))
            yield Fork(branch.index, position, pause_on_step=True)

    def expand(self, tree: SearchTree, branch: Branch, width: int) -> Iterator[Action]:
        """Draw steps that follow a paused branch: forks where it stands, then the branch itself goes on."""
        yield from self.fork(tree, branch, width - 1)
        self._add(branch.index)
        yield Run(branch.index, pause_on_step=True)

    def ends_with(self, branch: Branch) -> bool:
        """Note that a branch has its step, or has ended; says whether it was the last one."""
        self._missing.discard(branch.index)
        return not self._missing

    def members(self, tree: SearchTree) -> list[Branch]:
        """List the branches, in order of opening."""
        return [tree.branches[index] for index in sorted(self._members)]

    def _add(self, index: int) -> None:
        self._members.append(index)
        self._missing.add(index)


def worth(branch: Branch, aggregate: Aggregate, log_prob_weight: float = 0.0) -> float:
    """Score a branch as it is: a whole trace by its own score, a prefix by its steps'; -inf if it has none.

    Args:
        log_prob_weight: what a nat of its log-prob under the model adds.

    Raises:
        ValueError: the scorer scores no steps.
    """
    if branch.has_ended:
        value = -math.inf if branch.score is None else branch.score
    elif not branch.step_scores:
        raise ValueError(
            "this strategy is guided by the score of every step, but the scorer scores whole traces only; give a "
            "verifier, or a scorer with `score_steps`"
        )
    else:
        value = aggregate(branch.step_scores)
    return -math.inf if math.isnan(value) else min(value + log_prob_weight * branch.log_prob, _MOST)


def ranked(branches: Iterable[Branch], aggregate: Aggregate, log_prob_weight: float = 0.0) -> list[Branch]:
    """Sort branches by their worth, best first, equal ones in order of opening."""
    return sorted(branches, key=lambda branch: (-worth(branch, aggregate, log_prob_weight), branch.index))


def distinct(branches: Iterable[Branch]) -> list[Branch]:
    """Leave out branches that drew the same text as an earlier one: they would count one prefix twice."""
    first: dict[tuple[str, bool], Branch] = {}
    for branch in branches:
        first.setdefault(("".join(step.text for step in branch.steps), branch.has_ended), branch)
    return list(first.values())
