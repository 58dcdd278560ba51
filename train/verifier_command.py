"""`arts-lite train verifier`; also `accelerate launch -m arts_lite.train.verifier_command` for many GPUs."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import click
import torch
from accelerate import Accelerator

from arts_lite.train.base import TUNINGS, TuningConfig
from arts_lite.train.commands import pick_device, pick_precision, stopped_by_interrupt
from arts_lite.train.options import data_config, data_options, objective_options, objective_settings
from arts_lite.train.progress import TrainingDisplay
from arts_lite.train.refit import refit_verifier
from arts_lite.train.rundir import replacing
from arts_lite.train.verifier import VerifierTraining
from arts_lite.train.verifier_config import VerifierConfig
from arts_lite.train.verifier_export import export_verifier, template_of
from arts_lite.train.verifier_file import VERIFIER_FILE_TYPES

_DEFAULTS = VerifierConfig("tiny")
_INTERRUPTED = 130


def _default(name: str, text: str = "", **more: Any) -> Any:
    """An option whose default is the configuration's."""
    value = getattr(_DEFAULTS, name)
    return click.option(
        f"--{name.replace('_', '-')}", name, type=type(value), default=value, show_default=True, help=text, **more
    )


@click.command()
@click.option("--trees", multiple=True, required=True, metavar="DIR|FILE", help="Of arts-lite sdf; repeatable.")
@click.option("--base", required=True, metavar="BASE", help="tiny, embedded, a GGUF, or a Hugging Face folder or name.")
@click.option("--out", required=True, metavar="DIR", help="Folder of the run; the same one again goes on with it.")
@objective_options
@click.option("--tuning", type=click.Choice(TUNINGS), default="full", show_default=True, help="What learns.")
@click.option("--lora-rank", type=click.IntRange(1), default=16, show_default=True)
@click.option("--lora-alpha", type=float, default=32.0, show_default=True)
@click.option("--lora-dropout", type=float, default=0.1, show_default=True)
@click.option("--checkpointing", is_flag=True, help="Less memory, a third more time.")
@data_options
@_default("epochs", "Passes over the trees; a part of one is possible.")
@_default("batch_tokens")
@_default("part_tokens", "Of what is computed at once.")
@_default("row_tokens", "Paths share a row up to this length; 0: path by path.")
@_default("learning_rate")
@_default("head_learning_rate")
@_default("warmup", "Share of the run.")
@_default("weight_decay")
@_default("max_norm", "Of gradients.")
@_default("ema_decay", "Of the averaged copy, with --target ema.")
@_default("evals", "Dev measurements over the run.")
@_default("save_every", "Steps.")
@_default("seed")
@click.option("--question-template", metavar="TEXT", help=r"With {question}; \n is a newline.  [default: the base's]")
@click.option("--step-separator", metavar="TEXT", help=r"Closes each step; \n is a newline.  [default: the base's]")
@click.option("--export", metavar="FILE.gguf", help="Copy the finished verifier there.")
@click.option("--template", metavar="FILE.gguf", help="The base's own GGUF, where the base is none.")
@click.option("--file-type", type=click.Choice(VERIFIER_FILE_TYPES), help="[default: F16 for tiny models, else Q8_0]")
@click.option("--refit", is_flag=True, help="Fit the head again on the finished file's own hidden states.")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16"]), default="auto", show_default=True)
@click.option("--device", default="auto", show_default=True, metavar="cpu|cuda|auto")
@click.option("--threads", type=click.IntRange(1), help="CPU threads.  [default: torch's choice]")
@click.option("--quiet", is_flag=True, help="Nothing on stderr but errors.")
@click.pass_context
def verifier(ctx: click.Context, /, **options: Any) -> None:
    """Train a verifier on trees and export it to GGUF.

    Ends with DIR/verifier.gguf, of the weights with the best dev accuracy. Ctrl-C keeps what has been learnt; run the
    same command again to go on.
    """
    if options["threads"] is not None:
        torch.set_num_threads(options["threads"])
    if options["export"] is not None and not Path(options["export"]).parent.is_dir():
        raise click.UsageError(
            f"there is no folder {str(Path(options['export']).parent)!r} for --export; make it first"
        )
    device = pick_device(options["device"])
    options["precision"] = pick_precision(options["precision"], device)
    try:
        config = _config(options)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    accelerator = Accelerator(cpu=device.type == "cpu")
    quiet = options["quiet"] or not accelerator.is_main_process
    training = VerifierTraining(config, options["trees"], Path(options["out"]), accelerator=accelerator)
    template = None if options["template"] is None else Path(options["template"])
    template_of(training, template)  # better refused now than in two hours
    if options["refit"] and not training.data.dev:
        raise click.UsageError("--refit is checked on held-out problems, but there are none; raise --dev-share")
    display = TrainingDisplay(training.num_steps, "steps", is_quiet=quiet)
    training.tell = display.show
    before = f"; {training.step:,} steps are done" if training.step else ""
    display.say(f"{training.data.summary()}{before}")
    with display, stopped_by_interrupt(training.stop):
        is_done = training.train()
    if not is_done:
        display.say(f"interrupted after {training.step:,} steps; run the same command to go on")
        ctx.exit(_INTERRUPTED)
    if accelerator.is_main_process and not _finish(training, options, display):
        ctx.exit(_INTERRUPTED)


