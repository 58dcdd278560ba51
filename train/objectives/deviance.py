"""Distances between a target flow Y and a predicted flow F, both given as logs, y = log Y and l = log F.

Each is >= 0 and 0 at F = Y. Fitted to many Y by one F, squared-log learns their geometric mean, gamma and Poisson their
arithmetic mean: with R in {10, 0.1} and half of the leaves correct, 1.0 against 5.05.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor


def squared_log(log_target: Tensor, log_flow: Tensor) -> Tensor:
    """(y - l)^2: flow matching in log space, as Bengio et al. 2021 (arXiv 2106.04399) propose it."""
    return (log_target - log_flow) ** 2


def gamma(log_target: Tensor, log_flow: Tensor) -> Tensor:
    """Y / F - log(Y / F) - 1: half of the gamma distribution's unit deviance (McCullagh and Nelder 1989, chapter 2)."""
    gap = log_target - log_flow
    return torch.expm1(gap) - gap


def poisson(log_target: Tensor, log_flow: Tensor) -> Tensor:
    """Y log(Y / F) - Y + F: half of the Poisson distribution's unit deviance; its slope in l is F - Y."""
    return torch.exp(log_target) * (log_target - log_flow) - torch.exp(log_target) + torch.exp(log_flow)


DEVIANCES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "squared-log": squared_log,
    "gamma": gamma,
    "poisson": poisson,
}
"""By name; the fourth, "bce", works on logits of P(correct) instead."""


def held(values: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    """Clamp values, but let gradients pass: a value that left its range is drawn back instead of being forgotten."""
    clamped = torch.maximum(torch.minimum(values, torch.as_tensor(high).to(values)), torch.as_tensor(low).to(values))
    return torch.where(clamped == values, values, clamped.detach() + (values - values.detach()))
