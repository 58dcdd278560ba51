"""Train a verifier on trees: one loop for every objective."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from arts_lite.errors import TrainingError
from arts_lite.train.batches import TreeBatch, batch_plan
from arts_lite.train.dataset import TreeDataset, read_dataset
from arts_lite.train.encoding import EncodedTree, encode_tree
from arts_lite.train.metrics import dev_metrics
from arts_lite.train.objectives import Objective, make_objective
from arts_lite.train.rundir import RunDirectory
from arts_lite.train.trees import ContextLimit, TrainingTree
from arts_lite.train.values import ValueModel, parts_of, values_of
from arts_lite.train.verifier_config import VerifierConfig, base_of, make_optimizer, set_rates

BEST = "best.pt"


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
        self.base = base_of(config, self._dtype)
        self.data = self._read(trees)
        self.objective: Objective = make_objective(config.objective, config.options)
        self.model = ValueModel(self.base, self.objective.initial_bias(self.data)).to(self.device)
        self._optimizer = make_optimizer(self.model, config)
        self._wrapped, self._optimizer = self._accelerator.prepare(self.model, self._optimizer)
        self._average = self._learnt(copied=True) if self.objective.needs_average else None
        self.step, self.epoch, self.place, self.seconds, self.best = 0, 0, 0, 0.0, -1.0
        self._planned: tuple[int, list[list[int]]] = (-1, [])
        self.is_stopped = False
        told = {**config.to_dict(), "trees": self.data.to_dict(), "num_processes": self._accelerator.num_processes}
        told["trees_digest"] = self.data.digest()
        with self._accelerator.main_process_first():  # it alone makes the folder and puts it in order
            self.run = RunDirectory(folder, told)
            state = self.run.load(self.device, is_writer=self._accelerator.is_main_process)
        if state is not None:
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
            if self._shall_stop():
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
        """Write the checkpoint. Raises TrainingError: it cannot be written, or the weights are not finite."""
        if not self._accelerator.is_main_process:
            return
        learnt = self._learnt()
        if not all(bool(torch.isfinite(weight).all()) for weight in learnt.values()):
            raise self._diverged("a weight is not finite")
        state = {
            "learning": learnt,
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
            lambda text, delimiters: len(rules.step_tokens(text, tokenise, delimiters)),
        )
        try:
            return read_dataset([str(one) for one in trees], self.config.data, limit=limit)
        except ValueError as error:  # a text without a token
            raise TrainingError(f"the trees cannot be read with these rules of the input: {error}") from error

    @cached_property
    def _encoded(self) -> list[EncodedTree]:
        return [self._encode(tree) for tree in self.data.train]

    @cached_property
    def _encoded_dev(self) -> list[EncodedTree]:
        return [self._encode(tree) for tree in self.data.dev]

    def _encode(self, tree: TrainingTree) -> EncodedTree:
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

    def _learn(self) -> tuple[float, dict[str, float]]:
        """Take one step on one batch of trees."""
        config = self.config
        if self.place == len(self._plan_of(self.epoch)):  # epochs may differ by a batch: they are cut by size
            self.epoch, self.place = self.epoch + 1, 0
        trees = [self._encoded[number] for number in self._plan_of(self.epoch)[self.place]]
        self.place += 1
        torch.manual_seed(config.seed * 1_000_003 + self.step * 64 + self._accelerator.process_index)  # of dropout
        set_rates(self._optimizer, (self.step + 1) / (self.num_steps + 1), warmup=config.warmup)
        self._optimizer.zero_grad(set_to_none=True)
        self._wrapped.train()
        loss, parts = self._backward(trees)
        norm = self._accelerator.clip_grad_norm_(list(self.model.learning().values()), config.max_norm)
        if not np.isfinite(loss) or not np.isfinite(float(norm)):
            raise self._diverged(f"the loss is {loss} and its gradient's norm {float(norm)}")
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
        parts = list(parts_of(trees, self.config.part_tokens))
        for number, (part, rows) in enumerate(parts):
            batch = TreeBatch.of([trees[one].tree for one in part], self.data.rewards).to(self.device)
            targets = self._targets([trees[one] for one in part])  # changes weights in place: before the graph is made
            # processes may have different numbers of parts, but must meet equally often
            is_last = number == len(parts) - 1
            with nullcontext() if is_last else self._accelerator.no_sync(self._wrapped):
                with torch.autocast(self.device.type, self._dtype, enabled=self._dtype != torch.float32):
                    values = self._wrapped(rows)
                loss, found = self.objective.loss(values, batch, targets)
                share = len(part) / len(trees)
                self._accelerator.backward(loss * share)
            total += float(loss.detach()) * share
            for name, value in found.items():
                shares[name] = shares.get(name, 0.0) + float(value) * share
        return total, shares

    def _targets(self, trees: list[EncodedTree]) -> Tensor | None:
        """Values of the averaged copy; None: the objective has no use for them."""
        if self._average is None:
            return None
        kept = self._learnt(copied=True)
        self._take(self._average)
        values = self._values(trees)
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
            values = self.dev_values()
            if not all(np.isfinite(one).all() for one in values):
                raise self._diverged("a value of a held-out tree is not finite")
            found = dev_metrics(self.data.dev, values, self.objective, self.data.rewards)
            # of equal ones the later: where the last line tells, all are equal, but prefixes go on being learnt;
            # nan, and so never, where no dev tree has traces enough: then the last weights stay
            if found["bon_accuracy"] >= self.best:
                self.best = found["bon_accuracy"]
                self.run.save_state(BEST, {"learning": self._learnt(), "step": self.step})
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

    def _learnt(self, *, copied: bool = False) -> dict[str, Tensor]:
        """Weights that learn, by name, as they are."""
        learning = self.model.learning().items()
        return {name: weight.detach().clone() if copied else weight.detach() for name, weight in learning}

    def _shall_stop(self) -> bool:
        """Whether any process was asked to stop: all must do so after the same step."""
        if self._accelerator.num_processes == 1:
            return self.is_stopped
        asked = torch.tensor(float(self.is_stopped), device=self.device)
        return bool(self._accelerator.reduce(asked, "sum") > 0)

    def _diverged(self, what: str) -> TrainingError:
        return TrainingError(
            f"{what} at step {self.step}: the run has diverged. The last checkpoint is as it was; train in another "
            "folder with a lower learning rate"
        )

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
