"""Scorers and verifiers that know the value of every prefix."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from fakes.models import uniform_hash
from fakes.proposer import FakeInfo
from numpy.typing import NDArray

from arts_lite.search import Branch


class ValueOf:
    """Implements `arts_lite.search.StepScorer`: the log of a function of a prefix's text; remembers what it scored."""

    def __init__(self, value: Callable[[str], float]) -> None:
        self._value = value
        self.prefixes: set[str] = set()

    def score(self, branches: Sequence[Branch]) -> list[float]:
        return [self.log("".join(step.text for step in branch.steps)) for branch in branches]

    def score_steps(self, branches: Sequence[Branch]) -> list[list[float]]:
        texts = [[step.text for step in branch.steps] for branch in branches]
        return [[self.log("".join(steps[: end + 1])) for end in range(len(steps))] for steps in texts]

    def log(self, prefix: str) -> float:
        self.prefixes.add(prefix)
        value = self._value(prefix)
        return value if math.isnan(value) else math.log(value) if value > 0 else -math.inf


def chance_of(right: str, letters: dict[str, float]) -> ValueOf:
    """The chance that a trace of `fakes.models.lettered` comes to this answer."""

    def value(prefix: str) -> float:
        steps = [step for step in prefix.partition("=")[0].split("\n\n") if step]
        if "".join(steps) != right[: len(steps)]:
            return 0.0
        return math.prod(letters[letter] for letter in right[len(steps) :])

    return ValueOf(value)


def arbitrary(prefix: str) -> float:
    """A value in (0, 10] that has nothing to do with the text, but is a function of it."""
    return 10 * (uniform_hash(prefix) + 1e-9)


class KnowingTree:
    """Implements `arts_lite.solver.protocols.JudgedTree` by a known value."""

    def __init__(self, value: ValueOf) -> None:
        self._value = value
        self.num_open = 1

    def log_flows(self, traces: Sequence[Sequence[str]]) -> list[NDArray[np.float64]]:
        return [np.array([self._value.log("".join(steps[: end + 1])) for end in range(len(steps))]) for steps in traces]

    def close(self) -> None:
        self.num_open = 0


class KnowingVerifier:
    """Implements `arts_lite.solver.protocols.Verifier`."""

    rewards = (0.1, 10.0)
    log_prob_weight = 0.0

    def __init__(self, value: ValueOf, aggregation: str = "last") -> None:
        self.aggregation = aggregation
        self.info = FakeInfo()
        self.value = value
        self.trees: list[KnowingTree] = []

    def tree(self, question: str, delimiters: Sequence[str] = ()) -> KnowingTree:
        self.trees.append(KnowingTree(self.value))
        return self.trees[-1]

    def close(self) -> None:
        assert not any(tree.num_open for tree in self.trees)