def _finish(training: VerifierTraining, options: dict[str, Any], display: TrainingDisplay) -> bool:
    """Export; False: Ctrl-C ended the refit."""
    training.load_best()
    path = Path(options["out"]) / "verifier.gguf"
    template = None if options["template"] is None else Path(options["template"])
    made = export_verifier(training, path, template=template, file_type=options["file_type"])
    if options["refit"] and not _refit(training, path, display):
        return False
    if options["export"] is not None:
        with replacing(Path(options["export"])) as temporary:
            shutil.copyfile(path, temporary)
    dev = made.metrics["dev"]
    told = {name: dev[name] for name in ("bon_accuracy", "leaf_auc", "prefix_auc", "sibling_accuracy") if name in dev}
    told["log_prob_weight"] = made.log_prob_weight
    display.say(f"{path}: {training.step:,} steps, {training.seconds:,.0f} s; dev {json.dumps(told)}")
    return True


def _refit(training: VerifierTraining, path: Path, display: TrainingDisplay) -> bool:
    """Fit the file's head again, its drift measured against torch; False: Ctrl-C ended it."""
    rewards, stopped = training.data.rewards, list[bool]()
    reference = [training.objective.log_flow(values, rewards) for values in training.dev_values()]
    with stopped_by_interrupt(lambda: stopped.append(True)):
        found = refit_verifier(
            path,
            path,
            training.data,
            reference=reference,
            states=training.run.path / "states",
            tell=lambda done, total: (
                display.say(f"hidden states: {done:,} of {total:,} parts") if done == total else None
            ),
            shall_stop=lambda: bool(stopped),
        )
    display.say("interrupted; run the same command to go on" if found is None else found.summary())
    return found is not None


def _config(options: dict[str, Any]) -> VerifierConfig:
    """Make the run's configuration. Raises ValueError: a value is out of range, or the objective has no such option."""
    names = {field.name for field in dataclasses.fields(TuningConfig)}
    tuning = TuningConfig(**{name: options[name] for name in names})
    texts = {name: options[name] for name in ("question_template", "step_separator") if options[name] is not None}
    plain = {field.name for field in dataclasses.fields(VerifierConfig)} & set(options)
    return VerifierConfig(
        options=objective_settings(options),
        data=data_config(options),
        tuning=tuning,
        **{name: options[name] for name in plain - {"question_template", "step_separator", "tuning"}},
        **{name: text.replace("\\n", "\n") for name, text in texts.items()},
    )


if __name__ == "__main__":
    verifier()
