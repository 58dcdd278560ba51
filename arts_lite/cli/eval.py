"""`arts-lite eval`: methods compared on one pool of samples."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from arts_lite.cli.commands import INTERRUPTED, Failure
from arts_lite.cli.eval_options import eval_options
from arts_lite.cli.eval_table import print_results
from arts_lite.cli.eval_work import EvalWork
from arts_lite.cli.interrupt import InThread, on_interrupt
from arts_lite.cli.stages import StageDisplay


@click.group(invoke_without_command=True)
@eval_options
@click.pass_context
def evaluate(ctx: click.Context, /, **options: Any) -> None:
    """Compare ways to choose an answer: on one pool of samples per problem, and strategies that are searched live.

    Everything is kept in --out. Run the same command again to go on after an interruption; with a further --verifier
    only this one is read. Results go to stdout and to results.json.
    """
    if ctx.invoked_subcommand is not None:
        return
    for name, why in (("task", "--task NAME"), ("out", "--out DIR")):
        if options[name] is None:
            raise click.UsageError(f"missing {why}.")
    work = _told_as_usage(lambda: EvalWork(options))
    with ExitStack() as stack:
        display = stack.enter_context(StageDisplay(is_quiet=options["quiet"]))
        display.say(f"{len(work.problems)} problems; loading {options['proposer'] or 'the embedded proposer'}")
        events = stack.enter_context(InThread(work.events, work.stop))
        stack.enter_context(on_interrupt(work.interrupt))
        for now in events:
            display.show(now.stage, now.num_done, now.num_problems, now.note)
    if work.was_interrupted:
        ctx.exit(INTERRUPTED)
    if work.results is not None:
        _print(work.results, as_json=options["as_json"])


@evaluate.command()
@click.argument("folder", metavar="DIR")
@click.option("--json", "as_json", is_flag=True, help="Print results.json instead of tables.")
@click.option("--all", "shows_all", is_flag=True, help="With every aggregation of a verifier's steps.")
@click.option("--reference", "references", metavar="LABEL", multiple=True, help="Compare with this method too.")
def results(folder: str, as_json: bool, shows_all: bool, references: tuple[str, ...]) -> None:
    """Compute the figures of an evaluation anew from what its folder holds, without any model."""
    from arts_lite.experiments.evaluation import evaluate as compute

    before = _read(Path(folder))
    told = _told_as_usage(
        lambda: compute(
            Path(folder),
            ks=before.get("k", ()),
            order=sorted(before.get("verifiers", {}), key=lambda name: before["verifiers"][name]["order"]),
            references=references or before.get("references", ()),
            split=before.get("split"),
        )
    )
    _print(told, as_json=as_json, shows_all=shows_all)


@evaluate.command()
@click.argument("folder", metavar="DIR")
@click.option("-o", "--output", metavar="FILE", help="Instead of stdout.")
def extinct(folder: str, output: str | None) -> None:
    """Name the problems of an evaluation's pool of which no sample is right, for --only: an id a line.

    Evaluate them on fresh samples, with another --seed or another proposer.
    """
    from arts_lite.experiments.pool import extinct as unsolved
    from arts_lite.experiments.pool import pool_settings, read_pool

    told = pool_settings(Path(folder))
    pool = read_pool(Path(folder))
    ids = unsolved(pool)
    head = [f"# seed {told['search']['seed']}", f"# proposer {told['proposer']['sha256']}"]
    text = "".join(f"{line}\n" for line in [*head, *ids])
    click.echo(f"{len(ids)} of {len(pool)} problems without a right one of {told['search']['n']} samples", err=True)
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        Path(output).write_text(text, encoding="utf-8")
    except OSError as error:
        raise Failure(f"{output} cannot be written: {error.strerror or error}; choose another file.") from error


def _read(folder: Path) -> dict[str, Any]:
    from arts_lite.experiments.evaluation import RESULTS

    try:
        found: dict[str, Any] = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def _print(results: dict[str, Any], *, as_json: bool, shows_all: bool = False) -> None:
    if as_json:
        click.echo(json.dumps(results))
    else:
        print_results(results, shows_all=shows_all)


def _told_as_usage(make: Callable[[], Any]) -> Any:
    try:
        return make()
    except ValueError as error:
        raise click.UsageError(str(error)) from error
