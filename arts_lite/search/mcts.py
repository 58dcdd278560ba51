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
        branch: ends here as long as the node has no children; None: the root.
        value: what it is worth by its score.
        prior: its share of its siblings' values, in [0, 1].
        num_visits: simulations that came through.
        log_total: log of the sum of exp(value) of the traces that they came to.
    """

    branch: Branch | None
    parent: Node | None = None
    value: float = -math.inf
    prior: float = 1.0
    num_visits: int = 0
    log_total: float = -math.inf
    children: list[Node] = field(default_factory=list)

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

    A simulation selects children by PUCT. Where there are none it expands: beam_width next steps are drawn, by forks,
    and scored; a child's prior is exp(score) as a share of its siblings'. So it goes on until it comes to a whole
    trace, whose score is backed up. Q is the mean of exp(score) over a node's simulations, before the first one the
    node's own, normalised to [0, 1] by the lowest and highest score in the tree (MuZero, arXiv 1911.08265). Siblings
    that drew the same step are one child. Steps that were not selected are parked. Leaves vote with the weight
    exp(score). Needs step scores.

    Attributes:
        root: of the tree of nodes.
    """

    def __init__(self, settings: StrategySettings) -> None:
        self.root = Node(None)
        self._n = settings.n
        self._width = settings.beam_width
        self._c_puct = settings.c_puct
        self._aggregate = AGGREGATIONS[settings.aggregation]
        self._round = Round()
        self._expanded = self.root
        self._low, self._high = math.inf, -math.inf

    def start(self, tree: SearchTree) -> Iterator[Action]:
        """Expand the root."""
        yield from self._round.open(tree, self._width)

    def react(self, tree: SearchTree, branch: Branch) -> Iterator[Action]:
        """Wait until all children are drawn; then go on with the simulation, and with further ones."""
        if branch.has_ended:
            yield Drop(branch.index)
        if not self._round.ends_with(branch):
            return
        yield from self._take_children(tree)
        leaf = self._next_leaf()
        if leaf is None or leaf.branch is None:
            return
        for other in self._round.members(tree):
            if other.state is BranchState.PAUSED and other is not leaf.branch:
                yield Park(other.index)
        self._expanded = leaf
        self._round = Round()
        yield from self._round.expand(tree, leaf.branch, self._width)

    def decide(self, tree: SearchTree) -> Decision:
        """Take the answer that weighs most."""
        return by_weight(tree)

    def _take_children(self, tree: SearchTree) -> Iterator[Action]:
        drawn = self._round.members(tree)
        branches = distinct(drawn)
        for branch in drawn:
            if branch.is_alive and all(branch is not other for other in branches):
                yield Prune(branch.index, "its step was drawn before")
        values = [worth(branch, self._aggregate) for branch in branches]
        self._low, self._high = min(self._low, *values), max(self._high, *values)
        parent = self._expanded
        parent.children = [
            Node(branch, parent, value, prior)
            for branch, value, prior in zip(branches, values, shares(values), strict=True)
        ]

    def _next_leaf(self) -> Node | None:
        """Go down to a node that has to be expanded, backing up all whole traces on the way; None: it is over."""
        node = self._expanded
        while self.root.num_visits < self._n:
            while node.children:
                node = self._select(node)
            if node.branch is not None and node.branch.is_alive:
                return node
            _back_up(node)
            node = self.root
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
