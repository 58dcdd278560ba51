"""Sparse Deep Fork: main traces with single alternatives at some of their steps (ARTS, arXiv 2602.12846)."""

from __future__ import annotations

from collections.abc import Iterator

from arts_lite.search.actions import Action, Drop, Fork, Run
from arts_lite.search.ballot import Decision, by_score, by_vote
from arts_lite.search.draws import coin
from arts_lite.search.record import Branch, SearchTree
from arts_lite.search.strategy import StrategySettings, openings


class SparseDeepFork:
    """Runs n main traces; at each intermediate step boundary, with `fork_prob`, forks one alternative to its end.

    A boundary is intermediate if another step follows it in its trace. That is known when the next step has ended, or
    the trace has ended with visible text after the boundary: then the coin is flipped and the fork made, at the
    boundary (the engine keeps the candidates of boundaries, so that a late fork decodes nothing twice). The coin is a
    function of (seed, branch path, boundary's position). Forks do not fork, unless `max_fork_depth` > 1. The answer is
    the vote of all leaves, or the best scored leaf (`by_score`).
    """

    def __init__(self, settings: StrategySettings) -> None:
        self._settings = settings
        self._num_flipped: dict[int, int] = {}

    def start(self, tree: SearchTree) -> Iterator[Action]:
        """Open the main traces."""
        yield from openings(tree, self._settings.n, pause_on_step=self._may_fork(0))

    def react(self, tree: SearchTree, branch: Branch) -> Iterator[Action]:
        """Flip the coins of the boundaries that have become intermediate."""
        if self._may_fork(branch.depth):
            yield from self._forks(tree, branch)
        if not branch.has_ended:
            yield Run(branch.index, pause_on_step=True)
            return
        yield Drop(branch.index)
        yield from openings(tree, self._settings.n, pause_on_step=self._may_fork(0))

    def decide(self, tree: SearchTree) -> Decision:
        """Let all leaves vote, or take the best scored one."""
        return by_score(tree, self._settings.log_prob_weight) if self._settings.by_score else by_vote(tree)

    def _may_fork(self, depth: int) -> bool:
        return depth < self._settings.max_fork_depth

    def _forks(self, tree: SearchTree, branch: Branch) -> Iterator[Fork]:
        boundaries = branch.intermediate_boundaries
        for position in boundaries[self._num_flipped.get(branch.index, 0) :]:
            if coin(self._settings.fork_prob, tree.seed, *branch.path, position):
                yield Fork(branch.index, position, pause_on_step=self._may_fork(branch.depth + 1))
        self._num_flipped[branch.index] = len(boundaries)
