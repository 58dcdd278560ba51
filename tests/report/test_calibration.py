from __future__ import annotations

import math

import numpy as np
import pytest

from arts_lite.report.calibration import calibration_of, prob_correct


def test_flows_are_turned_back_into_probabilities() -> None:
    wanted = np.array([0.0, 0.25, 1.0])
    np.testing.assert_allclose(prob_correct(np.log(0.1 + 9.9 * wanted), 10.0, 0.1), wanted, atol=1e-12)
    assert prob_correct([-800.0, 800.0], 10.0, 0.1).tolist() == [0.0, 1.0]


def test_the_error_is_the_mean_gap_of_the_bins() -> None:
    told = calibration_of([0.05, 0.05, 0.85, 0.95, 1.0], [0, 1, 1, 1, 0])
    assert [one.num for one in told.bins] == [2, 1, 2]
    assert told.ece == pytest.approx((2 * 0.45 + 0.15 + 2 * 0.475) / 5)
    assert told.brier == pytest.approx((0.0025 + 0.9025 + 0.0225 + 0.0025 + 1) / 5)


def test_nothing_is_nan_and_no_probability_is_refused() -> None:
    assert math.isnan(calibration_of([], []).ece)
    with pytest.raises(ValueError, match="must be in"):
        calibration_of([1.5], [1])
