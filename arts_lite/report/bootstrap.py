"""Intervals by the paired bootstrap over problems (Efron 1979; percentiles)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
NUM_RESAMPLES = 10_000
LEVEL = 0.95
_CELLS_AT_ONCE = 1 << 22


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its interval; nan where no problem counts."""

    value: float
    low: float
    high: float


class Bootstrap:
    """Means over problems of several methods, and how they move when the problems are drawn anew.

    All methods see the same resamples, so that their differences are paired by problem.

    Args:
        values: float[num_problems, num_methods]; nan: the method has no value for the problem, which then does not
            count for it (nor for its differences, where the problem counts for the other method only).
        weights: float[num_problems, num_methods], >= 0: a mean is the sum of weights * values by that of the weights.
        num_resamples, level, seed: of the intervals.
    """

    def __init__(
        self,
        values: ArrayLike,
        weights: ArrayLike | None = None,
        *,
        num_resamples: int = NUM_RESAMPLES,
        level: float = LEVEL,
        seed: int = 0,
    ) -> None:
        own = np.asarray(values, np.float64)
        if own.ndim != 2:
            raise ValueError(f"values have the shape {own.shape}, but must be [num_problems, num_methods]")
        counts = np.ones_like(own) if weights is None else np.asarray(weights, np.float64)
        self._weights = np.where(np.isnan(own), 0.0, counts)
        self._values = np.where(np.isnan(own), 0.0, own) * self._weights
        self._num_resamples = num_resamples
        self._level = level
        self._seed = seed
        self.means: Floats = _ratio(self._values.sum(0), self._weights.sum(0))

    @cached_property
    def resampled(self) -> Floats:
        """Means of the resamples, float64[num_resamples, num_methods]."""
        num_problems, num_methods = self._values.shape
        found = np.full((self._num_resamples, num_methods), np.nan)
        if not num_problems:
            return found
        rng = np.random.default_rng(self._seed)
        chances = np.full(num_problems, 1.0 / num_problems)
        step = max(1, _CELLS_AT_ONCE // num_problems)
        is_plain = bool((self._weights == 1).all())
        for start in range(0, self._num_resamples, step):
            size = min(step, self._num_resamples - start)
            times = rng.multinomial(num_problems, chances, size=size).astype(np.float64)
            below = np.full((size, num_methods), float(num_problems)) if is_plain else times @ self._weights
            found[start : start + size] = _ratio(times @ self._values, below)
        return found

    def mean(self, method: int) -> Estimate:
        """Mean of a method."""
        return self._estimate(float(self.means[method]), self.resampled[:, method])

    def difference(self, method: int, reference: int) -> Estimate:
        """Mean of a method minus that of another one."""
        moved = self.resampled[:, method] - self.resampled[:, reference]
        return self._estimate(float(self.means[method] - self.means[reference]), moved)

    def _estimate(self, value: float, moved: Floats) -> Estimate:
        told = moved[~np.isnan(moved)]
        if not len(told):
            return Estimate(value, float("nan"), float("nan"))
        tail = 50 * (1 - self._level)
        low, high = np.percentile(told, [tail, 100 - tail])
        return Estimate(value, float(low), float(high))


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)
