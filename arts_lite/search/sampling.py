"""Independent traces: best of n by a score, or a vote among n (self-consistency), plain or weighted."""

from __future__ import annotations

from collections.abc import Iterator

from arts_lite.search.actions import Action, Drop, Stop
from arts_lite.search.ballot import Decision, by_score, by_vote, by_weight, is_decided
from arts_lite.search.record import Branch, SearchTree
from arts_lite.search.strategy import StrategySettings, openings
from arts_lite.types import StopReason


class BestOfN:
    """Samples n traces and takes the one that the scorer likes best."""

    def __init__(self, settings: StrategySettings) -> None:
        self._n = settings.n

    def start(self, tree: SearchTree) -> Iterator[Action]:
        """Open the traces."""
        yield from openings(tree, self._n)

    def react(self, tree: SearchTree, branch: Branch) -> Iterator[Action]:
        """Let go of the ended trace; open another if a budget kept some back."""
        yield Drop(branch.index)
        yield from openings(tree, self._n)

    def decide(self, tree: SearchTree) -> Decision:
        """Take the best scored trace's answer."""
        return by_score(tree)


class WeightedVote(BestOfN):
    """Samples n traces; each votes for its answer with the weight exp(score): a verifier's flow."""

    def decide(self, tree: SearchTree) -> Decision:
        """Take the answer that weighs most."""
        return by_weight(tree)


class Vote:
    """Samples n traces and takes the most frequent answer (Wang et al., arXiv 2203.11171).

    Traces without an answer do not vote; ties go to the answer of the earliest opened trace. With `early_stop` the
    search stops as soon as no other answer can win (`arts_lite.search.ballot.is_decided` states the rule): the answer
    is the one that all n traces would have given.
    """

    def __init__(self, settings: StrategySettings) -> None:
        self._n = settings.n
        self._early_stop = settings.early_stop

    def start(self, tree: SearchTree) -> Iterator[Action]:
        """Open the traces."""
        yield from openings(tree, self._n)

    def react(self, tree: SearchTree, branch: Branch) -> Iterator[Action]:
        """Count the votes; stop when they decide."""
        yield Drop(branch.index)
        groups: list[list[int]] = [[] for _ in tree.answers]
        for other in tree.branches:
            if other.has_ended and other.group is not None:
                groups[other.group].append(other.index)
        undecided = [index for index in range(self._n) if index >= len(tree.branches) or tree.branches[index].is_alive]
        if self._early_stop and undecided and is_decided([group for group in groups if group], undecided):
            yield Stop(StopReason.DECIDED)
        else:
            yield from openings(tree, self._n)

    def decide(self, tree: SearchTree) -> Decision:
        """Take the most frequent answer."""
        return by_vote(tree)
