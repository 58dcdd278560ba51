"""Sums and means over the parts of a flat tensor. A segment without a member gives 0 and no gradient, never NaN."""

from __future__ import annotations

import torch
from torch import Tensor


def segment_sum(values: Tensor, segments: Tensor, num_segments: int) -> Tensor:
    """Sum values by segment: float[n], int64[n] -> float[num_segments]."""
    return values.new_zeros(num_segments).index_add(0, segments, values)


def segment_mean(values: Tensor, weights: Tensor, segments: Tensor, num_segments: int) -> Tensor:
    """Average values by segment with weights >= 0: float[num_segments]."""
    totals = segment_sum(weights, segments, num_segments)
    return segment_sum(values * weights, segments, num_segments) / torch.where(totals > 0, totals, 1.0)


def segment_logsumexp(values: Tensor, segments: Tensor, num_segments: int) -> Tensor:
    """Log of the sum of exp(values) by segment, stable for finite values of any size: float[num_segments]."""
    largest = values.new_zeros(num_segments)
    largest = largest.scatter_reduce(0, segments, values.detach(), "amax", include_self=False)
    sums = segment_sum(torch.exp(values - largest[segments]), segments, num_segments)
    return torch.where(sums > 0, torch.log(torch.where(sums > 0, sums, 1.0)) + largest, 0.0)


def problem_mean(terms: Tensor, weights: Tensor, problem: Tensor, num_problems: int, *, per_problem: bool) -> Tensor:
    """Average terms within each problem, then over all problems of the batch, or all at once.

    A problem without a term counts as 0 in the mean over problems: else the weight of a term would depend on which
    problems happen to share its batch.
    """
    if per_problem:
        return segment_mean(terms, weights, problem, num_problems).sum() / num_problems
    return (terms * weights).sum() / weights.sum().clamp_min(torch.finfo(weights.dtype).tiny)
