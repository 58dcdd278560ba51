"""Train a tiny proposer from scratch on generated traces."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from arts_lite.train.export import FILE_TYPES, write_gguf
from arts_lite.train.mixture import MIXTURE, Part, describe_mixture, mixture_samples
from arts_lite.train.packing import IGNORED, Packed, attention_mask, pack
from arts_lite.train.rundir import RunDirectory
from arts_lite.train.schedule import warmup_then_linear
from arts_lite.train.transformer import Shape, Transformer

_NUM_DEV_BATCHES = 4


@dataclass(frozen=True, slots=True)
class ProposerConfig:
    """One training run.

    Attributes:
        shape: of the model.
        num_samples: traces to learn, each seen once, >= 1.
        num_rows, row_length: of a batch, into which samples are packed.
        learning_rate: AdamW's, at its peak; reached after the first `warmup` of the run, then falling to 0.
        weight_decay: of matrices.
        max_norm: gradients are scaled down to it.
        eval_every, save_every: in steps.
        precision: "fp32" or "bf16" (of activations; weights and their updates stay float32).
        file_type: of the exported file: F32, F16 or Q8_0.
        seed: of the weights and the samples.
        mixture: what the samples are drawn from.

    Raises:
        ValueError: a value is outside its range.
    """

    shape: Shape = dataclasses.field(default_factory=Shape)
    num_samples: int = 600_000
    num_rows: int = 13
    row_length: int = 320
    learning_rate: float = 2e-3
    warmup: float = 0.02
    weight_decay: float = 0.05
    max_norm: float = 1.0
    eval_every: int = 250
    save_every: int = 250
    precision: str = "fp32"
    file_type: str = "F16"
    seed: int = 0
    mixture: tuple[Part, ...] = MIXTURE

    def __post_init__(self) -> None:
        for name in ("num_samples", "num_rows", "eval_every", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be >= 1")
        if not 64 <= self.row_length <= self.shape.max_positions:
            raise ValueError(
                f"row_length is {self.row_length}, but must be in [64, {self.shape.max_positions}] (max_positions)"
            )
        if not self.learning_rate > 0 or not 0 <= self.warmup < 1 or self.seed < 0:
            raise ValueError(
                f"learning_rate {self.learning_rate} must be > 0, warmup {self.warmup} in [0, 1), seed {self.seed} >= 0"
            )
        if self.precision not in ("fp32", "bf16"):
            raise ValueError(f"precision is {self.precision!r}, but must be fp32 or bf16")
        if self.file_type not in FILE_TYPES:
            raise ValueError(f"file_type is {self.file_type!r}, but must be one of {', '.join(FILE_TYPES)}")

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the mixture of samples included."""
        return {"kind": "proposer", **dataclasses.asdict(self), "mixture": describe_mixture(self.mixture)}


