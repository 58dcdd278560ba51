"""`arts-lite report`: pictures of trees, evaluations and training runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from arts_lite.cli.commands import verbose_option
from arts_lite.errors import ReportError

if TYPE_CHECKING:
    from arts_lite.tree import Tree

_MAX_TREES = 100


class _Report(click.Group):
    """`tree` is a command; anything else is a folder to report on."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Take arguments that are no command for those of `folders`."""
        if args and args[0] not in self.commands:
            args = ["folders", *args]
        return super().resolve_command(ctx, args)


@click.command(cls=_Report, no_args_is_help=True)
def report() -> None:
    """Draw what other commands have left: `report DIR... -o OUT` everything, `report tree FILE -o PAGE` trees.

    A folder may be one of `arts-lite eval`, `train grpo`, `sdf` (or a file of trees).
    """


@report.command()
@click.argument("folders", metavar="DIR...", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    *("--extinct", "extinct"),
    multiple=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Evaluation of problems that a tuned policy never solves: recovery is drawn too; repeatable.",
)
@click.option("-o", "--output", metavar="OUT", required=True, help="Folder of the report.")
@verbose_option
def folders(folders: tuple[Path, ...], extinct: tuple[Path, ...], output: str, **_: object) -> None:
    """Draw what folders of `arts-lite eval`, `train grpo` and `sdf` hold, into OUT/report.html and OUT/report.md."""
    from arts_lite.experiments.overview import write_overview

    if not folders and not extinct:
        raise click.UsageError("name at least one folder to report on.")
    for path in write_overview(folders, Path(output), extinct=extinct):
        click.echo(path)


@report.command()
@click.argument("file", metavar="FILE.jsonl[.gz|.zst]")
@click.option("--index", "indices", type=click.IntRange(0), multiple=True, help="Line of the tree, from 0; repeatable.")
@click.option("--id", "ids", multiple=True, metavar="ID", help="Id of the tree's problem; repeatable.")
@click.option("-o", "--output", metavar="FILE.html", required=True, help="The page.")
@verbose_option
def tree(file: str, indices: Sequence[int], ids: Sequence[str], output: str, **_: object) -> None:
    """Draw trees of a file on a page for a browser: the first one, or those that --index and --id name."""
    from arts_lite.report import write_tree_page

    trees = _chosen(file, set(indices) or (set() if ids else {0}), set(ids))
    write_tree_page(Path(output), trees)
    click.echo(output)


def _chosen(file: str, indices: set[int], ids: set[str]) -> list[Tree]:
    """Read the trees that are asked for. Raises ReportError: there is none of an index or id, or there are too many."""
    from arts_lite.tree import read_trees

    wanted = len(indices) + len(ids)
    if wanted > _MAX_TREES:
        raise ReportError(f"{wanted} trees are asked for, but a page holds at most {_MAX_TREES}; ask for fewer")
    chosen: list[Tree] = []
    number = -1
    for number, one in enumerate(read_trees(file)):
        name = str((one.origin.problem or {}).get("id"))
        if number in indices or name in ids:
            chosen.append(one)
            indices.discard(number)
            ids.discard(name)
        if not indices and not ids:
            return chosen
    missing = ", ".join([*(f"index {index}" for index in sorted(indices)), *(f"id {name!r}" for name in sorted(ids))])
    raise ReportError(f"{file} has {number + 1} trees, but none with {missing}; arts-lite sdf stats tells more")
