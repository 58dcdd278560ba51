"""What the flows say of the places of a tree: how good it is to draw a next step there."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from arts_lite.search.record import Branch
from arts_lite.search.stopping import FlowRange

_LEAST_YIELD = 1e-4  # below it all places are alike
_PRIOR_DRAWS = 1.5
"""Draws that a reading counts for where a whole trace is left; with the square of the share that is left, fewer.

Measured with the embedded pair as P(right | another draw from the same place was wrong) / P(right) = k / (k + 1), by
readings from 0.05 to 0.6: Countdown k = 0.6 to 1.4 with 2 of 3 steps left, 0.1 with one; arithmetic 0.7 to 1.3 with 5
of 6 left, 0.4 to 0.5 with 3, 0.1 to 0.2 with one.
"""
_LEAST_PRIOR_SHARE = 0.1
_TOLERANCE = 0.25  # share by which the traces' known length may be off before values are reckoned anew
_LEAST_SHARE = 0.25  # of a trace that may be left at a place as deep as traces are long, or deeper


@dataclass(slots=True, eq=False)
class Place:
    """A distinct prefix that ends at a step's end: a node of the tree, however many branches drew it.

    Attributes:
        parent: None for the root.
        num_tokens: generated up to here.
        log_prob, expected_log_prob: of these tokens under the model, and what it was to be expected (`Step`).
        reading: the verifier's P(correct); of the root, which it does not read, the mean of what was drawn from it.
        is_leaf: a complete trace; nothing can be drawn from it.
        depth: steps above it; 0 for the root.
        times_drawn: how often it was drawn from its parent.
        holders: positions at which living or kept branches can be forked, by branch.
        num_prior: how many draws the reading counts for. The less of a trace is left, the more is settled by the prefix
            itself: where one draw failed, the next will, too, however good the reading was.
        num_draws, sum_values: steps drawn from here, and their values' sum.
    """

    parent: Place | None = None
    num_tokens: int = 0
    reading: float = 0.5
    is_leaf: bool = False
    log_prob: float = 0.0
    expected_log_prob: float = 0.0
    depth: int = 0
    times_drawn: int = 0
    holders: dict[int, int] = field(default_factory=dict)
    children: dict[tuple[str, bool], Place] = field(default_factory=dict)
    num_prior: float = 1.0
    num_draws: int = 0
    sum_values: float = 0.0
    sum_readings: float = 0.0

    @property
    def value(self) -> float:
        """P(correct) of a trace drawn from here: the reading, corrected by what came of the steps drawn.

        Steps are draws from the proposer, so a prefix's expected flow is its children's plain mean. The reading counts
        as `num_prior` earlier draws.
        """
        if self.is_leaf or not self.num_draws:
            return self.reading
        return (self.num_prior * self.reading + self.sum_values) / (self.num_prior + self.num_draws)

    @property
    def novelty(self) -> float:
        """How likely the next step drawn from here is one that was not drawn before, in (0, 1] (Good and Turing)."""
        num_once = sum(child.times_drawn == 1 for child in self.children.values())
        return (0.5 + num_once) / (0.5 + self.num_draws)

    def below(self) -> list[Place]:
        """Children from which steps can be drawn."""
        return [child for child in self.children.values() if child.holders and not child.is_leaf]

    def path(self) -> Iterator[Place]:
        """This place and all above it, the root last."""
        place: Place | None = self
        while place is not None:
            yield place
            place = place.parent


class FlowTree:
    """The places that a search's branches have come to, kept up to date branch by branch."""

    def __init__(self, flows: FlowRange, log_prob_weight: float = 0.0) -> None:
        self.root = Place()
        self._flows = flows
        self._log_prob_weight = log_prob_weight
        self._expected: dict[int, tuple[int, float]] = {}  # by depth: how many places were drawn, their sum
        self._at: dict[int, tuple[Place, int]] = {}  # by branch: where it is, and how many of its steps are known
        self._num_leaf_tokens = self._num_leaves = 0
        self._drawn: list[Place] = []  # in order of being drawn first
        self._known_tokens = 0.0  # mean length of traces that `num_prior` goes by

    @property
    def trace_tokens(self) -> float | None:
        """Mean length of the complete traces; None before there is one."""
        return self._num_leaf_tokens / self._num_leaves if self._num_leaves else None

    def place(self, branch: Branch) -> Place:
        """Where a branch is."""
        return self._at[branch.index][0]

    def update(self, branch: Branch, num_prompt_tokens: int) -> None:
        """Take note of a branch's new steps, and of its end."""
        place, num_known = self._at.get(branch.index) or self._origin(branch)
        for number, step in enumerate(branch.steps[num_known:], num_known):
            is_leaf = branch.has_ended and number == len(branch.steps) - 1
            chance = self._leaf_chance(branch) if is_leaf else self._flows.probability(branch.step_scores[number])
            log_probs = step.log_prob, step.expected_log_prob
            place = self._draw(place, (step.text, is_leaf), chance, step.end - num_prompt_tokens, log_probs)
            place.holders[branch.index] = step.end
        if branch.has_ended:
            if not place.is_leaf:  # nothing visible came after the last boundary
                place = self._close(place, self._leaf_chance(branch), branch.length - num_prompt_tokens)
            self._num_leaves += 1
            self._num_leaf_tokens += branch.length - num_prompt_tokens
            if abs(self._num_leaf_tokens / self._num_leaves - self._known_tokens) > _TOLERANCE * self._known_tokens:
                self._weigh_again()
        self._at[branch.index] = place, len(branch.steps)

    def let_go(self, branch: Branch) -> None:
        """Forget that a branch can be forked."""
        for place in self.place(branch).path():
            place.holders.pop(branch.index, None)

    def remaining(self, place: Place) -> float:
        """Tokens that a trace from here on is likely to need, as a share of a whole one, in [0.25, 1]."""
        return max(self._share_left(place), _LEAST_SHARE)

    def chance(self, place: Place) -> float:
        """P(correct) of a trace from here on: the place's value, and how likely the model found what led to it.

        The log-prob is taken against what it is in expectation at this depth, as further log-odds. What was drawn there
        tells that best by its tokens' expectations: their mean is that of the log-probs, with much less noise, and
        known from the first draw on.
        """
        num, total = self._expected.get(place.depth, (0, 0.0))
        if not num or not self._log_prob_weight:
            return place.value
        value = min(max(place.value, 1e-6), 1 - 1e-6)
        excess = place.log_prob - total / num
        if math.isnan(excess):  # a bias has drawn what the model gives no chance at all
            return place.value
        log_odds = math.log(value / (1 - value)) + self._log_prob_weight * excess
        return 1 / (1 + math.exp(-min(max(log_odds, -30.0), 30.0)))

    def yields(self, place: Place) -> float:
        """How much a trace from here on promises for its cost: P(correct) by the share of a trace that it takes."""
        return max(self.chance(place) / self.remaining(place), _LEAST_YIELD)

    def promises(self, place: Place, *, is_drawn_from: bool) -> float:
        """What a place yields if a step is drawn from it, or if the walk goes down to it."""
        if not is_drawn_from and place.below():
            return self.yields(place)
        return max(self.chance(place) * place.novelty / self.remaining(place), _LEAST_YIELD)

    def best_above(self, place: Place) -> Place:
        """The place above this one that yields most."""
        return max(place.path(), key=lambda one: -1.0 if one is place else self.yields(one))

    def _num_prior(self, place: Place) -> float:
        return _PRIOR_DRAWS * max(self._share_left(place), _LEAST_PRIOR_SHARE) ** 2

    def _share_left(self, place: Place) -> float:
        return 1.0 if self.trace_tokens is None else max(1 - place.num_tokens / self.trace_tokens, 0.0)

    def _weigh_again(self) -> None:
        """Let values follow from what is known by now of how long traces are."""
        self._known_tokens = self._num_leaf_tokens / self._num_leaves
        for place in reversed(self._drawn):  # children come after their parents
            place.num_prior = self._num_prior(place)
            place.sum_values = math.fsum(child.times_drawn * child.value for child in place.children.values())
        self.root.sum_values = math.fsum(child.times_drawn * child.value for child in self.root.children.values())

    def _origin(self, branch: Branch) -> tuple[Place, int]:
        place, num_known = self.root, 0
        while num_known < len(branch.steps) and branch.steps[num_known].end <= branch.start:
            place = place.children[branch.steps[num_known].text, False]
            place.holders[branch.index] = branch.steps[num_known].end
            num_known += 1
        return place, num_known

    def _leaf_chance(self, branch: Branch) -> float:
        """A trace without an answer cannot be right."""
        if branch.answer is None or branch.score is None:
            return 0.0
        return self._flows.probability(branch.score)

    def _close(self, place: Place, chance: float, num_tokens: int) -> Place:
        """Make a leaf of a place: what is drawn from a complete trace is its end, again and again."""
        if place is self.root:  # a trace without any visible text
            return self._draw(place, ("", True), chance, num_tokens, (0.0, 0.0))
        before = place.value
        place.is_leaf, place.reading = True, chance
        _tell_above(place, before)
        return place

    def _draw(
        self, parent: Place, key: tuple[str, bool], chance: float, num_tokens: int, log_probs: tuple[float, float]
    ) -> Place:
        child = parent.children.get(key)
        if child is None:
            child = Place(parent, num_tokens, chance, key[1], depth=parent.depth + 1)
            child.log_prob = parent.log_prob + log_probs[0]
            child.expected_log_prob = parent.expected_log_prob + log_probs[1]
            parent.children[key] = child
            child.num_prior = self._num_prior(child)
            self._drawn.append(child)
        child.times_drawn += 1
        num, total = self._expected.get(child.depth, (0, 0.0))
        self._expected[child.depth] = num + 1, total + child.expected_log_prob
        before = parent.value
        parent.num_draws += 1
        parent.sum_values += child.value
        parent.sum_readings += chance
        if parent is self.root:
            parent.reading = parent.sum_readings / parent.num_draws
        _tell_above(parent, before)
        return child


def _tell_above(place: Place, before: float) -> None:
    """Let the places above know that a value has changed."""
    while place.parent is not None:
        above = place.parent.value
        place.parent.sum_values += place.times_drawn * (place.value - before)
        place, before = place.parent, above
