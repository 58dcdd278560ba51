"""Fit a linear value head on hidden states that are given: no body is trained, so that it takes seconds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arts_lite.errors import TrainingError
from arts_lite.train.batches import TreeBatch
from arts_lite.train.dataset import TreeDataset
from arts_lite.train.metrics import dev_metrics
from arts_lite.train.objectives import Objective
from arts_lite.train.schedule import warmup_then_linear
from arts_lite.train.states import States
from arts_lite.train.trees import TrainingTree
from arts_lite.verifier.head import Head

_MIN_SPREAD = 1e-6  # of an input, beside the largest: what never varies tells nothing


@dataclass(frozen=True, slots=True)
class FitConfig:
    """How a head is fitted.

    Attributes:
        epochs: passes over the training trees, >= 1.
        batch_nodes: of a batch of whole trees.
        learning_rate: Adam's at its peak, on standardised inputs.
        ridge: of the squared distance from where the weight began (0, or the old head's), on standardised inputs.
        warmup: share of the run until the rate is reached; then it falls to 0.
        ema_decay: of the averaged head that makes the targets, with target "ema".
        evals: dev measurements over the run, >= 1.
        seed: of the order of batches.

    Raises:
        ValueError: a value is outside its range.
    """

    epochs: int = 50
    batch_nodes: int = 1024
    learning_rate: float = 0.01
    ridge: float = 1e-3
    warmup: float = 0.05
    ema_decay: float = 0.99
    evals: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_nodes", "evals"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be >= 1")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate is {self.learning_rate}, but must be > 0 and finite")
        if not 0 <= self.ridge < math.inf:
            raise ValueError(f"ridge is {self.ridge}, but must be >= 0 and finite")
        for name in ("warmup", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be in [0, 1)")

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for a run's configuration."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted head.

    Attributes:
        head: with the best dev accuracy, else the last one.
        lines: loss and dev metrics in the course of the fit.
        metrics: those of `head` on the dev trees; empty without any.
    """

    head: Head
    lines: list[dict[str, float]] = field(default_factory=list)
    metrics: Mapping[str, float] = field(default_factory=dict)


def fit_head(
    data: TreeDataset,
    train: States,
    dev: States,
    objective: Objective,
    config: FitConfig,
    *,
    start: Head | None = None,
    tell: Callable[[int, str], None] = lambda _done, _text: None,
) -> Fit:
    """Fit a head to an objective's loss, in batches of whole trees.

    Args:
        train, dev: states of `data.train` and `data.dev`.
        start: where to begin; None: at 0, with the bias that all training nodes have together.
        tell: called after each epoch with (epochs done, a line of text).

    Raises:
        TrainingError: it has diverged.
    """
    mean, spread = _moments(train)
    batches = [_Batch(data, train, part, mean, spread) for part in _cut(data.train, config.batch_nodes)]
    learner = _Learner(objective, config, _standardised(start, mean, spread, objective.initial_bias(data)))
    every = max(1, config.epochs // config.evals)
    best, lines = Fit(_head(learner, mean, spread)), list[dict[str, float]]()
    best_accuracy = -math.inf
    for epoch in range(config.epochs):
        line = {"epoch": float(epoch + 1), "loss": learner.learn_all(batches, epoch)}
        if (epoch + 1) % every == 0 or epoch + 1 == config.epochs:
            head = _head(learner, mean, spread)
            found = measure(data, head, dev, objective)
            line |= {name: value for name, value in found.items() if math.isfinite(value)}
            accuracy = found.get("bon_accuracy", math.nan)
            if not accuracy < best_accuracy:  # of equal ones the later; without a number, the last one stands
                best_accuracy = accuracy if math.isfinite(accuracy) else best_accuracy
                best = Fit(head, lines, found)
            lines.append(line)
        tell(epoch + 1, f"loss {line['loss']:.4f}")
    return best


def measure(data: TreeDataset, head: Head, dev: States, objective: Objective) -> dict[str, float]:
    """Measure a head on the dev trees, its loss as "loss_dev" included; {} without any."""
    if not data.dev:
        return {}
    values = [head(np.asarray(states)).astype(np.float64) for states in dev]
    return {**dev_metrics(data.dev, values, objective, data.rewards), "loss_dev": loss_of(data, values, objective)}


def loss_of(data: TreeDataset, values: Sequence[NDArray[np.float64]], objective: Objective) -> float:
    """Mean loss of the dev trees at these values; children's flows are taken from the values themselves."""
    total = 0.0
    for tree, own in zip(data.dev, values, strict=True):
        batch = TreeBatch.of([tree], data.rewards, dtype=torch.float64)
        given = torch.from_numpy(np.asarray(own, np.float64))
        loss, _ = objective.loss(given, batch, given if objective.needs_average else None)
        total += float(loss)
    return total / len(data.dev)


class _Batch:
    """Some trees with their standardised states."""

    def __init__(
        self,
        data: TreeDataset,
        states: States,
        part: Sequence[int],
        mean: NDArray[np.float64],
        spread: NDArray[np.float64],
    ) -> None:
        self.trees = TreeBatch.of([data.train[one] for one in part], data.rewards)
        rows = np.concatenate([states[one] for one in part])
        self.inputs = torch.from_numpy(((rows - mean) / spread).astype(np.float32))


class _Learner:
    """The head in standardised inputs, with its optimizer."""

    def __init__(self, objective: Objective, config: FitConfig, start: tuple[NDArray[np.float64], float]) -> None:
        self._objective = objective
        self._config = config
        self.weight = torch.tensor(start[0], dtype=torch.float32, requires_grad=True)
        self.bias = torch.tensor(start[1], dtype=torch.float32, requires_grad=True)
        self._origin = self.weight.detach().clone()
        self._average = [self.weight.detach().clone(), self.bias.detach().clone()]
        self._adam = torch.optim.Adam([self.weight, self.bias], lr=config.learning_rate, betas=(0.9, 0.98))

    def learn_all(self, batches: Sequence[_Batch], epoch: int) -> float:
        """Take one step on each batch, in an order that is this epoch's; returns the mean loss."""
        order = list(range(len(batches)))
        Random(f"head {self._config.seed} {epoch}").shuffle(order)
        losses = []
        for place, number in enumerate(order):
            done = (epoch + (place + 1) / len(order)) / self._config.epochs
            losses.append(self.learn(batches[number], min(done, 1 - 1e-9)))
        return float(np.mean(losses))

    def learn(self, batch: _Batch, done: float) -> float:
        """Take one step, after a share of the run in (0, 1); returns the loss."""
        for group in self._adam.param_groups:
            group["lr"] = self._config.learning_rate * warmup_then_linear(done, warmup=self._config.warmup)
        self._adam.zero_grad(set_to_none=True)
        values = batch.inputs @ self.weight + self.bias
        loss, _ = self._objective.loss(values, batch.trees, self._targets(batch))
        told = float(loss.detach())
        if not math.isfinite(told):
            raise TrainingError(f"the loss is {told}: the fit has diverged; take a lower learning rate")
        (loss + self._config.ridge * (self.weight - self._origin).square().sum()).backward()
        self._adam.step()
        for kept, now in zip(self._average, (self.weight, self.bias), strict=True):
            kept.lerp_(now.detach(), 1 - self._config.ema_decay)
        return told

    def _targets(self, batch: _Batch) -> Tensor | None:
        if not self._objective.needs_average:
            return None
        return batch.inputs @ self._average[0] + self._average[1]


def _moments(states: States) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each input over all nodes; 1 where it never varies."""
    count = sum(map(len, states))
    mean = np.sum([one.sum(0, np.float64) for one in states], 0) / count
    spread = np.sqrt(np.sum([np.square(one - mean).sum(0) for one in states], 0) / count)
    return mean, np.where(spread > _MIN_SPREAD * max(float(spread.max()), _MIN_SPREAD), spread, 1.0)


def _standardised(
    start: Head | None, mean: NDArray[np.float64], spread: NDArray[np.float64], bias: float
) -> tuple[NDArray[np.float64], float]:
    if start is None:
        return np.zeros_like(mean), bias
    weight = start.weight.astype(np.float64)
    return weight * spread, start.bias + float(weight @ mean)


def _head(learner: _Learner, mean: NDArray[np.float64], spread: NDArray[np.float64]) -> Head:
    """Fold the standardisation into weight and bias."""
    weight = learner.weight.detach().double().numpy() / spread
    return Head(weight.astype(np.float32), float(learner.bias.detach()) - float(weight @ mean))


def _cut(trees: Sequence[TrainingTree], batch_nodes: int) -> list[list[int]]:
    parts: list[list[int]] = []
    total = 0
    for number, tree in enumerate(trees):
        if not parts or total + tree.num_nodes > batch_nodes:
            parts.append([])
            total = 0
        parts[-1].append(number)
        total += tree.num_nodes
    return parts
