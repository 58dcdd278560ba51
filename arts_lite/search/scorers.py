"""Scorers: what a trace is worth, higher is better."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from arts_lite.search.record import Branch


class Scorer(Protocol):
    """Scores branches that have ended or were cut off, each with at least one token of its own or inherited."""

    def score(self, branches: Sequence[Branch]) -> list[float]:
        """Score whole traces, in one batch; higher is better. The values of one search can be compared."""
        ...


@runtime_checkable
class StepScorer(Scorer, Protocol):
    """Scores prefixes too: a strategy then finds `Branch.step_scores` filled in whenever it is asked."""

    def score_steps(self, branches: Sequence[Branch]) -> list[list[float]]:
        """Score every step of the branches, in one batch: one log per item of `Branch.steps`, of a flow or a chance."""
        ...


class LogProb:
    """Mean log-probability of the trace's tokens under the model (not under the sampling distribution)."""

    def score(self, branches: Sequence[Branch]) -> list[float]:
        """Score in (-inf, 0]; does not depend on the length as such."""
        return [float(np.mean(branch.log_probs, dtype=np.float64)) for branch in branches]


class LogProbSum:
    """Log-probability of the whole trace under the model: prefers short traces."""

    def score(self, branches: Sequence[Branch]) -> list[float]:
        """Score in (-inf, 0]."""
        return [float(np.sum(branch.log_probs, dtype=np.float64)) for branch in branches]


class Length:
    """Minus the number of generated tokens: shorter is better."""

    def score(self, branches: Sequence[Branch]) -> list[float]:
        """Score <= -1."""
        return [-float(len(branch.log_probs)) for branch in branches]


def _log_mean(scores: Sequence[float]) -> float:
    high = max(scores)
    if math.isinf(high):
        return high
    return high + math.log(math.fsum(math.exp(score - high) for score in scores) / len(scores))


AGGREGATIONS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "last": lambda scores: scores[-1],
    "min": min,
    "mean": _log_mean,
    "product": math.fsum,
}
"""Ways to make one score of step scores, which are logs; "mean" and "product" are of what they are logs of."""

SCORERS: Mapping[str, Callable[[], Scorer]] = {"logprob": LogProb, "logprob-sum": LogProbSum, "length": Length}


def make_scorer(name: str) -> Scorer:
    """Make the scorer of this name. Raises ValueError: there is none."""
    if name not in SCORERS:
        raise ValueError(f"scorer is {name!r}, but must be one of {', '.join(SCORERS)}")
    return SCORERS[name]()


def score_together(items: Sequence[tuple[Scorer, Branch]]) -> None:
    """Fill in the scores of branches, those of one scorer in one batch.

    Step scores of all of them where the scorer gives any; the score of those that no longer live and hold a token.
    """
    batches: dict[int, tuple[Scorer, list[Branch]]] = {}
    for scorer, branch in items:
        batches.setdefault(id(scorer), (scorer, []))[1].append(branch)
    for scorer, branches in batches.values():
        if isinstance(scorer, StepScorer):
            for branch, step_scores in zip(branches, scorer.score_steps(branches), strict=True):
                branch.step_scores = step_scores
        whole = [branch for branch in branches if not branch.is_alive and len(branch.log_probs)]
        for branch, score in zip(whole, scorer.score(whole) if whole else [], strict=True):
            branch.score = score
