"""What a scorer's values mean: calibration of the last ones, and means by depth."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from arts_lite.experiments.pool import PoolProblem
from arts_lite.experiments.scoring import Scores
from arts_lite.report.calibration import calibration_of, prob_correct


def calibration_of_scores(scores: Scores, pool: Sequence[PoolProblem]) -> dict[str, Any] | None:
    """Compare the last steps' values, read as log-flows, with the verdicts; None where they are only an order."""
    rewards = scores.settings.get("rewards")
    if scores.settings.get("output") == "score" or not isinstance(rewards, dict):
        return None
    values, verdicts = [], []
    for problem in pool:
        if (reading := scores.readings.get(problem.id)) is None:
            continue
        for own, is_correct in zip(reading.values, problem.correct, strict=True):
            if own and not math.isnan(own[-1]):
                values.append(own[-1])
                verdicts.append(is_correct)
    told = calibration_of(prob_correct(values, rewards["correct"], rewards["wrong"]), verdicts)
    return dataclasses.asdict(told)


def score_by_depth(scores: Scores, pool: Sequence[PoolProblem]) -> list[dict[str, Any]]:
    """Mean value after so many steps, of traces that come out right and of those that come out wrong."""
    found: dict[tuple[int, bool], list[float]] = {}
    for problem in pool:
        if (reading := scores.readings.get(problem.id)) is None:
            continue
        for own, is_correct in zip(reading.values, problem.correct, strict=True):
            for depth, value in enumerate(own, 1):
                if not math.isnan(value):
                    found.setdefault((depth, bool(is_correct)), []).append(value)
    rows = []
    for depth in sorted({depth for depth, _ in found}):
        right, wrong = found.get((depth, True), []), found.get((depth, False), [])
        means = {"mean_correct": _mean(right), "mean_wrong": _mean(wrong)}
        rows.append({"depth": depth, **means, "num_correct": len(right), "num_wrong": len(wrong)})
    return rows


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan
