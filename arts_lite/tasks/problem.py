"""One problem, where it belongs, and what its answer is worth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

SPLITS: Mapping[str, float] = {"train": 0.9, "dev": 0.05, "test": 0.05}
"""Shares of generated problems."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A question with its true answer.

    Attributes:
        id: names it within its dataset; two problems of one dataset differ in it.
        question: as a person would ask; a task's prompt template may add to it.
        answer: the true one.
        metadata: JSON-ready data of the task's own (numbers and target, level, subject, ...).
    """

    id: str
    question: str
    answer: str
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {"id": self.id, "question": self.question, "answer": self.answer, "metadata": dict(self.metadata)}


@dataclass(frozen=True, slots=True)
class Rewards:
    """Terminal rewards of a leaf, both > 0: their logarithms are learnt (10 and 0.1 in arXiv 2602.12846).

    Raises:
        ValueError: a reward is not finite and > 0, or `correct` does not exceed `wrong`.
    """

    correct: float = 10.0
    wrong: float = 0.1

    def __post_init__(self) -> None:
        for name in ("correct", "wrong"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"reward of a {name} answer is {value}, but must be finite and > 0")
        if self.correct <= self.wrong:
            raise ValueError(f"reward {self.correct} of a correct answer must exceed that of a wrong one, {self.wrong}")

    def of(self, is_correct: bool) -> float:
        """Reward of a leaf with this verdict."""
        return self.correct if is_correct else self.wrong

    def to_dict(self) -> dict[str, float]:
        """Plain data, for trace files."""
        return {"correct": self.correct, "wrong": self.wrong}


def split_of(key: str) -> str:
    """Name the split that a problem belongs to: a function of its content alone, so that splits never overlap."""
    level = int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big") / 2**64
    for name, share in SPLITS.items():
        if level < share:
            return name
        level -= share
    return "test"


def check_split(split: str) -> str:
    """Return a split's name. Raises ValueError: there is none of this name."""
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}, but must be one of {', '.join(SPLITS)}")
    return split
