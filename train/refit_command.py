"""`arts-lite train refit`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import torch

from arts_lite.engine.gguf import read_header
from arts_lite.train.commands import stopped_by_interrupt
from arts_lite.train.dataset import TreeDataset, read_dataset
from arts_lite.train.options import data_config, data_options
from arts_lite.train.progress import TrainingDisplay
from arts_lite.train.refit import LogFlows, context_limit, refit_verifier, states_of
from arts_lite.verifier.format import read_verifier

_INTERRUPTED = 130


@click.command()
@click.option("--verifier", required=True, metavar="FILE.gguf", help="To fit again.")
@click.option("--trees", multiple=True, required=True, metavar="DIR|FILE", help="Of arts-lite sdf; repeatable.")
@click.option("--out", required=True, metavar="FILE.gguf", help="The new file; may be the old one.")
@click.option("--reference", metavar="FILE.gguf", help="The same verifier unquantised: what drift is measured against.")
@click.option("--states", metavar="DIR", help="Keeps the hidden states, so that an interrupted run goes on.")
@data_options
@click.option("--gpu-layers", type=click.IntRange(-1), default=0, show_default=True, help="-1: all.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads.  [default: physical cores]")
@click.option("--quiet", is_flag=True, help="Nothing on stderr but errors.")
@click.pass_context
def refit(ctx: click.Context, /, **options: Any) -> None:
    """Fit a verifier's head again on the hidden states that llama.cpp makes of the quantised file.

    What is worse on the held-out problems is not kept: then the new file has the old head.
    """
    if options["threads"] is not None:
        torch.set_num_threads(options["threads"])
    path, out = Path(options["verifier"]), Path(options["out"])
    if not out.parent.is_dir():
        raise click.UsageError(f"there is no folder {str(out.parent)!r} for --out; make it first")
    limit = context_limit(path)
    try:
        data = read_dataset([str(one) for one in options["trees"]], data_config(options), limit=limit)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    engine = {name: options[name] for name in ("gpu_layers", "threads") if options[name] is not None}
    states = None if options["states"] is None else Path(options["states"])
    display = TrainingDisplay(1, "parts", is_quiet=options["quiet"])
    display.say(data.summary())
    stopped: list[bool] = []
    with stopped_by_interrupt(lambda: stopped.append(True)):
        reference = None
        if options["reference"] is not None:
            reference = _log_flows(Path(options["reference"]), data, states, lambda: bool(stopped), engine)
        found = None
        if not stopped:
            found = refit_verifier(
                path, out, data, reference=reference, states=states, shall_stop=lambda: bool(stopped), **engine
            )
    if found is None:
        display.say("interrupted; run the same command again" + (" to go on" if states is not None else ""))
        ctx.exit(_INTERRUPTED)
    display.say(f"{out}: {found.summary()}")


def _log_flows(path: Path, data: TreeDataset, states: Path | None, shall_stop: Any, engine: dict[str, Any]) -> LogFlows:
    """Read the dev trees with another file; [] if it was stopped."""
    verifier = read_verifier(read_header(path))
    found = states_of(path, verifier, data.dev, states, shall_stop=shall_stop, **engine)
    return [] if found is None else [verifier.log_flow(verifier.head(rows)) for rows in found]
