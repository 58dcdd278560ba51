"""What k of n samples are worth, in expectation over which k; and how well values order prefixes. Numpy only."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def pass_at_k(num_correct: int, num_samples: int, k: int) -> float:
    """Chance that k of n samples hold a correct one: 1 - C(n-c, k) / C(n, k) (Chen et al., arXiv 2107.03374).

    Raises:
        ValueError: k is not in [1, n], or c not in [0, n].
    """
    _check_k(k, num_samples)
    if not 0 <= num_correct <= num_samples:
        raise ValueError(f"num_correct is {num_correct}, but must be in [0, {num_samples}], the number of samples")
    return 1.0 - math.comb(num_samples - num_correct, k) / math.comb(num_samples, k)


def best_of_k(scores: ArrayLike, correct: ArrayLike, k: int) -> float:
    """Chance that the best scored of k samples is correct, over all subsets of size k; ties are broken evenly.

    With the n scores sorted and a group of g equal ones ending at place e (from 1), the best of a random subset lies in
    that group with probability (C(e, k) - C(e - g, k)) / C(n, k).

    Args:
        scores: float[n], higher is better; -inf is the worst.
        correct: of each sample, [n], 0 to 1.
        k: 1 to n.

    Raises:
        ValueError: k is outside its range, or a score is nan.
    """
    values, verdicts = _scores(scores), np.asarray(correct, np.float64)
    _check_k(k, len(values))
    if (verdicts == verdicts[0]).all():
        return float(verdicts[0])
    order = values.argsort()
    ordered = values[order]
    ends = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]) + 1, len(values))
    begins = np.append(0, ends[:-1])
    within = _chances_within(len(values), k)
    chance = within[ends] - within[begins]
    share = np.add.reduceat(verdicts[order], begins) / (ends - begins)
    return float(chance @ share)


def ordered_pairs(values: ArrayLike, labels: ArrayLike) -> tuple[float, float]:
    """Weigh the pairs of prefixes of one problem that values order as their labels do, ties counting half.

    A pair weighs the difference of its labels, so that pairs whose labels are hardly apart hardly count. The AUC over
    problems is the sum of the first numbers by the sum of the second ones.

    Args:
        values: float[n], higher is better.
        labels: float[n], e.g. the share of rollouts that are right.

    Returns:
        weight of the pairs in order, weight of all pairs.
    """
    x, y = _scores(values), np.asarray(labels, np.float64)
    better, worse = np.nonzero(y[:, None] > y[None, :])
    weights = y[better] - y[worse]
    in_order = (x[better] > x[worse]) + 0.5 * (x[better] == x[worse])
    return float(weights @ in_order), float(weights.sum())


@lru_cache(maxsize=64)
def _chances_within(num_samples: int, k: int) -> Floats:
    """Chance that all of a random subset lie among the first e, for e from 0 to n: C(e, k) / C(n, k)."""
    of_all = math.comb(num_samples, k)
    return np.array([math.comb(end, k) / of_all for end in range(num_samples + 1)])


def _check_k(k: int, num_samples: int) -> None:
    if not 1 <= k <= num_samples:
        raise ValueError(f"k is {k}, but must be in [1, {num_samples}], the number of samples")


def _scores(scores: ArrayLike) -> Floats:
    values = np.asarray(scores, np.float64)
    if np.isnan(values).any():
        raise ValueError(f"{int(np.isnan(values).sum())} of {values.size} scores are nan; a score must be a number")
    return values
