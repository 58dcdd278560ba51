"""Train a verifier on trees: one loop for every objective."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from arts_lite.errors import TrainingError
from arts_lite.train.base import Base, TuningConfig, load_base
from arts_lite.train.batches import TreeBatch, batch_plan
from arts_lite.train.dataset import DataConfig, TreeDataset, read_dataset
from arts_lite.train.encoding import EncodedTree, encode_tree
from arts_lite.train.metrics import dev_metrics
from arts_lite.train.objectives import Objective, make_objective
from arts_lite.train.rundir import RunDirectory
from arts_lite.train.schedule import warmup_then_linear
from arts_lite.train.trees import ContextLimit
from arts_lite.train.values import ValueModel, parts_of, values_of
from arts_lite.verifier.text import InputRules

BEST = "best.pt"


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
        for name in ("batch_tokens", "part_tokens", "evals", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be >= 1")
        for name in ("epochs", "learning_rate", "head_learning_rate", "max_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be > 0")
        for name in ("warmup", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be in [0, 1)")
        if self.row_tokens < 0 or self.seed < 0:
            raise ValueError(f"row_tokens {self.row_tokens} and seed {self.seed} must be >= 0")
        if self.precision not in ("fp32", "bf16"):
            raise ValueError(f"precision is {self.precision!r}, but must be fp32 or bf16")

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for the run's folder."""
        return {"kind": "verifier", **dataclasses.asdict(self)}


