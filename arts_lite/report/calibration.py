"""Whether probabilities that a verifier gives are those that are observed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class Bin:
    """Traces whose probability lies in [low, high): how many, their mean probability, and the share that is correct."""

    low: float
    high: float
    num: int
    predicted: float
    observed: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Expected calibration error (Guo et al. 2017), Brier score, and the bins that hold anything."""

    ece: float
    brier: float
    bins: tuple[Bin, ...]


def prob_correct(log_flows: ArrayLike, reward_correct: float, reward_wrong: float) -> NDArray[np.float64]:
    """Turn log-flows of traces into P(correct): flow = wrong + (correct - wrong) * P, cut off to [0, 1]."""
    flows = np.exp(np.minimum(np.asarray(log_flows, np.float64), 2 * abs(math.log(reward_correct)) + 50))
    return np.clip((flows - reward_wrong) / (reward_correct - reward_wrong), 0.0, 1.0)


def calibration_of(prob: ArrayLike, correct: ArrayLike, num_bins: int = 10) -> Calibration:
    """Compare probabilities with verdicts over bins of equal width; nan without any.

    Args:
        prob: float[n], in [0, 1].
        correct: of each trace, [n], 0 or 1.

    Raises:
        ValueError: a probability is outside [0, 1].
    """
    p, verdicts = np.asarray(prob, np.float64), np.asarray(correct, np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"probabilities range from {p.min()} to {p.max()}, but must be in [0, 1]")
    if not len(p):
        return Calibration(math.nan, math.nan, ())
    place = np.minimum((p * num_bins).astype(np.int64), num_bins - 1)
    bins = []
    for number in np.unique(place):
        own = place == number
        low, high = number / num_bins, (number + 1) / num_bins
        bins.append(Bin(low, high, int(own.sum()), float(p[own].mean()), float(verdicts[own].mean())))
    ece = math.fsum(one.num * abs(one.predicted - one.observed) for one in bins) / len(p)
    return Calibration(ece, float(((p - verdicts) ** 2).mean()), tuple(bins))
