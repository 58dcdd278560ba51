"""Diverse Verifier Tree Search: independent trees, each descended greedily."""

from __future__ import annotations

from collections.abc import Iterator

from arts_lite.search.actions import Action, Drop, Prune
from arts_lite.search.ballot import Decision, by_weight
from arts_lite.search.guided import Round, ranked
from arts_lite.search.record import Branch, SearchTree
from arts_lite.search.scorers import AGGREGATIONS
from arts_lite.search.strategy import StrategySettings


class DiverseVerifierTreeSearch:
    """Beam search in n / beam_width subtrees that know nothing of each other (Beeching et al., 2024, search-and-learn).

    In each subtree beam_width next steps are drawn, the best one is followed and the others are pruned, until the best
    one has ended its trace; what else ended beside it stays a leaf. No subtree can crowd out the others, as beams do.
    Leaves vote with the weight exp(score). Needs step scores.
    """

    def __init__(self, settings: StrategySettings) -> None:
        self._n = settings.n
        self._width = settings.beam_width
        self._aggregate = AGGREGATIONS[settings.aggregation]
        self._log_prob_weight = settings.log_prob_weight
        self._subtrees: list[Round] = []

    def start(self, tree: SearchTree) -> Iterator[Action]:
        """Draw the first steps of all subtrees; the last one is narrower where beam_width does not divide n."""
        for place in range(0, self._n, self._width):
            subtree = Round()
            self._subtrees.append(subtree)
            yield from subtree.open(tree, min(self._width, self._n - place))

    def react(self, tree: SearchTree, branch: Branch) -> Iterator[Action]:
        """Wait until all steps of a subtree are drawn; then follow the best."""
        if branch.has_ended:
            yield Drop(branch.index)
        place = next(place for place, subtree in enumerate(self._subtrees) if branch in subtree)
        if self._subtrees[place].ends_with(branch):
            yield from self._descend(tree, place)

    def decide(self, tree: SearchTree) -> Decision:
        """Take the answer that weighs most."""
        return by_weight(tree, self._log_prob_weight)

    def _descend(self, tree: SearchTree, place: int) -> Iterator[Action]:
        subtree = self._subtrees[place]
        best, *others = ranked(subtree.members(tree), self._aggregate, self._log_prob_weight)
        for other in others:
            if other.is_alive:
                yield Prune(other.index, "not the best of its subtree")
        if best.is_alive:
            self._subtrees[place] = Round()
            yield from self._subtrees[place].expand(tree, best, len(subtree))