class VerifierTraining:
    """One run: resumes from its folder's checkpoint.

    Args:
        trees: folders or files of SDF trees.
        folder: config.json, metrics.jsonl, checkpoint.pt, best.pt (weights of the best dev accuracy).
        tell: called after each step with (steps done, a line of metrics).
        accelerator: where to compute; None: accelerate's own choice.

    Raises:
        TrainingError: the base, the trees or the folder cannot be used.
        DatasetError, TraceFormatError: the tree files cannot be read.
    """

    def __init__(
        self,
        config: VerifierConfig,
        trees: Sequence[str | Path],
        folder: Path,
        *,
        tell: Callable[[int, str], None] = lambda _done, _text: None,
        accelerator: Accelerator | None = None,
    ) -> None:
        self.config = config
        self.tell = tell
        self._accelerator = accelerator or Accelerator()
        self.device = self._accelerator.device
        self._dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
        self.base = _base_of(config, self._dtype)
        self.data = self._read(trees)
        self.objective: Objective = make_objective(config.objective, config.options)
        told = {**config.to_dict(), "trees": self.data.to_dict(), "num_processes": self._accelerator.num_processes}
        self.run = RunDirectory(folder, told)
        self.model = ValueModel(self.base, self.objective.initial_bias(self.data)).to(self.device)
        self._optimizer = self._make_optimizer()
        self._wrapped, self._optimizer = self._accelerator.prepare(self.model, self._optimizer)
        self._average = copy.deepcopy(self.model.learning()) if self.objective.needs_average else None
        self.step, self.epoch, self.place, self.seconds, self.best = 0, 0, 0, 0.0, -1.0
        self._planned: tuple[int, list[list[int]]] = (-1, [])
        self.is_stopped = False
        if (state := self.run.load(self.device)) is not None:
            self._restore(state)

    @cached_property
    def num_steps(self) -> int:
        """Of the whole run."""
        per_epoch = len(self._plan_of(0))
        return max(1, round(self.config.epochs * per_epoch))

    def stop(self) -> None:
        """End after the step at work, with a checkpoint. Callable from a signal handler."""
        self.is_stopped = True

    def train(self) -> bool:
        """Go on to the end; False: it was stopped before. Raises TrainingError: a file cannot be written."""
        every = max(1, self.num_steps // self.config.evals)
        while self.step < self.num_steps:
            if self.is_stopped:
                self.save()
                return False
            start = time.monotonic()
            loss, parts = self._learn()
            self.seconds += time.monotonic() - start
            if self.step % every == 0 or self.step == self.num_steps:
                self._evaluate(loss, parts)
            if self.step % self.config.save_every == 0 or self.step == self.num_steps:
                self.save()
            self.tell(self.step, f"loss {loss:.4f}" + (f", dev {self.best:.3f}" if self.best >= 0 else ""))
        return True

    def save(self) -> None:
        """Write the checkpoint."""
        if not self._accelerator.is_main_process:
            return
        state = {
            "learning": {name: weight.detach() for name, weight in self.model.learning().items()},
            "optimizer": self._optimizer.state_dict(),
            **{name: getattr(self, name) for name in _COUNTERS},
        }
        if self._average is not None:
            state["average"] = self._average
        self.run.save(state)

    def load_best(self) -> None:
        """Take the weights with the best dev accuracy, if there was a dev split."""
        if (best := self.run.load_state(BEST, self.device)) is not None:
            self._take(best["learning"])

    def dev_values(self) -> list[NDArray[np.float64]]:
        """Values of the held-out trees' nodes, as they are now."""
        return self._values(self._encoded_dev)

    def _read(self, trees: Sequence[str | Path]) -> TreeDataset:
        rules, tokenise = self.base.rules, self.base.tokenise
        limit = ContextLimit(
            self.base.max_tokens,
            lambda text: len(rules.question_tokens(text, tokenise)),
            lambda text: len(rules.step_tokens(text, tokenise)),
        )
        return read_dataset([str(one) for one in trees], self.config.data, limit=limit)

    @cached_property
    def _encoded(self) -> list[EncodedTree]:
        return [self._encode(tree) for tree in self.data.train]

    @cached_property
    def _encoded_dev(self) -> list[EncodedTree]:
        return [self._encode(tree) for tree in self.data.dev]

    def _encode(self, tree: Any) -> EncodedTree:
        return encode_tree(tree, self.base.rules, self.base.tokenise, row_tokens=self.config.row_tokens)

    def _plan(self, epoch: int) -> list[list[int]]:
        """This epoch's batches; with several processes, each step takes one batch for each of them."""
        sizes = [tree.num_tokens for tree in self._encoded]
        batches = batch_plan(sizes, self.config.batch_tokens, seed=self.config.seed, epoch=epoch)
        num = self._accelerator.num_processes
        whole = len(batches) // num * num
        if whole == 0:
            raise TrainingError(
                f"{len(batches)} batches are too few for {num} processes; give more trees or a smaller batch_tokens"
            )
        return batches[self._accelerator.process_index : whole : num]

    def _make_optimizer(self) -> torch.optim.Optimizer:
        config = self.config
        body = [weight for name, weight in self.model.learning().items() if not name.startswith("head.")]
        groups: list[dict[str, Any]] = [
            {"params": list(self.model.head.parameters()), "lr": config.head_learning_rate, "weight_decay": 0.0},
            {
                "params": [weight for weight in body if weight.ndim > 1],
                "lr": config.learning_rate,
                "weight_decay": config.weight_decay,
            },
            {
                "params": [weight for weight in body if weight.ndim <= 1],
                "lr": config.learning_rate,
                "weight_decay": 0.0,
            },
        ]
        for group in groups:
            group["peak"] = group["lr"]
        return torch.optim.AdamW([group for group in groups if group["params"]], betas=(0.9, 0.98))

    def _learn(self) -> tuple[float, dict[str, float]]:
        """Take one step on one batch of trees."""
        config = self.config
        if self.place == len(self._plan_of(self.epoch)):  # epochs may differ by a batch: they are cut by size
            self.epoch, self.place = self.epoch + 1, 0
        trees = [self._encoded[number] for number in self._plan_of(self.epoch)[self.place]]
        self.place += 1
        torch.manual_seed(config.seed * 1_000_003 + self.step * 64 + self._accelerator.process_index)  # of dropout
        factor = warmup_then_linear((self.step + 1) / self.num_steps, warmup=config.warmup)
        for group in self._optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        self._optimizer.zero_grad(set_to_none=True)
        self._wrapped.train()
        loss, parts = self._backward(trees)
        self._accelerator.clip_grad_norm_(self.model.learning().values(), config.max_norm)
        self._optimizer.step()
        self.step += 1
        if self._average is not None:
            for name, weight in self.model.learning().items():
                self._average[name].lerp_(weight.detach(), 1 - config.ema_decay)
        return loss, parts

    def _backward(self, trees: list[EncodedTree]) -> tuple[float, dict[str, float]]:
        """Add up the gradients of a batch, part by part; each part counts by its share of the trees."""
        total = 0.0
        shares: dict[str, float] = {}
        for part, rows in parts_of(trees, self.config.part_tokens):
            batch = TreeBatch.of([trees[number].tree for number in part], self.data.rewards).to(self.device)
            with torch.autocast(self.device.type, self._dtype, enabled=self._dtype != torch.float32):
                values = self._wrapped(rows)
            loss, found = self.objective.loss(values, batch, self._targets(trees, part))
            share = len(part) / len(trees)
            self._accelerator.backward(loss * share)
            total += float(loss.detach()) * share
            for name, value in found.items():
                shares[name] = shares.get(name, 0.0) + float(value) * share
        if not np.isfinite(total):
            raise TrainingError(
                f"the loss is {total} at step {self.step}; the last checkpoint is sound: go on from it with a lower "
                "learning rate in another folder"
            )
        return total, shares

    def _targets(self, trees: list[EncodedTree], part: list[int]) -> Tensor | None:
        """Values of the averaged copy."""
        if self._average is None:
            return None
        kept = {name: weight.detach().clone() for name, weight in self.model.learning().items()}
        self._take(self._average)
        values = self._values([trees[number] for number in part])
        self._take(kept)
        return torch.from_numpy(np.concatenate(values)).float().to(self.device)

    def _values(self, trees: list[EncodedTree]) -> list[NDArray[np.float64]]:
        values: list[NDArray[np.float64]] = values_of(
            self.model, trees, max_tokens=self.config.part_tokens, dtype=self._dtype
        )
        return values

    def _evaluate(self, loss: float, parts: Mapping[str, float]) -> None:
        if not self._accelerator.is_main_process:
            return
        found: dict[str, Any] = {}
        if self.data.dev:
            found = dev_metrics(self.data.dev, self.dev_values(), self.objective, self.data.rewards)
            # nan, and so never, where no dev tree has traces enough: then the last weights stay
            if found["bon_accuracy"] > self.best:
                self.best = found["bon_accuracy"]
                learning = {name: weight.detach() for name, weight in self.model.learning().items()}
                self.run.save_state(BEST, {"learning": learning, "step": self.step})
        found = {name: value for name, value in found.items() if np.isfinite(value)}  # JSON knows no nan
        self.run.log(
            step=self.step,
            epoch=self.epoch,
            loss=loss,
            **{f"loss_{name}": value for name, value in parts.items()},
            **found,
            learning_rate=self._optimizer.param_groups[0]["lr"],
            seconds=round(self.seconds, 1),
        )

    def _plan_of(self, epoch: int) -> list[list[int]]:
        if self._planned[0] != epoch:
            self._planned = (epoch, self._plan(epoch))
        return self._planned[1]

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._take(state["learning"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._average = state.get("average")
        for name in _COUNTERS:
            setattr(self, name, state[name])

    @torch.no_grad()
    def _take(self, weights: Mapping[str, Tensor]) -> None:
        for name, weight in self.model.learning().items():
            weight.copy_(weights[name])


_COUNTERS = ("step", "epoch", "place", "seconds", "best")


def _base_of(config: VerifierConfig, dtype: torch.dtype) -> Base:
    base = load_base(config.base, config.tuning, seed=config.seed, dtype=dtype)
    if config.question_template is None and config.step_separator is None:
        return base
    rules = InputRules(
        base.rules.question_template if config.question_template is None else config.question_template,
        base.rules.step_separator if config.step_separator is None else config.step_separator,
        base.rules.bos,
    )
    return dataclasses.replace(base, rules=rules)
