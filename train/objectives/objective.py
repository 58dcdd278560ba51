"""The objectives by name, and what a model's values mean under each."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from arts_lite.tasks import Rewards
from arts_lite.train.batches import TreeBatch
from arts_lite.train.dataset import TreeDataset
from arts_lite.train.objectives.detailed_balance import detailed_balance_loss
from arts_lite.train.objectives.flow import flow_loss
from arts_lite.train.objectives.options import (
    DetailedBalanceOptions,
    FlowOptions,
    LeafOptions,
    PRMOptions,
    SubTBOptions,
)
from arts_lite.train.objectives.orm import orm_loss, rm_loss
from arts_lite.train.objectives.prm import prm_loss
from arts_lite.train.objectives.subtb import subtb_loss

_MIN_SHARE = 1e-3  # a head that starts at a logit further out learns slowly


class Link(str, Enum):
    """What the head's output is."""

    LOG_FLOW = "log_flow"  #: log F
    LOGIT = "logit"  #: logit of P(correct), with F = R_wrong + (R_correct - R_wrong) P(correct)
    SCORE = "score"  #: higher is better within one problem, nothing more


@dataclass(frozen=True, slots=True)
class Objective:
    """One objective with its settings; made by `make_objective`.

    Attributes:
        name: one of `OBJECTIVES`.
        options: its settings.
    """

    name: str
    options: Any

    @property
    def link(self) -> Link:
        """What a value is."""
        if isinstance(self.options, FlowOptions):
            return Link.LOGIT if self.options.deviance == "bce" else Link.LOG_FLOW
        return _KINDS[self.name].link

    @property
    def needs_average(self) -> bool:
        """Whether `loss` must be given the values of an averaged copy of the model."""
        return getattr(self.options, "target", None) == "ema"

    def loss(
        self, values: Tensor, batch: TreeBatch, target_values: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss of a batch and its parts, which sum to it and are detached.

        Args:
            values: float[num_nodes], the head's output at each node; computed with in float32 at least.
            target_values: the same by an averaged copy of the model, if `needs_average`.

        Raises:
            ValueError: values of a wrong shape, or `target_values` missing or not asked for.
            TrainingError: a value is not finite.
        """
        if target_values is not None and not self.needs_average:
            raise ValueError(f"target_values are given, but {self.name} with these options has no use for them")
        loss, parts = _KINDS[self.name].loss(values, batch, self.options, target_values)
        return loss, parts

    def log_flow(self, values: ArrayLike, rewards: Rewards) -> NDArray[np.float64]:
        """Turn values into log-flows; scores stay as they are."""
        array = np.asarray(values, np.float64)
        if self.link is not Link.LOGIT:
            return array
        log_prob = -np.logaddexp(0.0, -array)
        return np.logaddexp(math.log(rewards.wrong), log_prob + math.log(rewards.correct - rewards.wrong))

    def prob_correct(self, values: ArrayLike, rewards: Rewards) -> NDArray[np.float64]:
        """Turn values into P(correct) = (F - R_wrong) / (R_correct - R_wrong), clamped to [0, 1].

        Scores give sigmoid(score), and flows of the estimator "sum" count leaves: neither is calibrated.
        """
        array = np.asarray(values, np.float64)
        if self.link is not Link.LOG_FLOW:
            return np.exp(-np.logaddexp(0.0, -array))
        flow = np.exp(np.minimum(array, math.log(rewards.correct)))
        return np.clip((flow - rewards.wrong) / (rewards.correct - rewards.wrong), 0.0, 1.0)

    def initial_bias(self, data: TreeDataset) -> float:
        """Say where the head's bias should begin: at the value that all training nodes have together.

        With estimator "sum" that includes the mean number of leaves below a node; a score begins at 0.
        """
        if self.link is Link.SCORE:
            return 0.0
        share, rewards = data.share_correct, data.rewards
        if self.link is Link.LOGIT:
            share = min(max(share, _MIN_SHARE), 1 - _MIN_SHARE)
            return math.log(share / (1 - share))
        flow = rewards.wrong + (rewards.correct - rewards.wrong) * share
        is_sum = isinstance(self.options, FlowOptions) and self.options.estimator == "sum"
        return math.log(flow) + (math.log(data.leaves_per_node) if is_sum else 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Plain data: make_objective(**it) makes the same objective again."""
        return {"name": self.name, "options": dataclasses.asdict(self.options)}


def make_objective(name: str, options: Mapping[str, Any] | None = None) -> Objective:
    """Make an objective of its name and options.

    Raises:
        ValueError: no such objective or option, or a value outside its range.
    """
    if name not in _KINDS:
        raise ValueError(f"objective is {name!r}, but must be one of {', '.join(OBJECTIVES)}")
    kind = _KINDS[name].options
    known = [field.name for field in dataclasses.fields(kind)]
    unknown = [option for option in options or {} if option not in known]
    if unknown:
        raise ValueError(f"{name} has no option {', '.join(unknown)}; it has {', '.join(known)}")
    return Objective(name, kind(**(options or {})))


_Loss = Callable[[Tensor, TreeBatch, Any, "Tensor | None"], "tuple[Tensor, dict[str, Tensor]]"]


@dataclass(frozen=True, slots=True)
class _Kind:
    options: type[Any]
    loss: _Loss
    link: Link


def _without_targets(
    loss: Callable[[Tensor, TreeBatch, Any], tuple[Tensor, dict[str, Tensor]]],
) -> _Loss:
    return lambda values, batch, options, _target_values: loss(values, batch, options)


_KINDS: Mapping[str, _Kind] = {
    "flow": _Kind(FlowOptions, flow_loss, Link.LOG_FLOW),
    "detailed-balance": _Kind(DetailedBalanceOptions, detailed_balance_loss, Link.LOG_FLOW),
    "subtb": _Kind(SubTBOptions, subtb_loss, Link.LOG_FLOW),
    "prm": _Kind(PRMOptions, _without_targets(prm_loss), Link.LOGIT),
    "orm": _Kind(LeafOptions, _without_targets(orm_loss), Link.LOGIT),
    "rm": _Kind(LeafOptions, _without_targets(rm_loss), Link.SCORE),
}
OBJECTIVES = tuple(_KINDS)
"""Names of the objectives."""
