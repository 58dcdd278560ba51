"""The commands of `arts-lite train`."""

from __future__ import annotations

import dataclasses
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import click
import torch

from arts_lite.train.export import FILE_TYPES
from arts_lite.train.progress import TrainingDisplay
from arts_lite.train.proposer import ProposerConfig, ProposerTraining
from arts_lite.train.rundir import replacing
from arts_lite.train.transformer import Shape

_DEFAULTS = ProposerConfig()
_INTERRUPTED = 130


def pick_device(name: str) -> torch.device:
    """Choose where to compute. Raises UsageError: there is no such device here."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise click.UsageError(f"device {name!r} cannot be used here ({reason}); try --device cpu") from error
    return device


def pick_precision(name: str, device: torch.device) -> str:
    """Choose a number format; "auto" takes bf16 where the hardware computes in it."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    supports = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return "bf16" if device.type == "cpu" and supports is not None and supports() else "fp32"


@contextmanager
def stopped_by_interrupt(stop: Callable[[], None]) -> Iterator[None]:
    """Let the first Ctrl-C end the run at its next checkpoint, and a second one at once."""

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stop()

    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@click.command()
@click.option("--out", metavar="DIR", required=True, help="Folder of the run; the same one again goes on with it.")
@click.option("--samples", "num_samples", type=click.IntRange(1), default=_DEFAULTS.num_samples, show_default=True)
@click.option("--dim", type=click.IntRange(32), default=_DEFAULTS.shape.dim, show_default=True, help="Width.")
@click.option("--layers", "num_layers", type=click.IntRange(1), default=_DEFAULTS.shape.num_layers, show_default=True)
@click.option("--heads", "num_heads", type=click.IntRange(1), default=_DEFAULTS.shape.num_heads, show_default=True)
@click.option(
    "--kv-heads", "num_kv_heads", type=click.IntRange(1), default=_DEFAULTS.shape.num_kv_heads, show_default=True
)
@click.option("--ff-dim", type=click.IntRange(32), default=_DEFAULTS.shape.ff_dim, show_default=True)
@click.option(
    "--learning-rate", type=click.FloatRange(0, min_open=True), default=_DEFAULTS.learning_rate, show_default=True
)
@click.option("--num-rows", type=click.IntRange(1), default=_DEFAULTS.num_rows, show_default=True, help="Of a batch.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--file-type", type=click.Choice(list(FILE_TYPES)), default=_DEFAULTS.file_type, show_default=True)
@click.option("--save-every", type=click.IntRange(1), default=_DEFAULTS.save_every, show_default=True, help="Steps.")
@click.option("--export", metavar="FILE.gguf", help="Copy the finished model there.")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16"]), default="auto", show_default=True)
@click.option("--device", default="auto", show_default=True, metavar="cpu|cuda|auto")
@click.option("--threads", type=click.IntRange(1), help="CPU threads.  [default: torch's choice]")
@click.option("--quiet", is_flag=True, help="Nothing on stderr but errors.")
@click.pass_context
def proposer(ctx: click.Context, /, out: str, export: str | None, **options: Any) -> None:
    """Train a tiny proposer from scratch on generated Countdown and arithmetic traces.

    Ends with DIR/proposer.gguf. Ctrl-C keeps what has been learnt; run the same command again to go on.
    """
    if options["threads"] is not None:
        torch.set_num_threads(options["threads"])
    if export is not None and not Path(export).parent.is_dir():  # better told now than in two hours
        raise click.UsageError(f"there is no folder {str(Path(export).parent)!r} for --export; make it first")
    device = pick_device(options["device"])
    options["precision"] = pick_precision(options["precision"], device)
    names = [field.name for field in dataclasses.fields(Shape)]
    try:
        shape = Shape(**{name: value for name, value in options.items() if name in names})
        settings = {field.name for field in dataclasses.fields(ProposerConfig)} & set(options)
        config = ProposerConfig(shape=shape, **{name: options[name] for name in settings})
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    display = TrainingDisplay(config.num_samples, "samples", is_quiet=options["quiet"])
    training = ProposerTraining(config, Path(out), device, display.show)
    num_weights = sum(weight.numel() for weight in training.model.parameters())
    before = f"; {training.num_samples:,} samples are done" if training.num_samples else ""
    display.say(f"{num_weights:,} parameters on {device}, {config.precision}{before}")
    with display, stopped_by_interrupt(training.stop):
        path = training.train()
    if path is None:
        display.say(f"interrupted after {training.num_samples:,} samples; run the same command to go on")
        ctx.exit(_INTERRUPTED)
    if export is not None:
        with replacing(Path(export)) as temporary:
            shutil.copyfile(path, temporary)
    display.say(f"{path}: {training.num_samples:,} samples, {training.num_tokens:,} tokens, {training.seconds:,.0f} s")
