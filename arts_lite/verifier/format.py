"""What a verifier file says about itself: the ``arts.verifier.*`` keys of a GGUF (docs/verifier-format.md)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from arts_lite.errors import VerifierError
from arts_lite.verifier.head import Head
from arts_lite.verifier.text import InputRules

if TYPE_CHECKING:
    from arts_lite.engine.gguf import GGUFHeader

VERSION = 1
PREFIX = "arts.verifier."
OUTPUTS = ("log_flow", "logit", "score")
"""What a calibrated head gives: a natural log-flow, the log-odds of a correct answer, or only an order."""

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
    reward_correct: float = 10.0
    reward_wrong: float = 0.1
    slot: int | None = None
    base_name: str = ""
    base_sha256: str = ""
    tokenizer_sha256: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require(bool(self.objective), "objective", self.objective, "a name")
        _require(self.output in OUTPUTS, "output", self.output, f"one of {', '.join(OUTPUTS)}")
        _require(0 < self.scale < math.inf, "scale", self.scale, "a finite number > 0, or the order would be reversed")
        _require(math.isfinite(self.offset), "offset", self.offset, "finite")
        _require(0 < self.reward_wrong < math.inf, "reward_wrong", self.reward_wrong, "> 0, since its log is used")
        _require(
            self.reward_wrong < self.reward_correct < math.inf, "reward_correct", self.reward_correct, "> reward_wrong"
        )
        _require(self.slot is None or self.slot >= 0, "slot", self.slot, "a token's id, or None")

    def log_flow(self, values: ArrayLike) -> NDArray[np.float64]:
        """Turn the head's numbers into log-flows, of any shape; for the output "score" into calibrated scores."""
        calibrated = self.scale * np.asarray(values, np.float64) + self.offset
        if self.output != "logit":
            return np.asarray(calibrated)
        # log(wrong + (correct - wrong) * sigmoid(x)), without overflow on either side
        log_correct, log_wrong = math.log(self.reward_correct), math.log(self.reward_wrong)
        mixed = np.logaddexp(log_correct - np.logaddexp(0, -calibrated), log_wrong - np.logaddexp(0, calibrated))
        return np.asarray(mixed)

    def keys(self) -> dict[str, str | int | float]:
        """Write it as metadata: texts, whole numbers (uint32) and numbers (float64). What is empty is left out."""
        data = self.head.data
        text = base64.b64encode(data).decode("ascii")
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
            "head.n_embd": len(self.head.weight),
            "head.length": len(text),
            "head.sha256": hashlib.sha256(data).hexdigest(),
            "head.data": text,
            "slot_token_id": self.slot,
            "base.name": self.base_name,
            "base.sha256": self.base_sha256,
            "tokenizer.sha256": self.tokenizer_sha256,
            "metrics": json.dumps(finite(self.metrics), ensure_ascii=False, allow_nan=False),
        }
        return {PREFIX + key: value for key, value in keys.items() if value not in (None, "")}


def finite(value: Any) -> Any:
    """Replace numbers that JSON does not know by None, at any depth."""
    if isinstance(value, Mapping):
        return {str(key): finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_verifier(header: GGUFHeader) -> VerifierFormat:
    """Read and check a file's keys against the file itself.

    Raises:
        VerifierError: no verifier, one of another version, a key that is missing or wrong, a damaged head, a head or a
            tokenizer of another model.
    """
    keys = _Keys(header)
    keys.check_version()
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


class _Keys:
    """A header's verifier keys; whatever is wrong with one becomes a VerifierError that names it."""

    def __init__(self, header: GGUFHeader) -> None:
        self.header = header
        self._values = header.metadata

    def error(self, what: str) -> VerifierError:
        return VerifierError(f"{self.header.path} is no usable verifier: {what}. Export it again, or copy it anew")

    def check_version(self) -> None:
        if not any(key.startswith(PREFIX) for key in self._values):
            raise VerifierError(
                f"{self.header.path} is no verifier: it has no {PREFIX}* keys. Make one with `arts-lite train "
                "verifier`, or use the file as the proposer"
            )
        version = self._values.get(PREFIX + "version")
        if type(version) is not int or version != VERSION:
            raise VerifierError(
                f"{self.header.path} is a verifier of the format version {version!r}, but this software reads version "
                f"{VERSION}; update the older of the two"
            )

    def text(self, key: str, default: str | None = None) -> str:
        value = self._values.get(PREFIX + key, default)
        if not isinstance(value, str):
            raise self.error(f"{PREFIX}{key} is {_shown(value)}, but must be a text")
        return value

    def number(self, key: str) -> float:
        value = self.header.number(PREFIX + key)
        if value is None:
            raise self.error(f"{PREFIX}{key} is {_shown(self._values.get(PREFIX + key))}, but must be a number")
        return float(value)

    def optional_integer(self, key: str) -> int | None:
        value = self._values.get(PREFIX + key)
        if value is not None and type(value) is not int:
            raise self.error(f"{PREFIX}{key} is {_shown(value)}, but must be a whole number")
        return value

    def integer(self, key: str) -> int:
        value = self.optional_integer(key)
        if value is None:
            raise self.error(f"{PREFIX}{key} is missing")
        return value

    def json(self, key: str) -> Mapping[str, Any]:
        value = json.loads(self.text(key))
        if not isinstance(value, dict):
            raise self.error(f"{PREFIX}{key} is {_shown(value)}, but must be a JSON object")
        return value


def _read_head(keys: _Keys) -> Head:
    text, length, dim = keys.text("head.data"), keys.integer("head.length"), keys.integer("head.n_embd")
    if len(text) != length:
        raise keys.error(f"its head is damaged: {PREFIX}head.data has {len(text)} characters instead of {length}")
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise keys.error(f"its head is damaged: {PREFIX}head.data is no base64 ({error})") from error
    if hashlib.sha256(data).hexdigest() != keys.text("head.sha256"):
        raise keys.error(f"its head is damaged: its SHA-256 is not {PREFIX}head.sha256")
    if len(data) != 4 * (dim + 1):
        raise keys.error(f"its head has {len(data)} bytes, but a weight of {dim} numbers and a bias take {4 * dim + 4}")
    own = keys.header.arch_value("embedding_length")
    if dim != own:
        raise keys.error(f"its head reads {dim} numbers, but its hidden states have {own} (embedding_length)")
    numbers = np.frombuffer(data, "<f4")
    return Head(numbers[:-1], float(numbers[-1]))


def _check_tokens(keys: _Keys, found: VerifierFormat) -> None:
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


def _shown(value: object) -> str:
    if value is None:
        return "missing"
    text = repr(value)
    return text if len(text) <= 80 else text[:80] + "..."


def _require(holds: bool, name: str, value: object, rule: str) -> None:
    if not holds:
        raise ValueError(f"{name} is {value!r}, but must be {rule}")
