"""Step beam search: many prefixes side by side, the best of which are expanded."""

from __future__ import annotations

from collections.abc import Iterator

from arts_lite.search.actions import Action, Drop, Prune
from arts_lite.search.ballot import Decision, by_weight
from arts_lite.search.guided import Round, distinct, ranked
from arts_lite.search.record import Branch, SearchTree
from arts_lite.search.scorers import AGGREGATIONS
from arts_lite.search.strategy import StrategySettings


class BeamSearch:
    """Beam search over steps, guided by their scores (Snell et al., arXiv 2408.03314, section 5.2).

    n beams draw a step each; the best n / beam_width are kept, and each is expanded by beam_width next steps: its own
    and forks. Beams that drew the same text count once, and the others have its share of next steps. A beam whose
    trace has ended is kept as a leaf and gives up its place: live beams and leaves are n together, and the search is
    over when no beam lives. Leaves vote with the weight exp(score) (there: best-of-N weighted). Needs step scores.
    """

    def __init__(self, settings: StrategySettings) -> None:
        self._n = settings.n
        self._width = settings.beam_width
        self._aggregate = AGGREGATIONS[settings.aggregation]
        self._log_prob_weight = settings.log_prob_weight
        self._round = Round()
        self._num_leaves = 0

    def start(self, tree: SearchTree) -> Iterator[Action]:
        """Draw n first steps."""
        yield from self._round.open(tree, self._n)

    def react(self, tree: SearchTree, branch: Branch) -> Iterator[Action]:
        """Wait until all beams have their step; then keep the best."""
        if branch.has_ended:
            yield Drop(branch.index)
            self._num_leaves += 1
        if self._round.ends_with(branch):
            yield from self._next_round(tree)

    def decide(self, tree: SearchTree) -> Decision:
        """Take the answer that weighs most."""
        return by_weight(tree, self._log_prob_weight)

    def _next_round(self, tree: SearchTree) -> Iterator[Action]:
        beams = [branch for branch in self._round.members(tree) if branch.is_alive]
        num_places = self._n - self._num_leaves
        num_kept = -(-num_places // self._width)
        kept = ranked(distinct(beams), self._aggregate, self._log_prob_weight)[:num_kept]
        for beam in beams:
            if all(beam is not other for other in kept):
                yield Prune(beam.index, f"not among the best {num_kept} beams")
        self._round = Round()
        for place, beam in enumerate(kept):
            yield from self._round.expand(tree, beam, num_places // len(kept) + (place < num_places % len(kept)))
