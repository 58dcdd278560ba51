"""Figures over problems and seeds, from the folders of several evaluations."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arts_lite.experiments.folder import DatasetError
from arts_lite.experiments.lines import read_lines

NUM_RESAMPLES = 4000
_TAIL = 2.5
Values = Mapping[str, float]
"""By problem's id."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean over problems and seeds with its 95 % interval (bootstrap); nan where there is nothing."""

    value: float
    low: float
    high: float
    num_problems: int = 0
    num_seeds: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON; None for nan."""
        return {name: None if value != value else value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Evaluation:
    """What `arts-lite eval` left in a folder.

    Attributes:
        results: its results.json.
        values: by method's label, by k: accuracy by problem's id.
    """

    results: Mapping[str, Any]
    values: Mapping[str, Mapping[int, Values]]

    @classmethod
    def load(cls, folder: Path) -> Evaluation:
        """Read a folder. Raises DatasetError, LinesError: it holds no finished evaluation, or is damaged."""
        path = folder / "results.json"
        try:
            results = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DatasetError(f"{path} cannot be read ({error}); run the evaluation to its end") from error
        values: dict[str, dict[int, dict[str, float]]] = {}
        for line in read_lines(folder / "problems.jsonl"):
            for label, by_k in line["values"].items():
                for k, accuracy in by_k.items():
                    values.setdefault(label, {}).setdefault(int(k), {})[str(line["id"])] = float(accuracy)
        return cls(results, values)

    def at(self, label: str, k: int) -> Values:
        """Accuracies of a method at k; empty where it was not measured."""
        return self.values.get(label, {}).get(k, {})

    @property
    def top_k(self) -> int:
        """The largest k of the pool."""
        return max((int(k) for k in self.results["k"]), default=1)


def mean(columns: Sequence[Values], *, num_resamples: int = NUM_RESAMPLES) -> Figure:
    """Average over problems and seeds; the interval draws both anew.

    Args:
        columns: one per seed; a problem may be missing in some.
    """
    ids = sorted({name for column in columns for name in column})
    table = np.array([[column.get(name, np.nan) for column in columns] for name in ids], np.float64)
    if not table.size or np.isnan(table).all():
        return Figure(float("nan"), float("nan"), float("nan"), 0, len(columns))
    is_there = ~np.isnan(table)
    moved = _resampled(np.where(is_there, table, 0.0), is_there.astype(np.float64), num_resamples)
    low, high = np.nanpercentile(moved, [_TAIL, 100 - _TAIL])
    return Figure(float(np.nanmean(np.where(is_there, table, np.nan))), float(low), float(high), len(ids), len(columns))


def difference(first: Sequence[Values], second: Sequence[Values], *, num_resamples: int = NUM_RESAMPLES) -> Figure:
    """Average what the first has more than the second, paired by seed and problem; one column serves all seeds."""
    num = max(len(first), len(second))
    pairs = zip(_repeated(first, num), _repeated(second, num), strict=True)
    columns = [{name: a[name] - b[name] for name in a.keys() & b.keys()} for a, b in pairs]
    return mean(columns, num_resamples=num_resamples)


def recovered(
    columns: Sequence[Values],
    floor: Sequence[Values],
    ceiling: Sequence[Values],
    *,
    num_resamples: int = NUM_RESAMPLES,
) -> Figure:
    """Tell which share of the gap between two methods a third one closes, over problems and seeds.

    Args:
        columns, floor, ceiling: one column per seed; a single one serves all seeds.

    Returns:
        mean(columns - floor) / mean(ceiling - floor); nan where there is no gap.
    """
    num = max(len(columns), len(floor), len(ceiling))
    triples = list(zip(*(_repeated(one, num) for one in (columns, floor, ceiling)), strict=True))
    ids = sorted({name for a, low, high in triples for name in a.keys() & low.keys() & high.keys()})
    table = np.array([[[one.get(name, np.nan) for one in triple] for triple in triples] for name in ids], np.float64)
    if not table.size:
        return Figure(float("nan"), float("nan"), float("nan"), 0, num)
    is_there = np.isfinite(table[..., 0]) & np.isfinite(table[..., 1]) & np.isfinite(table[..., 2])
    gained: NDArray[np.float64] = np.where(is_there, table[..., 0] - table[..., 1], 0.0)
    gap: NDArray[np.float64] = np.where(is_there, table[..., 2] - table[..., 1], 0.0)
    counts: NDArray[np.float64] = is_there.astype(np.float64)
    whole = float(gap.sum())
    if whole <= 0:
        return Figure(float("nan"), float("nan"), float("nan"), len(ids), num)
    ratios = _resampled(gained, counts, num_resamples) / _resampled(gap, counts, num_resamples)
    low, high = np.nanpercentile(ratios[np.isfinite(ratios)], [_TAIL, 100 - _TAIL])
    return Figure(float(gained.sum()) / whole, float(low), float(high), len(ids), num)


def whole_range(figures: Sequence[Figure]) -> Figure:
    """Join figures of seeds: their mean, and an interval that holds all of theirs."""
    known = [one for one in figures if one.value == one.value]
    if not known:
        return Figure(float("nan"), float("nan"), float("nan"), 0, len(figures))
    value = sum(one.value for one in known) / len(known)
    low, high = min(one.low for one in known), max(one.high for one in known)
    return Figure(value, low, high, max(one.num_problems for one in known), len(known))


def _repeated(columns: Sequence[Values], num: int) -> Sequence[Values]:
    return list(columns) * num if len(columns) == 1 else columns


def _resampled(values: NDArray[np.float64], counts: NDArray[np.float64], num_resamples: int) -> NDArray[np.float64]:
    """Means of resamples: problems and seeds drawn anew, each problem's and seed's weight the times it was drawn."""
    rows, columns = _draws(*values.shape, num_resamples)
    weights = ((rows @ counts) * columns).sum(1)
    sums = ((rows @ values) * columns).sum(1)
    means: NDArray[np.float64] = np.divide(sums, weights, out=np.full(num_resamples, np.nan), where=weights > 0)
    return means


@lru_cache(maxsize=8)
def _draws(num_problems: int, num_seeds: int, num: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How often each problem and each seed is drawn, in each resample; the same for all figures of a size."""
    rng = np.random.default_rng(0)
    rows = rng.multinomial(num_problems, np.full(num_problems, 1 / num_problems), size=num).astype(np.float64)
    columns = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=num).astype(np.float64)
    return rows, columns
