"""Prompts and traces for training a small proposer on the generated tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random

from arts_lite.tasks.arithmetic import STYLE_RATES, ArithmeticDifficulty, arithmetic_trace, drawn_arithmetic
from arts_lite.tasks.countdown import CountdownDifficulty, missed_countdown, solved_countdown
from arts_lite.tasks.problem import Problem, check_split

END = "\n"
"""Follows a trace's last line, so that every step ends in the same way."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One text to learn.

    Attributes:
        problem: what was asked.
        prompt: the problem in its plain form, one line.
        trace: lines, each of them a step; `END` follows the last one.
        kind: "solved", "missed" or a style's name.
    """

    problem: Problem
    prompt: str
    trace: str
    kind: str


def plain_prompt(problem: Problem) -> str:
    """Write a generated problem in the form that the tiny models read: `24: 3 5 7 8` or `17*(23-5)+412`, one line."""
    if "target" in problem.metadata:
        return f"{problem.metadata['target']}: {' '.join(map(str, problem.metadata['numbers']))}\n"
    return f"{problem.metadata['expression']}\n"


def countdown_samples(
    seed: int, difficulty: CountdownDifficulty | None = None, *, split: str = "train", missed: float = 0.5
) -> Iterator[Sample]:
    """Draw solved and legal-but-missing traces without end; `missed` is the share of the latter.

    Trained on solved ones alone, a model learns to force "=target" onto wrong sums.
    """
    check_split(split)
    if not 0 <= missed <= 1:
        raise ValueError(f"missed is {missed}, but must be in [0, 1]: it is a share")
    difficulty = difficulty or CountdownDifficulty()
    rng = Random(f"countdown traces {split} {seed}")
    while True:
        problem, trace = solved_countdown(rng, difficulty)
        if problem.metadata["split"] != split:
            continue
        kind = "solved"
        if rng.random() < missed:
            kind, trace = "missed", missed_countdown(rng, problem, difficulty.max_value)
        yield Sample(problem, plain_prompt(problem), trace, kind)


def arithmetic_samples(
    seed: int,
    difficulty: ArithmeticDifficulty | None = None,
    *,
    split: str = "train",
    rates: Mapping[str, float] = STYLE_RATES,
) -> Iterator[Sample]:
    """Draw correct traces without end, in styles at these rates."""
    check_split(split)
    difficulty = difficulty or ArithmeticDifficulty()
    rng = Random(f"arithmetic traces {split} {seed}")
    while True:
        problem = drawn_arithmetic(rng, difficulty)
        if problem.metadata["split"] == split:
            [style] = rng.choices(list(rates), list(rates.values()))
            yield Sample(problem, plain_prompt(problem), arithmetic_trace(problem, style), style)
