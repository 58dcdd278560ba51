"""What a verifier file says about itself: the ``arts.verifier.*`` keys of a GGUF (docs/verifier-format.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from arts_lite.verifier.head import Head
from arts_lite.verifier.keys import Keys, head_keys
from arts_lite.verifier.output import check_output, finite, log_flow_of, require
from arts_lite.verifier.text import InputRules

if TYPE_CHECKING:
    from arts_lite.engine.gguf import GGUFHeader

VERSION = 1
PREFIX = "arts.verifier."
_UNUSED = 5  # token type in a GGUF


@dataclass(frozen=True, slots=True, eq=False)
class VerifierFormat:
    """A verifier, but for its language model.

    Attributes:
        objective: what it was trained with: flow, detailed-balance, subtb, prm, orm, rm.
        estimator: variant of the objective: expected, sum; hard, soft; "" where there is none.
        output: what the calibrated head gives, one of `OUTPUTS`.
        rules: how its input is made.
        head: from a hidden state to a number.
        scale, offset: calibration; the calibrated value is scale * head + offset. scale > 0.
        log_prob_weight: what a nat of a trace's log-prob under the proposer adds to its log-flow, >= 0.
        reward_correct, reward_wrong: of a leaf; reward_correct > reward_wrong > 0.
        slot: token whose row of the output layer is the head's weight; None: there is none.
        base_name, base_sha256: the model that was trained further; "" where that is not known.
        tokenizer_sha256: see docs/verifier-format.md.
        metrics: of the training, JSON-ready.

    Raises:
        ValueError: a value is outside its range.
    """

    objective: str
    rules: InputRules
    head: Head
    estimator: str = ""
    output: str = "log_flow"
    scale: float = 1.0
    offset: float = 0.0
    log_prob_weight: float = 0.0
    reward_correct: float = 10.0
    reward_wrong: float = 0.1
    slot: int | None = None
    base_name: str = ""
    base_sha256: str = ""
    tokenizer_sha256: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_output(self)
        require(self.slot is None or self.slot >= 0, "slot", self.slot, "a token's id, or None")

    def log_flow(self, values: ArrayLike) -> NDArray[np.float64]:
        """Turn the head's numbers into log-flows, of any shape; for the output "score" into calibrated scores."""
        return log_flow_of(self, values)

    def keys(self) -> dict[str, str | int | float]:
        """Write it as metadata: texts, whole numbers (uint32) and numbers (float64). What is empty is left out."""
        keys: dict[str, str | int | float | None] = {
            "version": VERSION,
            "objective": self.objective,
            "estimator": self.estimator,
            "output": self.output,
            "question_template": self.rules.question_template,
            "step_separator": self.rules.step_separator,
            "bos_token_id": self.rules.bos,
            "reward.correct": float(self.reward_correct),
            "reward.wrong": float(self.reward_wrong),
            "calibration.scale": float(self.scale),
            "calibration.offset": float(self.offset),
            "calibration.log_prob": float(self.log_prob_weight),
            **head_keys(self.head),
            "slot_token_id": self.slot,
            "base.name": self.base_name,
            "base.sha256": self.base_sha256,
            "tokenizer.sha256": self.tokenizer_sha256,
            "metrics": json.dumps(finite(self.metrics), ensure_ascii=False, allow_nan=False),
        }
        return {PREFIX + key: value for key, value in keys.items() if value not in (None, "")}


def read_verifier(header: GGUFHeader) -> VerifierFormat:
    """Read and check a file's keys against the file itself.

    Raises:
        VerifierError: no verifier, one of another version, a key that is missing or wrong, a damaged head, a head or a
            tokenizer of another model.
    """
    keys = Keys(header, PREFIX, "verifier", "Make one with `arts-lite train verifier`, or use the file as the proposer")
    keys.check_version(VERSION)
    try:
        found = VerifierFormat(
            objective=keys.text("objective"),
            estimator=keys.text("estimator", ""),
            output=keys.text("output"),
            rules=InputRules(
                keys.text("question_template"), keys.text("step_separator"), keys.optional_integer("bos_token_id")
            ),
            head=_read_head(keys),
            scale=keys.number("calibration.scale"),
            offset=keys.number("calibration.offset"),
            log_prob_weight=keys.number("calibration.log_prob", 0.0),
            reward_correct=keys.number("reward.correct"),
            reward_wrong=keys.number("reward.wrong"),
            slot=keys.optional_integer("slot_token_id"),
            base_name=keys.text("base.name", ""),
            base_sha256=keys.text("base.sha256", ""),
            tokenizer_sha256=keys.text("tokenizer.sha256", ""),
            metrics=keys.json("metrics"),
        )
    except ValueError as error:
        raise keys.error(f"its keys cannot be used: {error}") from error
    _check_tokens(keys, found)
    return found


def _read_head(keys: Keys) -> Head:
    head, own = keys.head(), keys.header.arch_value("embedding_length")
    if len(head.weight) != own:
        raise keys.error(
            f"its head reads {len(head.weight)} numbers, but its hidden states have {own} (embedding_length)"
        )
    return head


def _check_tokens(keys: Keys, found: VerifierFormat) -> None:
    own = keys.header.tokenizer_sha256
    if found.tokenizer_sha256 != own:
        raise keys.error(
            f"its tokenizer is not the one it was trained with: the tokenizer.ggml.* keys have the SHA-256 {own}, but "
            f"{PREFIX}tokenizer.sha256 is {found.tokenizer_sha256}"
        )
    kinds = keys.header.metadata.get("tokenizer.ggml.token_type")
    kinds = kinds if isinstance(kinds, list) else []
    if found.slot is not None and not (found.slot < len(kinds) and kinds[found.slot] == _UNUSED):
        raise keys.error(f"{PREFIX}slot_token_id is {found.slot}, which is no unused token of its vocabulary")
    if found.rules.bos is not None and kinds and found.rules.bos >= len(kinds):
        raise keys.error(f"{PREFIX}bos_token_id is {found.rules.bos}, but the vocabulary has {len(kinds)} tokens")


def unused_token(metadata: Mapping[str, Any]) -> int | None:
    """Find the last token that no text ever becomes, for the slot; None: the vocabulary has none."""
    kinds = metadata.get("tokenizer.ggml.token_type")
    unused = [token for token, kind in enumerate(kinds) if kind == _UNUSED] if isinstance(kinds, list) else []
    return unused[-1] if unused else None
