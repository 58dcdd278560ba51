"""Flow search: traces are written where flow is, given up where it falls, until the answer is decided."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from arts_lite.search.actions import OVER, Action, Drop, Fork, Open, Prune, Run, Stop
from arts_lite.search.ballot import Decision, by_posterior
from arts_lite.search.draws import uniform
from arts_lite.search.flow_tree import FlowTree, Place
from arts_lite.search.record import Branch, SearchTree
from arts_lite.search.stopping import answer_posterior, require_flows, wave_size
from arts_lite.search.strategy import StrategySettings
from arts_lite.types import StopReason

DEFAULT_CONFIDENCE = 0.95
FRESH_EVERY = 2  # walks, one of which ends at the root whatever the flows say: they may be wrong


class FlowSearch:
    """Searches with a verifier's flows, on a budget of the tokens of n traces.

    A place is a prefix that ends at a step's end; its *yield* is its flow (as P(correct), corrected by what was drawn
    from it so far) by the share of a trace that is still to be written from there. A trace goes on step by step until
    it is complete, or its yield falls below `prune_below` times that of a place above it. Then the next one begins
    where a walk from the root ends: at each place it stays, to draw a next step there, or goes down to a child, in
    proportion to yield ** (1 / flow_temperature); 0: the best. So a fork comes before the step at which flow was lost.
    Every second walk ends at the root, as the flows may be wrong. What is drawn again and again at a place counts for
    less. While what runs is likely to hold a right trace, no other is begun beside it, unless `concurrency` asks for
    more.
    The search ends when one answer's posterior (`answer_posterior`) reaches `confidence`, or the budget is spent.

    Decisions are made when all running branches have stopped, and depend on the tree alone: in what order events come
    does not matter. A verifier reads every step once, so it reads about as many tokens as are generated.
    """

    def __init__(self, settings: StrategySettings) -> None:
        self._settings = settings
        self._confidence = settings.stops_at(DEFAULT_CONFIDENCE)
        self._awaited: set[int] = set()  # running branches
        self._stopped: list[Branch] = []  # those that have stopped since the last decision
        self._idle: dict[Place, Branch] = {}  # paused branches, by where they were left
        self._whys: dict[int, str] = {}  # by branch that was left: why
        self._num_draws = self._num_walks = 0

    def start(self, tree: SearchTree) -> Iterator[Action]:
        """Open the first traces. Raises VerifierError: there are no flows."""
        self._flows = require_flows(self._settings.flows, "flow search")
        self._places = FlowTree(self._flows, self._settings.log_prob_weight)
        for _ in range(wave_size(0, self._settings.concurrency)):
            yield from self._begin(tree, self._places.root)

    def react(self, tree: SearchTree, branch: Branch) -> Iterator[Action]:
        """Take note; once nothing runs any more, decide what goes on, what is left and what is begun."""
        if branch.index not in self._awaited:
            return
        self._awaited.discard(branch.index)
        self._places.update(branch, tree.num_prompt_tokens)
        self._stopped.append(branch)
        if not self._awaited:
            stopped = sorted(self._stopped, key=lambda one: one.index)
            self._stopped.clear()
            yield from self._decide(tree, stopped)

    def decide(self, tree: SearchTree) -> Decision:
        """Take the answer that is most likely right."""
        flows = require_flows(self._settings.flows, "flow search")
        return by_posterior(tree, answer_posterior(tree, flows, self._settings.log_prob_weight))

    def _decide(self, tree: SearchTree, stopped: Sequence[Branch]) -> Iterator[Action]:
        chance = self._surest(tree) if any(branch.has_ended for branch in stopped) else 0.0
        if self._confidence is not None and chance >= self._confidence:
            yield from self._stop(StopReason.DECIDED, f"an answer is the right one with a chance of {chance:.3g}")
            return
        going = [branch for branch in stopped if branch.is_alive and self._goes_on(tree, branch)]
        left = [branch for branch in stopped if branch not in going]
        for branch in left:
            if branch.is_alive:
                self._leave(branch)
        begun = self._next_places(tree, going)
        if self._is_spent(tree) or not (going or begun):
            yield from self._stop(StopReason.COMPLETE, OVER)
            return
        sources = [tree.branches[min(place.holders)] for place in begun if place.holders]
        for place in begun:
            yield from self._begin(tree, place)
        for branch in going:
            self._awaited.add(branch.index)
            yield Run(branch.index, pause_on_step=True)
        for branch in (*left, *sources):
            yield from self._clear(branch)

    def _surest(self, tree: SearchTree) -> float:
        return max(answer_posterior(tree, self._flows, self._settings.log_prob_weight).values(), default=0.0)

    def _stop(self, reason: StopReason, why: str) -> Iterator[Action]:
        for index, fall in sorted(self._whys.items()):
            yield Prune(index, fall)
        yield Stop(reason, why)

    def _leave(self, branch: Branch) -> None:
        place = self._places.place(branch)
        before = self._places.best_above(place).value
        self._idle[place] = branch
        self._whys[branch.index] = f"its flow fell: P(correct) {place.value:.2g}, above it {before:.2g}"

    def _goes_on(self, tree: SearchTree, branch: Branch) -> bool:
        place = self._places.place(branch)
        best = self._places.yields(self._places.best_above(place))
        return self._must_end(tree) or self._places.yields(place) >= self._settings.prune_below * best

    def _must_end(self, tree: SearchTree) -> bool:
        """Whether no trace may be left any more, since there is no complete one yet and the budget asks for one."""
        if self._places.trace_tokens is not None:
            return False
        budget = tree.budget
        is_tight = budget.tokens is not None and budget.tokens - tree.num_tokens < 2 * tree.max_tokens
        return is_tight or budget.nodes is not None or self._tokens_left(tree) < tree.num_tokens

    def _tokens_left(self, tree: SearchTree) -> float:
        """Of the budgets, of n traces as long as the complete ones (before: as the longest) and of tokens."""
        longest = max(branch.length for branch in tree.branches) - tree.num_prompt_tokens
        bound = self._settings.n * (self._places.trace_tokens or longest)
        return (bound if tree.budget.tokens is None else min(bound, tree.budget.tokens)) - tree.num_tokens

    def _is_spent(self, tree: SearchTree) -> bool:
        return self._places.trace_tokens is not None and self._tokens_left(tree) <= 0

    def _next_places(self, tree: SearchTree, going: Sequence[Branch]) -> list[Place]:
        """Walk for places to begin at, as many as may run beside those that go on and as the budget has room for."""
        num_ended = sum(branch.has_ended for branch in tree.branches)
        num_free = wave_size(num_ended, self._settings.concurrency) - len(going)
        trace_tokens = self._places.trace_tokens
        if trace_tokens is None:  # what a trace costs is not known yet: one is to be ended first
            return [self._walk(tree, 1.0) for _ in range(num_free if not going else 0)]
        room = self._tokens_left(tree) / trace_tokens
        room -= sum(self._places.remaining(self._places.place(branch)) for branch in going)
        found: list[Place] = []
        chance_of_none = math.prod(1 - self._places.chance(self._places.place(branch)) for branch in going)
        while len(found) < num_free:
            place = self._walk(tree, room)
            is_speculative = chance_of_none < 0.5 and self._settings.concurrency is None
            if self._places.remaining(place) > room or is_speculative:
                break
            found.append(place)
            room -= self._places.remaining(place)
            chance_of_none *= 1 - self._places.chance(place)
        return found

    def _walk(self, tree: SearchTree, room: float) -> Place:
        """Go down from the root to the place at which the next step is to be drawn."""
        place = self._places.root
        self._num_walks += 1
        if self._num_walks % FRESH_EVERY == 0 and room >= 1:
            return place
        while True:
            below = place.below()
            is_affordable = self._places.remaining(place) <= room
            options = [place, *below] if is_affordable or not below else below
            chosen = self._choose(tree, place, options)
            if chosen is place:
                return place
            place = chosen

    def _choose(self, tree: SearchTree, here: Place, options: Sequence[Place]) -> Place:
        promises = [self._places.promises(one, is_drawn_from=one is here) for one in options]
        top = max(promises)
        best = options[promises.index(top)]
        temperature = self._settings.flow_temperature
        if len(options) == 1 or temperature == 0:
            return best
        weights = [(promise / top) ** (1 / temperature) for promise in promises]
        level = uniform(tree.seed, self._num_draws) * sum(weights)
        self._num_draws += 1
        for one, weight in zip(options, weights, strict=True):
            level -= weight
            if level < 0:
                return one
        return best

    def _begin(self, tree: SearchTree, place: Place) -> Iterator[Action]:
        """Draw a next step at a place: in a branch that was left there, in a fork, or in a new main trace."""
        branch = self._idle.pop(place, None)
        if branch is not None:
            del self._whys[branch.index]
            self._awaited.add(branch.index)
            yield Run(branch.index, pause_on_step=True)
            return
        holder = None if place is self._places.root else min(place.holders)
        if holder is None:
            yield Open(pause_on_step=True)
        else:
            yield Fork(holder, place.holders[holder], pause_on_step=True)
        new = tree.branches[-1]
        self._awaited.add(new.index)
        self._places.update(new, tree.num_prompt_tokens)

    def _clear(self, branch: Branch) -> Iterator[Action]:
        """Let go of a branch that has ended or was left, unless only it leads to a place where flow is."""
        if branch.index in self._awaited or not any(branch.index in place.holders for place in self._path(branch)):
            return
        for place in self._path(branch):
            if len(place.holders) > 1:
                break
            best = self._places.yields(self._places.best_above(place))
            if not place.is_leaf and self._places.yields(place) >= self._settings.prune_below * best:
                return
        self._places.let_go(branch)
        if branch.has_ended:
            yield Drop(branch.index)
        else:
            self._idle = {where: one for where, one in self._idle.items() if one is not branch}
            yield Prune(branch.index, self._whys.pop(branch.index))

    def _path(self, branch: Branch) -> list[Place]:
        return [place for place in self._places.place(branch).path() if place is not self._places.root]
