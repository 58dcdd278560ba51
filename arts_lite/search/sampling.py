"""Independent traces: best of n by a score, or a vote among n (self-consistency), plain or weighted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from arts_lite.search.actions import Action, Drop, Stop
from arts_lite.search.ballot import Decision, by_score, by_vote, by_weight, is_decided
from arts_lite.search.record import Branch, SearchTree
from arts_lite.search.stopping import answer_posterior, require_flows, vote_posterior
from arts_lite.search.strategy import StrategySettings, next_traces
from arts_lite.types import StopReason


class BestOfN:
    """Samples n traces and takes the one that the scorer likes best.

    With a `confidence` they come in waves, until the posterior of that trace's answer (`answer_posterior`) reaches it.
    """

    def __init__(self, settings: StrategySettings) -> None:
        self._settings = settings
        self._confidence = settings.stops_at()

    def start(self, tree: SearchTree) -> Iterator[Action]:
        """Open the traces. Raises VerifierError: there is a confidence, but no flows."""
        if self._confidence is not None:
            require_flows(self._settings.flows, "confidence in a scored answer")
        yield from next_traces(tree, self._settings)

    def react(self, tree: SearchTree, branch: Branch) -> Iterator[Action]:
        """Let go of the ended trace; stop if that is enough, else open others if there are any to open."""
        if tree.num_main_traces >= self._settings.n:  # else later traces go along it as far as they draw the same
            yield Drop(branch.index)
        if self._is_sure(tree):
            yield Stop(StopReason.DECIDED)
        else:
            yield from next_traces(tree, self._settings)

    def decide(self, tree: SearchTree) -> Decision:
        """Take the best scored trace's answer."""
        return by_score(tree, self._settings.log_prob_weight)

    def _is_sure(self, tree: SearchTree) -> bool:
        if self._confidence is None or any(branch.is_alive for branch in tree.branches):
            return False
        chosen = self.decide(tree).branch
        group = None if chosen is None else tree.branches[chosen].group
        flows = require_flows(self._settings.flows, "confidence in a scored answer")
        return (
            group is not None
            and answer_posterior(tree, flows, self._settings.log_prob_weight)[group] >= self._confidence
        )


class WeightedVote(BestOfN):
    """Samples n traces; each votes for its answer with the weight exp(score): a verifier's flow."""

    def decide(self, tree: SearchTree) -> Decision:
        """Take the answer that weighs most."""
        return by_weight(tree, self._settings.log_prob_weight)


class Vote:
    """Samples n traces and takes the most frequent answer (Wang et al., arXiv 2203.11171).

    Traces without an answer do not vote; ties go to the answer of the earliest opened trace. With `early_stop` the
    search stops as soon as no other answer can win (`arts_lite.search.ballot.is_decided` states the rule): the answer
    is the one that all n traces would have given. With a `confidence` they come in waves, and the search stops when
    that is sufficiently likely (`vote_posterior`).
    """

    def __init__(self, settings: StrategySettings) -> None:
        self._settings = settings
        self._confidence = settings.stops_at()

    def start(self, tree: SearchTree) -> Iterator[Action]:
        """Open the traces."""
        yield from next_traces(tree, self._settings)

    def react(self, tree: SearchTree, branch: Branch) -> Iterator[Action]:
        """Count the votes; stop when they decide."""
        if tree.num_main_traces >= self._settings.n:  # else later traces go along it as far as they draw the same
            yield Drop(branch.index)
        groups: list[list[int]] = [[] for _ in tree.answers]
        for other in tree.branches:
            if other.has_ended and other.group is not None:
                groups[other.group].append(other.index)
        if self._is_decided(tree, [group for group in groups if group]):
            yield Stop(StopReason.DECIDED, "no other answer can win")
        else:
            yield from next_traces(tree, self._settings)

    def decide(self, tree: SearchTree) -> Decision:
        """Take the most frequent answer."""
        return by_vote(tree)

    def _is_decided(self, tree: SearchTree, groups: Sequence[Sequence[int]]) -> bool:
        alive = {branch.index for branch in tree.branches if branch.is_alive}
        undecided = [index for index in range(self._settings.n) if index >= len(tree.branches) or index in alive]
        if self._settings.early_stop and undecided and is_decided(groups, undecided):
            return True
        is_wave_over = self._confidence is not None and undecided and not alive
        return bool(is_wave_over) and vote_posterior([len(group) for group in groups]) >= (self._confidence or 0)
