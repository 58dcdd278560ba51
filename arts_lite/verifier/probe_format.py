"""What a probe's file says: the ``arts.probe.*`` keys of a GGUF without weights (docs/verifier-format.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from arts_lite.errors import VerifierError
from arts_lite.verifier.head import Head
from arts_lite.verifier.keys import Keys, head_keys
from arts_lite.verifier.output import check_output, finite, log_flow_of, require

if TYPE_CHECKING:
    from arts_lite.engine.gguf import GGUFHeader

VERSION = 1
PREFIX = "arts.probe."
ARCHITECTURE = "arts-probe"
"""``general.architecture`` of a probe's file, so that nobody takes it for a model."""


@dataclass(frozen=True, slots=True, eq=False)
class ProbeFormat:
    """A head on the hidden states of one very proposer's file.

    Attributes:
        objective, estimator, output, scale, offset, log_prob_weight: see `VerifierFormat`.
        reward_correct, reward_wrong: of a leaf; see there, too.
        head: from the proposer's hidden state at the end of a step to a number.
        proposer_name: what the proposer's file calls itself.
        proposer_sha256: of the proposer's file (of all parts in order, where it is split).
        metrics: of the training, JSON-ready.

    Raises:
        ValueError: a value is outside its range.
    """

    objective: str
    head: Head
    proposer_sha256: str
    proposer_name: str = ""
    estimator: str = ""
    output: str = "log_flow"
    scale: float = 1.0
    offset: float = 0.0
    log_prob_weight: float = 0.0
    reward_correct: float = 10.0
    reward_wrong: float = 0.1
    metrics: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_output(self)
        is_digest = len(self.proposer_sha256) == 64 and set(self.proposer_sha256) <= set("0123456789abcdef")
        require(is_digest, "proposer_sha256", self.proposer_sha256, "a SHA-256 in hexadecimal")

    def log_flow(self, values: ArrayLike) -> NDArray[np.float64]:
        """Turn the head's numbers into log-flows, of any shape; for the output "score" into calibrated scores."""
        return log_flow_of(self, values)

    def keys(self) -> dict[str, str | int | float]:
        """Write it as metadata: texts, whole numbers (uint32) and numbers (float64). What is empty is left out."""
        keys: dict[str, str | int | float] = {
            "version": VERSION,
            "objective": self.objective,
            "estimator": self.estimator,
            "output": self.output,
            "reward.correct": float(self.reward_correct),
            "reward.wrong": float(self.reward_wrong),
            "calibration.scale": float(self.scale),
            "calibration.offset": float(self.offset),
            "calibration.log_prob": float(self.log_prob_weight),
            **head_keys(self.head),
            "proposer.name": self.proposer_name,
            "proposer.sha256": self.proposer_sha256,
            "metrics": json.dumps(finite(self.metrics), ensure_ascii=False, allow_nan=False),
        }
        return {PREFIX + key: value for key, value in keys.items() if value != ""}


def read_probe(header: GGUFHeader) -> ProbeFormat:
    """Read and check a probe's keys.

    Raises:
        VerifierError: no probe, one of another version, a key that is missing or wrong, a damaged head.
    """
    remedy = "Make one with `arts-lite train probe`; a verifier's file is given as the verifier"
    keys = Keys(header, PREFIX, "probe", remedy)
    keys.check_version(VERSION)
    try:
        return ProbeFormat(
            objective=keys.text("objective"),
            head=keys.head(),
            proposer_sha256=keys.text("proposer.sha256"),
            proposer_name=keys.text("proposer.name", ""),
            estimator=keys.text("estimator", ""),
            output=keys.text("output"),
            scale=keys.number("calibration.scale"),
            offset=keys.number("calibration.offset"),
            log_prob_weight=keys.number("calibration.log_prob", 0.0),
            reward_correct=keys.number("reward.correct"),
            reward_wrong=keys.number("reward.wrong"),
            metrics=keys.json("metrics"),
        )
    except ValueError as error:
        raise keys.error(f"its keys cannot be used: {error}") from error


def check_proposer(probe: ProbeFormat, path: object, sha256: str, dim: int) -> None:
    """Raise VerifierError: a probe belongs to another file than the proposer's, whose digest and width these are."""
    own = f"{probe.proposer_name or 'another model'} ({probe.proposer_sha256[:12]}...)"
    if sha256 != probe.proposer_sha256:
        raise VerifierError(
            f"the probe was trained on the hidden states of {own}, but the proposer is {path} ({sha256[:12]}...); "
            "another quantisation of the same model is another file, too. Train a probe for this file with "
            "`arts-lite train probe`"
        )
    if len(probe.head.weight) != dim:
        raise VerifierError(
            f"the probe reads {len(probe.head.weight)} numbers, but the hidden states of {path} have {dim}; train it "
            "again"
        )
