from __future__ import annotations

import numpy as np
import pytest
import torch

from arts_lite.train.objectives.deviance import DEVIANCES, held
from arts_lite.train.objectives.segments import problem_mean, segment_logsumexp, segment_mean, segment_sum

SEGMENTS = torch.tensor([2, 0, 2, 2, 0, 4])
VALUES = torch.tensor([1.0, -3.0, 0.5, 2.0, 4.0, -1.0], dtype=torch.float64)


def test_sums_means_and_logsumexps_are_those_of_each_segment() -> None:
    weights = torch.tensor([1.0, 2.0, 0.0, 3.0, 1.0, 5.0], dtype=torch.float64)
    for number in (0, 2, 4):
        own = number == SEGMENTS
        assert segment_sum(VALUES, SEGMENTS, 5)[number] == VALUES[own].sum()
        mean = np.average(VALUES[own].numpy(), weights=weights[own].numpy())
        assert float(segment_mean(VALUES, weights, SEGMENTS, 5)[number]) == pytest.approx(mean)
        logsumexp = float(torch.logsumexp(VALUES[own], 0))
        assert float(segment_logsumexp(VALUES, SEGMENTS, 5)[number]) == pytest.approx(logsumexp)


def test_empty_segments_give_zero_and_no_gradient() -> None:
    values = VALUES.clone().requires_grad_()
    for found in (
        segment_sum(values, SEGMENTS, 5),
        segment_mean(values, torch.ones_like(values), SEGMENTS, 5),
        segment_logsumexp(values, SEGMENTS, 5),
    ):
        assert found[[1, 3]].tolist() == [0, 0]
        [gradient] = torch.autograd.grad(found[[1, 3]].sum(), values)
        assert gradient.abs().sum() == 0


@pytest.mark.parametrize("shift", [-1e4, 0.0, 1e4])
def test_logsumexp_stands_values_of_any_size(shift: float) -> None:
    values = (VALUES + shift).requires_grad_()
    found = segment_logsumexp(values, SEGMENTS, 5)
    assert float(found[0].detach()) == pytest.approx(float(torch.logsumexp(VALUES[[1, 4]], 0)) + shift)
    [gradient] = torch.autograd.grad(found.sum(), values)
    assert gradient[[1, 4]].numpy() == pytest.approx(torch.softmax(VALUES[[1, 4]], 0).numpy())


def test_a_problem_without_terms_counts_as_zero() -> None:
    terms, weights = torch.tensor([2.0, 4.0, 9.0]), torch.tensor([1.0, 3.0, 1.0])
    problem = torch.tensor([0, 0, 2])
    assert float(problem_mean(terms, weights, problem, 3, per_problem=True)) == pytest.approx((3.5 + 0 + 9) / 3)
    assert float(problem_mean(terms, weights, problem, 3, per_problem=False)) == pytest.approx(23 / 5)
    for per_problem in (True, False):
        assert float(problem_mean(terms[:0], weights[:0], problem[:0], 3, per_problem=per_problem)) == 0


@pytest.mark.parametrize("name", DEVIANCES)
def test_a_deviance_is_zero_where_flows_agree_and_positive_elsewhere(name: str) -> None:
    flows = torch.linspace(-4, 4, 17, dtype=torch.float64)
    found = DEVIANCES[name](flows[:, None], flows[None, :])
    assert bool((found.diagonal().abs() < 1e-12).all())
    assert bool((found + torch.eye(17) > 1e-3).all())


def test_a_held_value_is_clamped_and_keeps_its_gradient() -> None:
    values = torch.tensor([-1e30, -1.0, 0.5, 1e30], requires_grad=True)
    found = held(values, -2.0, torch.tensor([1.0, 1.0, 1.0, 3.0]))
    assert found.tolist() == [-2.0, -1.0, 0.5, 3.0]
    [gradient] = torch.autograd.grad((found * torch.tensor([1.0, 2.0, 3.0, 4.0])).sum(), values)
    assert gradient.tolist() == [1.0, 2.0, 3.0, 4.0]
