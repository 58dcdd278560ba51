"""Verifiers without a model: values that are functions of a trace's text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from fakes.proposer import FakeInfo
from numpy.typing import NDArray

Value = Callable[[str], float]


def by_answer(right: str, high: float = 2.0, low: float = -2.0) -> Value:
    """High for texts that end in this answer, a bit less the longer they are, low for others."""
    return lambda text: (high if text.endswith(f"={right}") else low) - 0.001 * len(text)


class CountingTree:
    """Judges prefixes by their text; counts the letters that it has not read before."""

    def __init__(self, question: str, value: Value) -> None:
        self._value = value
        self._known: set[str] = set()
        self.num_tokens = len(question)
        self.is_open = True

    def log_flows(self, traces: Sequence[Sequence[str]]) -> list[NDArray[np.float64]]:
        assert self.is_open
        found = []
        for steps in traces:
            prefixes = ["".join(steps[:end]) for end in range(1, len(steps) + 1)]
            self.num_tokens += sum(
                len(step) for step, prefix in zip(steps, prefixes, strict=True) if prefix not in self._known
            )
            self._known.update(prefixes)
            found.append(np.array([self._value(prefix) for prefix in prefixes]))
        return found

    def close(self) -> None:
        self.is_open = False


class FakeVerifier:
    """Implements `arts_lite.solver.protocols.Verifier`.

    Args:
        value: of a prefix, by its text.
    """

    def __init__(
        self, value: Value, aggregation: str = "last", rewards: tuple[float, float] | None = (0.1, 10)
    ) -> None:
        self._value = value
        self.aggregation = aggregation
        self.rewards = rewards
        self.log_prob_weight = 0.0
        self.info = FakeInfo()
        self.trees: list[CountingTree] = []

    def tree(self, question: str, delimiters: Sequence[str] = ()) -> CountingTree:
        self.trees.append(CountingTree(question, self._value))
        return self.trees[-1]

    def close(self) -> None:
        assert not any(tree.is_open for tree in self.trees)
