"""`arts-lite compare`: differences between evaluations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from arts_lite.cli.eval_table import interval_of, wide_console


@click.command()
@click.argument("runs", metavar="RUN RUN...", nargs=-1)
@click.option("--k", type=click.IntRange(1), help="Traces to choose from.  [default: the largest]")
@click.option("--all", "shows_all", is_flag=True, help="With every aggregation of a verifier's steps.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with every k.")
def compare(runs: tuple[str, ...], k: int | None, shows_all: bool, as_json: bool) -> None:
    """Compare evaluations of the same problems with the first RUN, paired by problem, with 95 % intervals."""
    from arts_lite.experiments.comparison import compare as compute

    try:
        told = compute([Path(run) for run in runs])
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if as_json:
        click.echo(json.dumps(told))
        return
    ks = sorted({row["k"] for row in told["rows"]})
    if k is not None and k not in ks:
        raise click.UsageError(f"--k is {k}, but what the runs share is k = {', '.join(map(str, ks)) or 'nothing'}")
    if not ks:
        click.echo("The runs have no method in common.")
        return
    wide_console().print(_table(told, ks[-1] if k is None else k, shows_all=shows_all))


def _table(told: Mapping[str, Any], k: int, *, shows_all: bool) -> Table:
    table = Table(
        title=f"{told['num_problems']} problems, k={k}: % right answers, differences from the first in points"
    )
    table.add_column("method", no_wrap=True)
    first, *others = told["runs"]
    table.add_column(first, justify="right", overflow="fold")
    for run in others:
        table.add_column(run, justify="right", overflow="fold")
        table.add_column("difference", justify="right")
    for row in told["rows"]:
        if row["k"] != k or ("/" in row["method"] and not shows_all):
            continue
        cells = []
        differences = {one["run"]: one for one in row["differences"]}
        for run, accuracy in zip(others, row["accuracy"][1:], strict=True):
            cells += ["" if accuracy is None else f"{100 * accuracy:.1f}"]
            cells += [interval_of(differences.get(run), "difference", sign="+")]
        table.add_row(row["method"], f"{100 * row['accuracy'][0]:.1f}", *cells)
    return table
