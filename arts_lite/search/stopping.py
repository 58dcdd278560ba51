"""When a search has seen enough: what the leaves so far say of each answer, and how many traces to open at a time.

Flows of leaves are read as chances: with the rewards W (wrong) and C (correct), F = W + (C - W) P(correct). Votes are
counted where there are no flows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from arts_lite.errors import VerifierError
from arts_lite.search.record import Branch, SearchTree

_SUREST = 1e-6  # no reading is taken for more certain than this: a single one could never be outweighed


@dataclass(frozen=True, slots=True)
class FlowRange:
    """The flows of a wrong and of a right leaf: what turns a log-flow into a chance. Raises ValueError: not ordered."""

    wrong: float = 0.1
    correct: float = 10.0

    def __post_init__(self) -> None:
        if not 0 < self.wrong < self.correct < math.inf:
            raise ValueError(f"flows of {self.wrong} (wrong) and {self.correct} (correct), but 0 < wrong < correct")

    def probability(self, log_flow: float) -> float:
        """P(correct) of a prefix, in (0, 1); what lies outside the range is cut off."""
        if math.isnan(log_flow):
            return 0.5
        flow = math.exp(min(log_flow, math.log(self.correct)))
        return min(max((flow - self.wrong) / (self.correct - self.wrong), _SUREST), 1 - _SUREST)


PAPER_FLOWS = FlowRange()
"""The rewards of the paper (ARTS, arXiv 2602.12846), which the trainers take unless they are told others."""


def require_flows(flows: FlowRange | None, what: str) -> FlowRange:
    """Give the range of the flows. Raises VerifierError: there is none."""
    if flows is None:
        raise VerifierError(
            f"{what} needs flows, but the scorer gives none: give a verifier (--verifier FILE) that was trained with "
            "flow, prm or orm, with the same rewards as the probe, no other scorer, and no --aggregation product, "
            "which is no flow; or take --strategy vote"
        )
    return flows


def wave_size(num_ended: int, concurrency: int | None) -> int:
    """How many traces to have side by side: `concurrency`, or half as many as have ended, but at least one.

    So an easy question ends after one trace, a hard one is soon searched in wide waves, and what is under way when the
    decision falls is at most half of what was needed for it.
    """
    return max(1, num_ended // 2) if concurrency is None else concurrency


def answer_posterior(tree: SearchTree, flows: FlowRange, log_prob_weight: float = 0.0) -> Mapping[int, float]:
    """P that an answer (by `Branch.group`) is the right one of all that could be found; the rest: one not seen yet is.

    Leaves that give one answer are readings of one fact. Their mean log-odds count as sqrt(m) independent readings if
    they are in favour, as one otherwise: the errors of a verifier's readings of one answer go together, and wrong
    traces do not become less likely wrong by being many. m counts a fork by the share of its tokens that are its own.
    At most one answer is right: P(a) = o_a / (u + sum of all o), with o the odds, and u the chance that the next trace
    gives an answer that was not seen yet: the share of leaves whose answer no other gives (Good 1953). After one leaf
    u = 1. Where traces go on to give the same few answers, others will hardly be found, and the search need not go on.

    Args:
        log_prob_weight: log-odds that a nat of a leaf's log-prob, against the leaves' mean, adds to those of its flow.
    """
    leaves = [leaf for leaf in tree.leaves() if leaf.group is not None and leaf.score is not None]
    mean = math.fsum(leaf.log_prob for leaf in leaves) / max(len(leaves), 1)
    readings: dict[int, list[tuple[float, float]]] = {}
    for leaf in leaves:
        assert leaf.group is not None
        assert leaf.score is not None
        chance = flows.probability(leaf.score)
        log_odds = math.log(chance / (1 - chance)) + log_prob_weight * (leaf.log_prob - mean)
        readings.setdefault(leaf.group, []).append((_own_share(tree, leaf), log_odds))
    odds = {group: math.exp(min(_log_odds(items), 50.0)) for group, items in readings.items()}
    counts = [math.fsum(share for share, _ in items) for items in readings.values()]
    unseen = (0.5 + math.fsum(one for one in counts if one <= 1)) / (0.5 + math.fsum(counts))
    total = unseen + math.fsum(odds.values())
    return {group: one / total for group, one in odds.items()}


def vote_posterior(counts: Sequence[int]) -> float:
    """P that the answer which leads would also lead among endlessly many traces, in [0, 1].

    Of the first two only, from a uniform prior: P(X > 1/2) for X ~ Beta(first + 1, second + 1) (adaptive consistency:
    Aggarwal et al., arXiv 2305.11860), which is the chance of at most `first` heads in first + second + 1 tosses.
    """
    first, second = (*sorted(counts, reverse=True), 0, 0)[:2]
    num_tosses = first + second + 1
    return sum(math.comb(num_tosses, heads) for heads in range(first + 1)) / (1 << num_tosses)


def _own_share(tree: SearchTree, leaf: Branch) -> float:
    num_tokens = leaf.length - tree.num_prompt_tokens
    return leaf.num_own_tokens / num_tokens if leaf.num_own_tokens else 1 / max(num_tokens, 1)


def _log_odds(readings: Sequence[tuple[float, float]]) -> float:
    weight = math.fsum(share for share, _ in readings)
    mean = math.fsum(share * log_odds for share, log_odds in readings) / weight
    return mean * math.sqrt(max(weight, 1.0)) if mean > 0 else mean
