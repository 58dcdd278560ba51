"""What TRL is told and what it tells back. Imported when a run begins: TRL takes seconds to load."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from datasets import Dataset, disable_progress_bars
from transformers import PrinterCallback, TrainerCallback
from transformers.utils.logging import disable_progress_bar
from trl import GRPOConfig, GRPOTrainer

from arts_lite.train.grpo import GrpoConfig
from arts_lite.train.policy import Policy


class Run(Protocol):
    """What the trainer needs of a run."""

    config: GrpoConfig
    policy: Policy
    is_stopped: bool

    def told(self, step: int, logs: Mapping[str, Any]) -> None:
        """Take in metrics."""

    def probe(self, step: int) -> None:
        """Probe the bank."""


def make_trainer(
    run: Run,
    folder: Path,
    reward: Callable[..., list[float]],
    rows: Sequence[Mapping[str, Any]],
    dev: Sequence[Mapping[str, Any]],
    *,
    is_fresh: bool,
) -> GRPOTrainer:
    """Make the trainer.

    Args:
        folder: of checkpoints.
        rows: "prompt" and "question", the number of it; of all steps, in their order.
        dev: the same of the dev metric.
        is_fresh: whether the run begins, and the dev metric is to be measured before the first step.
    """
    disable_progress_bars()
    disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        trainer = _Trainer(
            run.policy.model,
            reward,
            _settings(run, folder, has_dev=bool(dev), is_fresh=is_fresh),
            Dataset.from_list(list(rows)),
            Dataset.from_list(list(dev)) if dev else None,
            run.policy.tokenizer,
            callbacks=[_Watch(run, has_dev=bool(dev))],
            optimizers=(make_optimizer(run.policy.model, run.config), None),
        )
    trainer.remove_callback(PrinterCallback)
    return trainer


def make_optimizer(model: torch.nn.Module, config: GrpoConfig) -> torch.optim.Optimizer:
    """AdamW without decay; the last norm learns at a rate of its own."""
    body: list[torch.nn.Parameter] = []
    last: list[torch.nn.Parameter] = []
    for name, weight in model.named_parameters():
        if weight.requires_grad:  # the last norm is a vector that stands in no numbered layer
            is_last_norm = weight.ndim == 1 and not any(part.isdigit() for part in name.split("."))
            (last if is_last_norm else body).append(weight)
    rates = (config.learning_rate, config.norm_learning_rate or config.learning_rate)
    groups = [{"params": part, "lr": rate} for part, rate in zip((body, last), rates, strict=True) if part]
    return torch.optim.AdamW(groups, weight_decay=0.0)


class _Trainer(GRPOTrainer):
    """Spares the passes through completions that nothing is learnt from."""

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: Mapping[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> torch.Tensor:
        """Leave out completions whose advantage is 0, where neither KL term nor normaliser counts them.

        One is always kept: the optimiser has to see a gradient of zeros, not none.
        """
        advantages = inputs["advantages"]
        if self.model.training and self.beta == 0 and self.loss_type == "dapo" and not advantages.all():
            kept = advantages != 0
            kept[0] |= ~kept.any()
            rows = kept.nonzero().ravel()
            inputs = {name: value[rows] if _has_rows(value, len(kept)) else value for name, value in inputs.items()}
        loss: torch.Tensor = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        return loss


def _has_rows(value: Any, num_rows: int) -> bool:
    return isinstance(value, torch.Tensor) and value.ndim > 0 and len(value) == num_rows


class _Watch(TrainerCallback):
    """Passes metrics on, probes, and stops."""

    def __init__(self, run: Run, *, has_dev: bool) -> None:
        self._run = run
        self._has_dev = has_dev

    def on_log(self, _args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        """Pass metrics on; stop with a checkpoint where it was asked for."""
        self._run.told(state.global_step, logs or {})
        if self._run.is_stopped:  # each step is logged, before it is saved
            control.should_save = control.should_training_stop = True

    def on_step_end(self, _args: Any, state: Any, control: Any, **_: Any) -> None:
        """Probe where it is time, always after the last step; that one is measured too."""
        step = state.global_step
        if step % self._run.config.probe_every == 0 or step == self._run.config.num_steps:
            self._run.probe(step)
        if step == self._run.config.num_steps:
            control.should_evaluate = self._has_dev


def _settings(run: Run, folder: Path, *, has_dev: bool, is_fresh: bool) -> GRPOConfig:
    """Say all that matters, so that another version's defaults change nothing."""
    config = run.config
    on_cpu = run.policy.model.device.type == "cpu"
    return GRPOConfig(
        output_dir=str(folder),
        per_device_train_batch_size=config.rows_at_once,
        gradient_accumulation_steps=config.num_rows // config.rows_at_once,
        num_generations=config.num_generations,
        num_iterations=1,
        shuffle_dataset=False,
        max_completion_length=config.max_tokens,
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        beta=config.beta,
        epsilon=0.2,
        loss_type=config.loss_type,
        scale_rewards="group",
        mask_truncated_completions=False,
        learning_rate=config.learning_rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=config.warmup_steps,
        max_steps=config.num_steps,
        max_grad_norm=config.max_norm,
        weight_decay=0.0,
        bf16=config.precision == "bf16",
        gradient_checkpointing=False,
        disable_dropout=True,
        logging_steps=1,
        logging_first_step=True,
        eval_strategy="steps" if has_dev else "no",
        eval_steps=config.dev_every,
        eval_on_start=has_dev and is_fresh,
        per_device_eval_batch_size=config.num_rows,
        num_generations_eval=config.num_generations,
        save_strategy="steps",
        save_steps=config.save_every,
        save_total_limit=2,
        seed=config.seed,
        use_cpu=on_cpu,
        dataloader_pin_memory=not on_cpu,
        report_to=[],
        disable_tqdm=True,
    )
