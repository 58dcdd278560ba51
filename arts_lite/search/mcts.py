"""Monte Carlo Tree Search over steps, with PUCT."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from arts_lite.search.actions import Action, Drop, Park, Prune
from arts_lite.search.ballot import Decision, by_weight
from arts_lite.search.guided import Round, distinct, worth
from arts_lite.search.record import Branch, BranchState, SearchTree
from arts_lite.search.scorers import AGGREGATIONS
from arts_lite.search.strategy import StrategySettings


@dataclass(eq=False, slots=True)
class Node:
    """A prefix that ends at a step's end, or a whole trace. Values are logs, as scores are.

    Attributes:
        branch: ends here and stays here; None: the root.
        value: what it is worth by its score.
        prior: its share of its siblings' values, in [0, 1].
        num_visits: simulations that came through.
        num_draws: next steps drawn from here; those that were drawn twice are one child.
        log_total: log of the sum of exp(value) of the traces that they came to.
    """

    branch: Branch | None
    parent: Node | None = None
    value: float = -math.inf
    prior: float = 1.0
    num_visits: int = 0
    num_draws: int = 0
    log_total: float = -math.inf
    children: list[Node] = field(default_factory=list)

    @property
    def is_trace(self) -> bool:
        """Whether it is a whole trace."""
        return self.branch is not None and self.branch.has_ended

    @property
    def mean(self) -> float:
        """Log of the mean value of its simulations; before the first one its own value."""
        return self.log_total - math.log(self.num_visits) if self.num_visits else self.value


def puct(value: float, prior: float, num_visits: int, num_siblings_visits: int, c_puct: float) -> float:
    """Score a child for selection: Q + c_puct P sqrt(N) / (1 + n) (AlphaGo Zero; Rosin 2011).

    Args:
        value: Q, in [0, 1].
        num_visits: n, of the child.
        num_siblings_visits: N, of all children of its parent, itself included.
    """
    return value + c_puct * prior * math.sqrt(num_siblings_visits) / (1 + num_visits)


class MonteCarloTreeSearch:
    """n simulations, each from the root to a trace's end (after Feng et al., arXiv 2309.17179: MCTS-Rollout).

    A simulation selects children by PUCT until it comes to a whole trace, whose score is backed up. Where there are
    none yet it expands: beam_width next steps are drawn, by forks, and scored; a child's prior is exp(score) as a share
    of its siblings'. Draws that came out the same are one child; with each doubling of its visits a node is widened by
    one more draw (progressive widening: Coulom 2007). Q is the mean of exp(score) over a node's simulations, before
    the first one the node's own, normalised to [0, 1] by the lowest and highest score in the tree (MuZero, arXiv
    1911.08265). Whatever is not being drawn is parked. Leaves vote with the weight exp(score). Needs step scores.

    Attributes:
        root: of the tree of nodes.
    """

    def __init__(self, settings: StrategySettings) -> None:
        self.root = Node(None)
        self._n = settings.n
        self._log_prob_weight = settings.log_prob_weight
        self._width = settings.beam_width
        self._c_puct = settings.c_puct
        self._aggregate = AGGREGATIONS[settings.aggregation]
        self._round = Round()
        self._drawing = self.root
        self._low, self._high = math.inf, -math.inf

    def start(self, tree: SearchTree) -> Iterator[Action]:
        """Expand the root."""
        yield from self._draw(tree, self.root)

    def react(self, tree: SearchTree, branch: Branch) -> Iterator[Action]:
        """Wait until all steps are drawn; then go on with the simulation, and with further ones."""
        if branch.has_ended:
            yield Drop(branch.index)
        if not self._round.ends_with(branch):
            return
        drawn = self._round.members(tree)
        yield from self._take(drawn)
        node = self._next_to_draw()
        if node is None:
            return
        yield from self._draw(tree, node)
        for other in drawn:
            if other.state is BranchState.PAUSED:
                yield Park(other.index)

    def decide(self, tree: SearchTree) -> Decision:
        """Take the answer that weighs most."""
        return by_weight(tree, self._log_prob_weight)

    def _draw(self, tree: SearchTree, node: Node) -> Iterator[Action]:
        self._drawing, self._round = node, Round()
        num_missing = self._num_draws_due(node) - node.num_draws
        node.num_draws += num_missing
        if node.branch is None:
            yield from self._round.open(tree, num_missing)
        else:
            yield from self._round.fork(tree, node.branch, num_missing)

    def _num_draws_due(self, node: Node) -> int:
        return 0 if node.is_trace else self._width + max(node.num_visits.bit_length() - 1, 0)

    def _take(self, drawn: Sequence[Branch]) -> Iterator[Action]:
        parent = self._drawing
        known = [child.branch for child in parent.children if child.branch is not None]
        for branch in distinct([*known, *drawn])[len(known) :]:
            parent.children.append(Node(branch, parent, worth(branch, self._aggregate)))
        for branch in drawn:
            if branch.is_alive and all(branch is not child.branch for child in parent.children):
                yield Prune(branch.index, "its step was drawn before")
        values = [child.value for child in parent.children]
        self._low, self._high = min(self._low, *values), max(self._high, *values)
        for child, share in zip(parent.children, shares(values), strict=True):
            child.prior = share

    def _next_to_draw(self) -> Node | None:
        """Go down to a node that lacks draws, backing up all whole traces on the way; None: the search is over."""
        node = self._drawing
        while self.root.num_visits < self._n:
            if node.num_draws < self._num_draws_due(node):
                return node
            if node.is_trace:
                _back_up(node)
                node = self.root
            else:
                node = self._select(node)
        return None

    def _select(self, parent: Node) -> Node:
        num_visits = sum(child.num_visits for child in parent.children)
        return max(  # of equals the first
            parent.children,
            key=lambda child: puct(
                self._normalised(child.mean), child.prior, child.num_visits, num_visits, self._c_puct
            ),
        )

    def _normalised(self, value: float) -> float:
        if not self._low < self._high:
            return 0.0
        return 1.0 - math.expm1(value - self._high) / math.expm1(self._low - self._high)


def shares(values: Sequence[float]) -> list[float]:
    """Share 1 out in proportion to exp(value); equally where no value is finite."""
    high = max(values)
    weights = [math.exp(value - high) if high > -math.inf else 1.0 for value in values]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def _back_up(leaf: Node) -> None:
    node: Node | None = leaf
    while node is not None:
        node.num_visits += 1
        high = max(node.log_total, leaf.value)
        if high > -math.inf:
            node.log_total = high + math.log(math.exp(node.log_total - high) + math.exp(leaf.value - high))
        node = node.parent
