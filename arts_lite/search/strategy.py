"""The shape of a strategy, its settings, and the names under which strategies are known."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from arts_lite.search.actions import Action, Open
from arts_lite.search.ballot import Decision
from arts_lite.search.record import Branch, SearchTree
from arts_lite.search.scorers import AGGREGATIONS
from arts_lite.search.stopping import PAPER_FLOWS, FlowRange, wave_size


class Strategy(Protocol):
    """Decides what one search does next. One object per question; it may keep a state of its own.

    It sees the tree (every branch with its steps, step scores and answers, the counts of tokens and nodes, the budget)
    and answers with actions. The search ends when the strategy says `Stop`, when no branch runs any more (COMPLETE), or
    when the budget is spent.
    """

    def start(self, tree: SearchTree) -> Iterable[Action]:
        """Say what to do first; the tree holds the prompt only."""
        ...

    def react(self, tree: SearchTree, branch: Branch) -> Iterable[Action]:
        """Say what to do now that a branch has ended, or is paused at a step's end (`pause_on_step`).

        Where several branches had events at once, the tree already shows all of them.
        """
        ...

    def decide(self, tree: SearchTree) -> Decision:
        """Name the answer; called once, at the end, whatever ended the search."""
        ...


@dataclass(frozen=True, slots=True)
class StrategySettings:
    """What the strategies can be told.

    Attributes:
        n: main traces, >= 1; beams (`beam`, `dvts`: in all subtrees together), simulations (`mcts`).
        fork_prob: chance of a fork at an intermediate step boundary, in [0, 1] (`sdf`).
        max_fork_depth: how many forks may lie above a leaf, >= 0; 1: forks do not fork (`sdf`).
        by_score: choose by the scorer instead of by vote (`sdf`).
        early_stop: stop once the vote is decided (`vote`), or where `confidence` says so.
        confidence: stop when an answer is right with this probability, in [0, 1); 0: never; None: what suits the
            strategy (`flow`: 0.95; `best-of-n`, `vote`, `weighted-vote`: never).
        concurrency: traces that run side by side, >= 1; None: all, or with a `confidence` waves that grow (the same).
        prune_below: a trace is left when its flow, for what it still costs, falls below this share of what a place
            above promises, in [0, 1]; 0: never (`flow`).
        flow_temperature: how freely the next place is drawn, >= 0; 1: in proportion to flow, 0: the best (`flow`).
        beam_width: next steps drawn of each prefix that is expanded, >= 1 (`beam`, `dvts`, `mcts`).
        c_puct: weight of exploration, finite and >= 0 (`mcts`).
        aggregation: how a prefix's step scores make one score: "last", "min", "mean" or "product".
        log_prob_weight: what a nat of a trace's log-prob adds to its score, finite and >= 0, wherever scores choose a
            trace, or an answer, or guide or end a search (but `mcts`, whose values they are not part of).
        flows: what the scores mean, if they are log-flows; None: they are not, and neither `flow` nor a `confidence`
            in a scored answer is possible.

    Raises:
        ValueError: a value is outside its range.
    """

    n: int = 16
    fork_prob: float = 0.5
    max_fork_depth: int = 1
    by_score: bool = False
    early_stop: bool = True
    beam_width: int = 4
    c_puct: float = 1.25
    aggregation: str = "last"
    confidence: float | None = None
    concurrency: int | None = None
    prune_below: float = 0.5
    flow_temperature: float = 0.3
    log_prob_weight: float = 0.0
    flows: FlowRange | None = PAPER_FLOWS

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n is {self.n}, but must be >= 1: a search needs a trace")
        if not 0 <= self.fork_prob <= 1:
            raise ValueError(f"fork_prob is {self.fork_prob}, but must be in [0, 1]: it is a probability")
        if self.max_fork_depth < 0:
            raise ValueError(f"max_fork_depth is {self.max_fork_depth}, but must be >= 0 (0: no forks)")
        if self.confidence is not None and not 0 <= self.confidence < 1:
            raise ValueError(f"confidence is {self.confidence}, but must be in [0, 1) (0: never stop early)")
        if self.concurrency is not None and self.concurrency < 1:
            raise ValueError(f"concurrency is {self.concurrency}, but must be >= 1, or None")
        if not 0 <= self.prune_below <= 1:
            raise ValueError(f"prune_below is {self.prune_below}, but must be in [0, 1]: it is a share of a flow")
        if not 0 <= self.flow_temperature < math.inf:
            raise ValueError(f"flow_temperature is {self.flow_temperature}, but must be >= 0 and finite")
        if not 0 <= self.log_prob_weight < math.inf:
            raise ValueError(f"log_prob_weight is {self.log_prob_weight}, but must be >= 0 and finite (0: flows alone)")
        if self.beam_width < 1:
            raise ValueError(f"beam_width is {self.beam_width}, but must be >= 1: a prefix needs a next step")
        if not 0 <= self.c_puct < math.inf:
            raise ValueError(f"c_puct is {self.c_puct}, but must be a finite number >= 0 (0: no exploration)")
        if self.aggregation not in AGGREGATIONS:
            raise ValueError(f"aggregation is {self.aggregation!r}, but must be one of {', '.join(AGGREGATIONS)}")

    def stops_at(self, default: float | None = None) -> float | None:
        """The probability of a right answer at which to stop; None: not before the budget is spent."""
        confidence = default if self.confidence is None else self.confidence
        return confidence if self.early_stop and confidence else None


def next_traces(tree: SearchTree, settings: StrategySettings) -> list[Open]:
    """Open main traces that run to their ends: all that the budget is likely to carry, or the next wave.

    With a confidence to stop at, a wave begins when the one before has ended: what to do next is then a function of
    whole traces, and nothing is thrown away when they decide.
    """
    found = openings(tree, settings.n)
    num_alive = sum(branch.is_alive for branch in tree.branches)
    if settings.stops_at() is not None:
        return [] if num_alive else found[: wave_size(len(tree.branches), settings.concurrency)]
    return found if settings.concurrency is None else found[: max(settings.concurrency - num_alive, 0)]


def openings(tree: SearchTree, n: int, *, pause_on_step: bool = False) -> list[Open]:
    """Open as many of the n main traces as the budget is likely to carry to their ends.

    Side by side, n traces that spend a small budget all stay unfinished and give no answer. So a trace is opened only
    if it and those that live can become as long as the longest that has ended (before that: as long as is allowed)
    within the budget; one is always open. Without a bound on tokens or nodes all are opened at once.
    """
    num_alive = sum(branch.is_alive for branch in tree.branches)
    num_left = n - tree.num_main_traces
    if tree.budget.tokens is None and tree.budget.nodes is None:
        return [Open(pause_on_step)] * num_left
    ended = [branch for branch in tree.branches if not branch.is_alive]
    mains = [branch for branch in ended if branch.parent is None]
    room = n
    if tree.budget.tokens is not None:
        longest = max((branch.num_own_tokens for branch in mains), default=tree.max_tokens)
        room = min(room, (tree.budget.tokens - sum(branch.num_own_tokens for branch in ended)) // max(longest, 1))
    if tree.budget.nodes is not None:
        longest = max((branch.num_own_steps for branch in mains), default=tree.budget.nodes)
        room = min(room, (tree.budget.nodes - 1 - sum(branch.num_own_steps for branch in ended)) // max(longest, 1))
    return [Open(pause_on_step)] * min(num_left, max(room - num_alive, 0 if num_alive else 1))
