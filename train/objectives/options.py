"""Settings of the objectives, checked when they are made."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FlowOptions:
    """See `flow_loss`. The paper's own setting is estimator="sum", deviance="squared-log".

    Attributes:
        estimator: "expected": a node's flow is the mean over its children's draws, "sum": the sum over them.
        deviance: "squared-log", "gamma", "poisson" or "bce" (the latter only with "expected").
        mc_share: lambda in [0, 1]: share of the Monte-Carlo target in the target; 0 is bootstrapped alone.
        target: where children's values come from: "stop-gradient", "both" (they learn too) or "ema" (values of an
            averaged copy of the model, given with each call).
        leaf_weight: alpha >= 0, of the mean over leaves; None: leaves and inner nodes share one mean.
        sibling_weight: beta >= 0, of the ranking of siblings.
        ranking_weight: gamma >= 0, of the ranking of all leaves of a problem, as `rm_loss` has it.
        leaf_power: a node weighs (number of leaves below) ** leaf_power in its mean, in [0, 1].
        per_problem: average within each problem first; else long traces and large trees weigh more.
        root: whether the question itself is a node with a value.

    Raises:
        ValueError: a value is outside its range, or two do not go together.
    """

    estimator: str = "expected"
    deviance: str = "bce"
    mc_share: float = 0.0
    target: str = "stop-gradient"
    leaf_weight: float | None = 1.0
    sibling_weight: float = 0.0
    ranking_weight: float = 0.0
    leaf_power: float = 0.0
    per_problem: bool = True
    root: bool = True

    def __post_init__(self) -> None:
        _one_of("estimator", self.estimator, ESTIMATORS)
        _one_of("deviance", self.deviance, ("squared-log", "gamma", "poisson", "bce"))
        _one_of("target", self.target, TARGETS)
        _within("mc_share", self.mc_share, 1)
        _within("leaf_power", self.leaf_power, 1)
        _within("sibling_weight", self.sibling_weight)
        _within("ranking_weight", self.ranking_weight)
        _leaf_weight(self.leaf_weight)
        if self.deviance == "bce" and self.estimator == "sum":
            raise ValueError(
                "deviance is 'bce' with estimator 'sum', but a sum of flows is no probability; take estimator "
                "'expected', or deviance 'squared-log', 'gamma' or 'poisson'"
            )
        if self.deviance == "bce" and self.target == "both":
            raise ValueError(
                "target is 'both' with deviance 'bce', but cross-entropy would then drive the target itself to 0 or 1; "
                "take target 'stop-gradient' or 'ema', or another deviance"
            )


@dataclass(frozen=True, slots=True)
class DetailedBalanceOptions:
    """See `detailed_balance_loss`.

    Attributes:
        estimator: "expected": flows of the target pi(x) R(x), divided by pi; "sum": flows of R(x) itself.
        target, leaf_weight, per_problem, root: see `FlowOptions`; leaf_weight is a number.

    Raises:
        ValueError: a value is outside its range.
    """

    estimator: str = "expected"
    target: str = "both"
    leaf_weight: float = 1.0
    per_problem: bool = True
    root: bool = True

    def __post_init__(self) -> None:
        _one_of("estimator", self.estimator, ESTIMATORS)
        _one_of("target", self.target, TARGETS)
        _within("leaf_weight", self.leaf_weight)


@dataclass(frozen=True, slots=True)
class SubTBOptions:
    """See `subtb_loss`.

    Attributes:
        decay: > 0; a sub-trajectory of k steps weighs decay ** k among those of its trace.
        estimator, target, leaf_weight, per_problem, root: see `DetailedBalanceOptions`.

    Raises:
        ValueError: a value is outside its range.
    """

    decay: float = 0.9
    estimator: str = "expected"
    target: str = "both"
    leaf_weight: float = 1.0
    per_problem: bool = True
    root: bool = True

    def __post_init__(self) -> None:
        _one_of("estimator", self.estimator, ESTIMATORS)
        _one_of("target", self.target, TARGETS)
        _within("leaf_weight", self.leaf_weight)
        if not (math.isfinite(self.decay) and self.decay > 0):
            raise ValueError(f"decay is {self.decay}, but must be finite and > 0; 0.9 is usual, 1 weighs all alike")


@dataclass(frozen=True, slots=True)
class PRMOptions:
    """See `prm_loss`.

    Attributes:
        labels: "soft" (share of correct leaves below) or "hard" (1 if any of them is correct).
        leaf_weight, leaf_power, per_problem, root: see `FlowOptions`.

    Raises:
        ValueError: a value is outside its range.
    """

    labels: str = "soft"
    leaf_weight: float | None = None
    leaf_power: float = 0.0
    per_problem: bool = True
    root: bool = True

    def __post_init__(self) -> None:
        _one_of("labels", self.labels, ("soft", "hard"))
        _within("leaf_power", self.leaf_power, 1)
        _leaf_weight(self.leaf_weight)


@dataclass(frozen=True, slots=True)
class LeafOptions:
    """Of the outcome models, see `orm_loss` and `rm_loss`.

    Attributes:
        leaf_power: 0: leaves drawn alike count once; 1: as often as they were drawn; in [0, 1].
        per_problem: see `FlowOptions`.

    Raises:
        ValueError: a value is outside its range.
    """

    leaf_power: float = 0.0
    per_problem: bool = True

    def __post_init__(self) -> None:
        _within("leaf_power", self.leaf_power, 1)


ESTIMATORS = ("expected", "sum")
TARGETS = ("stop-gradient", "both", "ema")


def _one_of(name: str, value: object, choices: Collection[str]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}, but must be one of {', '.join(choices)}")


def _within(name: str, value: object, high: float = math.inf) -> None:
    if not (isinstance(value, (int, float)) and math.isfinite(value) and 0 <= value <= high):
        rule = "finite and >= 0" if high == math.inf else f"in [0, {high}]"
        raise ValueError(f"{name} is {value!r}, but must be {rule}")


def _leaf_weight(value: object) -> None:
    if value is not None:
        _within("leaf_weight", value)
