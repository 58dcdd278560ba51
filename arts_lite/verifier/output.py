"""What a head's number means: how it becomes a log-flow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from arts_lite.verifier.format import VerifierFormat
    from arts_lite.verifier.probe_format import ProbeFormat

Calibrated: TypeAlias = "VerifierFormat | ProbeFormat"
OUTPUTS = ("log_flow", "logit", "score")
"""What a calibrated head gives: a natural log-flow, the log-odds of a correct answer, or only an order."""


def log_flow_of(one: Calibrated, values: ArrayLike) -> NDArray[np.float64]:
    """Turn the head's numbers into log-flows, of any shape; for the output "score" into calibrated scores.

    nan (not read) stays nan.
    """
    calibrated = one.scale * np.asarray(values, np.float64) + one.offset
    if one.output != "logit":
        return np.asarray(calibrated)
    # log(wrong + (correct - wrong) * sigmoid(x)), without overflow on either side
    log_correct, log_wrong = math.log(one.reward_correct), math.log(one.reward_wrong)
    with np.errstate(invalid="ignore"):
        mixed = np.logaddexp(log_correct - np.logaddexp(0, -calibrated), log_wrong - np.logaddexp(0, calibrated))
    return np.asarray(mixed)


def aggregation_of(one: Calibrated) -> str:
    """What suits the objective: the weakest step for a process reward model (the paper's choice), else the last."""
    return "min" if one.objective == "prm" else "last"


def rewards_of(one: Calibrated) -> tuple[float, float] | None:
    """The flows of a wrong and of a right leaf; None where values are no flows, but only have an order."""
    return None if one.output == "score" else (one.reward_wrong, one.reward_correct)


def check_output(one: Calibrated) -> None:
    """Raise ValueError: a value is outside its range."""
    require(bool(one.objective), "objective", one.objective, "a name")
    require(one.output in OUTPUTS, "output", one.output, f"one of {', '.join(OUTPUTS)}")
    require(0 < one.scale < math.inf, "scale", one.scale, "a finite number > 0, or the order would be reversed")
    require(math.isfinite(one.offset), "offset", one.offset, "finite")
    require(0 <= one.log_prob_weight < math.inf, "log_prob_weight", one.log_prob_weight, "finite and >= 0")
    require(0 < one.reward_wrong < math.inf, "reward_wrong", one.reward_wrong, "> 0, since its log is used")
    require(one.reward_wrong < one.reward_correct < math.inf, "reward_correct", one.reward_correct, "> reward_wrong")


def require(holds: bool, name: str, value: object, rule: str) -> None:
    """Raise ValueError unless a rule holds."""
    if not holds:
        raise ValueError(f"{name} is {value!r}, but must be {rule}")


def finite(value: Any) -> Any:
    """Replace numbers that JSON does not know by None, at any depth."""
    if isinstance(value, Mapping):
        return {str(key): finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