class ProposerTraining:
    """One run: resumes from its folder's checkpoint, ends with a GGUF there.

    Args:
        folder: config.json, metrics.jsonl, checkpoint.pt, and at the end proposer.gguf.
        tell: called after each step with (samples done, one line of metrics).

    Raises:
        TrainingError: the folder holds another run or a damaged checkpoint.
    """

    def __init__(
        self,
        config: ProposerConfig,
        folder: Path,
        device: torch.device,
        tell: Callable[[int, str], None] = lambda _done, _text: None,
    ) -> None:
        self.config = config
        self.device = device
        self.path = folder / "proposer.gguf"
        self._tell = tell
        self._run = RunDirectory(folder, config.to_dict())
        torch.manual_seed(config.seed)
        self.model = Transformer(config.shape).to(device)
        matrices = [weight for weight in self.model.parameters() if weight.ndim > 1]
        vectors = [weight for weight in self.model.parameters() if weight.ndim <= 1]
        self._optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
            lr=config.learning_rate,
            betas=(0.9, 0.95),
            fused=True,
        )
        self.step = self.num_samples = self.num_tokens = self.num_left_out = 0
        self.seconds = 0.0
        self.is_stopped = False
        if (state := self._run.load(device)) is not None:
            self._restore(state)

    def stop(self) -> None:
        """End after the step at work, with a checkpoint. Callable from a signal handler."""
        self.is_stopped = True

    def train(self) -> Path | None:
        """Go on to the end and export; None: it was stopped before. Raises TrainingError: a file cannot be written."""
        config = self.config
        while self.num_samples < config.num_samples:
            if self.is_stopped:
                self.save()
                return None
            start = time.monotonic()
            loss = self._learn()
            self.seconds += time.monotonic() - start
            if self.step % config.eval_every == 0:
                self._evaluate(loss)
            if self.step % config.save_every == 0:
                self.save()
            self._tell(self.num_samples, f"loss {loss:.4f}")
        if not any(values["step"] == self.step and values["loss"] is None for values in self._run.metrics()):
            self._evaluate(loss=None)  # not a second time, where only the file was missing
        self.save()
        write_gguf(self.path, self.model, self.metadata(), file_type=config.file_type)
        return self.path

    def save(self) -> None:
        """Write the checkpoint."""
        self._run.save(
            {
                "model": self.model.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                **{name: getattr(self, name) for name in _COUNTERS},
            }
        )

    def metadata(self) -> Mapping[str, Any]:
        """The file's own keys."""
        return {
            "general.name": "ARTS-lite tiny proposer",
            "general.license": "mit",
            "general.description": "Writes Countdown and integer arithmetic traces, one step a line",
            "arts.tasks": ["countdown", "arithmetic"],
            "arts.sampling.temperature": 1.0,
            "arts.sampling.top_p": 1.0,
            "arts.step.delimiters": "\n",
            "arts.training.num_samples": self.num_samples,
            "arts.training.num_tokens": self.num_tokens,
            "arts.training.seed": self.config.seed,
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        for name in _COUNTERS:
            setattr(self, name, state[name])

    @cached_property
    def _dev(self) -> list[Packed]:
        """What the dev loss is measured on; made when it is needed, since dev problems are rare and so slow to draw."""
        return [self._batch(step, "dev") for step in range(_NUM_DEV_BATCHES)]

    def _batch(self, step: int, split: str) -> Packed:
        config = self.config
        samples = mixture_samples(config.seed, step, split=split, parts=config.mixture)
        return pack(samples, config.num_rows, config.row_length)

    def _learn(self) -> float:
        """Take one step; returns its loss in nats per token."""
        config = self.config
        batch = self._batch(self.step, "train")
        factor = warmup_then_linear((self.num_samples + 1) / config.num_samples, warmup=config.warmup)
        for group in self._optimizer.param_groups:
            group["lr"] = config.learning_rate * factor
        loss = self._loss(batch)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.max_norm)
        self._optimizer.step()
        self.step += 1
        self.num_samples += batch.num_samples
        self.num_tokens += int((batch.samples >= 0).sum())
        self.num_left_out += batch.num_left_out
        return float(loss.detach())

    def _loss(self, batch: Packed) -> Tensor:
        device = self.device
        mask = torch.from_numpy(attention_mask(batch.samples)).to(device)
        targets = torch.from_numpy(batch.targets).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            hidden = self.model.hidden(torch.from_numpy(batch.tokens).to(device), mask=mask)
            logits = self.model.logits(hidden[targets != IGNORED])
        return F.cross_entropy(logits.float(), targets[targets != IGNORED])

    @torch.no_grad()
    def _evaluate(self, loss: float | None) -> None:
        dev = sum(float(self._loss(batch)) for batch in self._dev) / len(self._dev)
        self._run.log(
            step=self.step,
            num_samples=self.num_samples,
            num_tokens=self.num_tokens,
            loss=loss,
            dev_loss=dev,
            num_left_out=self.num_left_out,
            learning_rate=self._optimizer.param_groups[0]["lr"],
            seconds=round(self.seconds, 1),
        )


_COUNTERS = ("step", "num_samples", "num_tokens", "num_left_out", "seconds")
