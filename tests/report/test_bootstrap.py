from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from arts_lite.report.bootstrap import Bootstrap


def test_the_resamples_are_those_of_drawing_problems_with_replacement() -> None:
    values = np.array([[0.0, 1.0], [1.0, 1.0], [4.0, 0.0]])
    moved = Bootstrap(values, num_resamples=40_000).resampled
    every = np.array([values[list(drawn)].mean(0) for drawn in product(range(3), repeat=3)])
    np.testing.assert_allclose(moved.mean(0), every.mean(0), atol=0.02)
    np.testing.assert_allclose(np.cov(moved.T), np.cov(every.T, bias=True), atol=0.03)
    assert {round(float(mean), 6) for mean in moved[:, 0]} == {round(float(mean), 6) for mean in every[:, 0]}


def test_an_interval_covers_the_true_mean_in_about_95_of_100_cases() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(300):
        own = Bootstrap(rng.binomial(1, 0.3, (80, 1)), num_resamples=800, seed=seed).mean(0)
        hits += own.low <= 0.3 <= own.high
    assert 270 <= hits <= 297


def test_differences_are_paired_by_problem() -> None:
    hard = np.random.default_rng(0).random(200)
    boot = Bootstrap(np.stack([hard, hard + 0.01], 1))
    told = boot.difference(1, 0)
    assert told.value == pytest.approx(0.01)
    assert (told.low, told.high) == (pytest.approx(0.01), pytest.approx(0.01))
    assert boot.mean(0).high - boot.mean(0).low > 0.05


def test_problems_without_a_value_do_not_count_and_weights_do() -> None:
    boot = Bootstrap([[1.0, np.nan], [0.0, 0.5], [0.0, np.nan]], [[1, 1], [3, 1], [0, 1]])
    assert boot.means.tolist() == [0.25, 0.5]
    assert boot.mean(1).low == boot.mean(1).high == 0.5


def test_without_problems_everything_is_nan() -> None:
    told = Bootstrap(np.zeros((0, 1))).mean(0)
    assert np.isnan([told.value, told.low, told.high]).all()


def test_values_of_one_dimension_are_refused() -> None:
    with pytest.raises(ValueError, match="num_problems, num_methods"):
        Bootstrap([1.0, 2.0])
