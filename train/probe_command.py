"""`arts-lite train probe`."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import torch

from arts_lite.engine.hub import resolve
from arts_lite.proposer import embedded_proposer
from arts_lite.train.commands import stopped_by_interrupt
from arts_lite.train.head_fit import FitConfig
from arts_lite.train.options import data_config, data_options, objective_options, objective_settings
from arts_lite.train.probe import PROBE, ProbeConfig, ProbeTraining
from arts_lite.train.progress import TrainingDisplay
from arts_lite.train.rundir import replacing

_DEFAULTS = FitConfig()
_INTERRUPTED = 130
_TOLD = ("bon_accuracy", "leaf_auc", "prefix_auc", "sibling_accuracy", "loss_dev")


@click.command()
@click.option("--trees", multiple=True, required=True, metavar="DIR|FILE", help="Of this proposer; repeatable.")
@click.option("--proposer", metavar="FILE|hf:OWNER/REPO[:FILE]", help="The GGUF that wrote them.  [default: embedded]")
@click.option("--out", required=True, metavar="DIR", help="Folder of the run; the same one again goes on with it.")
@click.option("--states", metavar="DIR", help="Folder of hidden states, shared by runs.  [default: OUT/states]")
@objective_options
@data_options
@click.option("--epochs", type=int, default=_DEFAULTS.epochs, show_default=True)
@click.option("--batch-nodes", type=int, default=_DEFAULTS.batch_nodes, show_default=True)
@click.option("--learning-rate", type=float, default=_DEFAULTS.learning_rate, show_default=True, help="Adam's peak.")
@click.option("--ridge", type=float, default=_DEFAULTS.ridge, show_default=True, help="Of standardised weights.")
@click.option("--seed", type=int, default=_DEFAULTS.seed, show_default=True)
@click.option("--prompt-template", metavar="FILE", help="That the trees were written with, if with any.")
@click.option("--gpu-layers", type=click.IntRange(-1), default=0, show_default=True, help="-1: all.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads.  [default: physical cores]")
@click.option("--export", metavar="FILE.gguf", help="Copy the finished probe there.")
@click.option("--quiet", is_flag=True, help="Nothing on stderr but errors.")
@click.pass_context
def probe(ctx: click.Context, /, **options: Any) -> None:
    """Train a linear probe on a proposer's own hidden states: values at every step for a dot product.

    The engine reads the states from the proposer's GGUF (resumable), then the head is fitted in seconds. Ends with
    DIR/probe.gguf, for `arts-lite solve --probe`.
    """
    if options["export"] is not None and not Path(options["export"]).parent.is_dir():
        raise click.UsageError(
            f"there is no folder {str(Path(options['export']).parent)!r} for --export; make it first"
        )
    if options["threads"] is not None:
        torch.set_num_threads(options["threads"])
    try:
        config = probe_config(options)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    engine = {name: options[name] for name in ("gpu_layers", "threads") if options[name] is not None}
    proposer = resolve(options["proposer"]) if options["proposer"] else embedded_proposer()
    states = None if options["states"] is None else Path(options["states"])
    with ProbeTraining(
        config,
        options["trees"],
        Path(options["out"]),
        proposer,
        states=states,
        prompt_template=options["prompt_template"],
        **engine,
    ) as training:
        if not _read(training, is_quiet=options["quiet"]):
            ctx.exit(_INTERRUPTED)
        display = TrainingDisplay(config.fit.epochs, "epochs", is_quiet=options["quiet"])
        with display:
            made = training.fit(tell=display.show)
    path = Path(options["out"]) / PROBE
    if options["export"] is not None:
        with replacing(Path(options["export"])) as temporary:
            shutil.copyfile(path, temporary)
    dev = made.metrics["dev"]
    told = {name: round(dev[name], 4) for name in _TOLD if name in dev}
    display.say(f"{path}: dev {json.dumps({**told, 'log_prob_weight': made.log_prob_weight})}")


def _read(training: ProbeTraining, *, is_quiet: bool) -> bool:
    """Read the states; False: Ctrl-C ended it."""
    display = TrainingDisplay(training.states.num_parts, "parts", is_quiet=is_quiet)
    left = training.states.num_left
    told = f"; {left:,} of {training.states.num_parts:,} parts of the states are to be read" if left else ""
    display.say(f"{training.data.summary()}{told}")
    stopped: list[bool] = []
    with display, stopped_by_interrupt(lambda: stopped.append(True)):
        is_done = training.read(
            tell=lambda done: display.show(done, f"{training.num_tokens:,} tokens"), shall_stop=lambda: bool(stopped)
        )
    if not is_done:
        display.say("interrupted; run the same command to go on")
    return is_done


def probe_config(options: Mapping[str, Any]) -> ProbeConfig:
    """Make the run's configuration. Raises ValueError: a value is out of range, or the objective has no such option."""
    names = {field.name for field in dataclasses.fields(FitConfig)} & set(options)
    return ProbeConfig(
        options["objective"],
        objective_settings(options),
        data_config(options),
        FitConfig(**{name: options[name] for name in names}),
    )
