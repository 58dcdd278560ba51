"""What samples, scores and verdicts come to: estimators with intervals, tables, plots. Knows no engine, no model."""

from __future__ import annotations

from arts_lite.report.bootstrap import Bootstrap, Estimate
from arts_lite.report.calibration import Calibration, calibration_of
from arts_lite.report.estimators import best_of_k, ordered_pairs, pass_at_k
from arts_lite.report.votes import Ballots, vote_at_k

__all__ = [
    "Ballots",
    "Bootstrap",
    "Calibration",
    "Estimate",
    "best_of_k",
    "calibration_of",
    "ordered_pairs",
    "pass_at_k",
    "vote_at_k",
]
