"""Settings of a verifier's training, and what they are made into: a base and an optimizer."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from arts_lite.train.base import TINY_RULES, Base, TuningConfig, load_base
from arts_lite.train.dataset import DataConfig
from arts_lite.train.objectives import make_objective
from arts_lite.train.schedule import warmup_then_linear
from arts_lite.train.values import ValueModel
from arts_lite.verifier.text import InputRules


@dataclass(frozen=True, slots=True)
class VerifierConfig:
    """One training run.

    Attributes:
        base: see `load_base`.
        objective, options: see `make_objective`.
        tuning: what learns.
        data: what is made of the tree files.
        epochs: passes over the training trees, > 0; a part of one is possible.
        batch_tokens: of a batch of trees, rows' shared prefixes counted as often as they are encoded.
        part_tokens: of what is computed at once; a batch is cut into parts whose gradients add up.
        row_tokens: see `train.encoding`.
        learning_rate, head_learning_rate: AdamW's at their peaks, of the body and of the head.
        warmup: share of the run until they are reached; then they fall to 0.
        weight_decay, max_norm: of matrices; gradients are scaled down to the norm.
        ema_decay: of the averaged copy that makes the targets, with target "ema".
        evals: dev measurements over the run, >= 1.
        save_every: in steps.
        question_template, step_separator: of the input; None: the base's own.
        precision: "fp32" or "bf16" (of activations).
        seed: of new weights, order and dropout.

    Raises:
        ValueError: a value is outside its range.
    """

    base: str
    objective: str = "flow"
    options: Mapping[str, Any] = field(default_factory=dict)
    tuning: TuningConfig = field(default_factory=TuningConfig)
    data: DataConfig = field(default_factory=DataConfig)
    epochs: float = 2.0
    batch_tokens: int = 16_384
    part_tokens: int = 16_384
    row_tokens: int = 256
    learning_rate: float = 5e-4
    head_learning_rate: float = 2e-3
    warmup: float = 0.05
    weight_decay: float = 0.01
    max_norm: float = 1.0
    ema_decay: float = 0.99
    evals: int = 10
    save_every: int = 100
    question_template: str | None = None
    step_separator: str | None = None
    precision: str = "fp32"
    seed: int = 0

    def __post_init__(self) -> None:
        make_objective(self.objective, self.options)
        self.rules_over(TINY_RULES)
        for name in ("batch_tokens", "part_tokens", "evals", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be >= 1")
        for name in ("epochs", "learning_rate", "head_learning_rate", "max_norm"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be > 0 and finite")
        for name in ("warmup", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be in [0, 1)")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay is {self.weight_decay}, but must be >= 0 and finite")
        if self.row_tokens < 0 or self.seed < 0:
            raise ValueError(f"row_tokens {self.row_tokens} and seed {self.seed} must be >= 0")
        if self.precision not in ("fp32", "bf16"):
            raise ValueError(f"precision is {self.precision!r}, but must be fp32 or bf16")

    def rules_over(self, own: InputRules) -> InputRules:
        """The base's own rules of the input, but for what was asked for."""
        template, separator = self.question_template, self.step_separator
        return InputRules(
            own.question_template if template is None else template,
            own.step_separator if separator is None else separator,
            own.bos,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for the run's folder."""
        return {"kind": "verifier", **dataclasses.asdict(self)}


def base_of(config: VerifierConfig, dtype: torch.dtype) -> Base:
    """Load the base, with the rules that were asked for. Raises TrainingError: it cannot be loaded."""
    base = load_base(config.base, config.tuning, seed=config.seed, dtype=dtype)
    return dataclasses.replace(base, rules=config.rules_over(base.rules))


def make_optimizer(model: ValueModel, config: VerifierConfig) -> torch.optim.Optimizer:
    """AdamW with a rate of its own for the head; matrices of the body alone decay."""
    body = [weight for name, weight in model.learning().items() if not name.startswith("head.")]
    groups: list[dict[str, Any]] = [
        {"params": list(model.head.parameters()), "lr": config.head_learning_rate, "weight_decay": 0.0},
        {
            "params": [weight for weight in body if weight.ndim > 1],
            "lr": config.learning_rate,
            "weight_decay": config.weight_decay,
        },
        {"params": [weight for weight in body if weight.ndim <= 1], "lr": config.learning_rate, "weight_decay": 0.0},
    ]
    for group in groups:
        group["peak"] = group["lr"]
    return torch.optim.AdamW([group for group in groups if group["params"]], betas=(0.9, 0.98))


def set_rates(optimizer: torch.optim.Optimizer, done: float, *, warmup: float) -> None:
    """Set the learning rates after a share of the run, in (0, 1)."""
    factor = warmup_then_linear(done, warmup=warmup)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor
