"""Take a benchmark's problems out of trees, so that these can be kept here, and put them in again.

    python experiments/problems.py out RUN KEPT
    python experiments/problems.py in KEPT --data gsm8k_train.jsonl RUN

RUN is a folder of `arts-lite sdf` or `arts-lite eval`; KEPT holds the same files, but of each problem only its id (its
row in the data) and a digest, and of the model's file only its name. Published problems are not ours to copy; what a
model wrote about them for us is kept.
"""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import click

from arts_lite.experiments.folder import tree_files
from arts_lite.tasks import Problem, make_task
from arts_lite.tasks.traces import plain_prompt

SUFFIX = ".without-problems.jsonl.gz"
PLAIN = "plain form"  # what settings call the question of a model that was made for the task


@click.group()
def main() -> None:
    """Take problems out of trees, or put them in again."""


@main.command("out")
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("kept", type=click.Path(path_type=Path))
def take_out(run: Path, kept: Path) -> None:
    """Copy a run without the texts and answers of its problems."""
    files = list(tree_files(run))
    if not files:
        raise click.UsageError(f"{run} holds no trees; name a folder of `arts-lite sdf` or `arts-lite eval`")
    _copy_others(run, kept, files)
    for path in files:
        lines = (_without(json.loads(line)) for line in _lines(path))
        click.echo(f"{_write(kept / (path.name.partition('.')[0] + SUFFIX), lines)} trees")


@main.command("in")
@click.argument("kept", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--data", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The problems."
)
def put_in(kept: Path, run: Path, data: Path) -> None:
    """Copy what was kept, with its problems, to a folder that arts-lite reads and goes on with."""
    files = list(kept.glob(f"*{SUFFIX}"))
    if not files:
        raise click.UsageError(f"{kept} holds no *{SUFFIX}; name a folder that `out` has written")
    settings = json.loads((kept / "settings.json").read_text(encoding="utf-8"))
    task = make_task(settings["task"], prompt=None if settings["prompt"] == PLAIN else settings["prompt"])
    known = {problem.id: problem for problem in task.read(data)}
    asked: Callable[[Problem], str] = plain_prompt if settings["prompt"] == PLAIN else task.prompt
    _copy_others(kept, run, files)
    for path in files:
        lines = (_with(json.loads(line), known, asked, data) for line in _lines(path))
        click.echo(f"{_write(run / (path.name.removesuffix(SUFFIX) + settings['suffix']), lines)} trees")


def digest(question: str, answer: str) -> str:
    """Stand for a problem, so that another one is not taken for it."""
    return blake2b(repr((question, answer)).encode(), digest_size=8).hexdigest()


def _without(tree: dict[str, Any]) -> dict[str, Any]:
    problem = dict(tree["problem"])
    told = digest(problem.pop("question"), problem.pop("answer"))
    model = {**tree["model"], "path": Path(tree["model"]["path"]).name} if tree["model"].get("path") else tree["model"]
    return {**tree, "question": None, "problem": {**problem, "digest": told}, "model": model}


def _with(
    tree: dict[str, Any], known: dict[str, Problem], asked: Callable[[Problem], str], data: Path
) -> dict[str, Any]:
    kept = dict(tree["problem"])
    told, problem = kept.pop("digest"), known.get(kept["id"])
    if problem is None or digest(problem.question, problem.answer) != told:
        raise click.ClickException(f"{data} has another problem {kept['id']} than the tree; give the tree's data")
    kept = {"id": kept.pop("id"), "question": problem.question, "answer": problem.answer, **kept}
    return {**tree, "question": asked(problem), "problem": kept}


def _copy_others(source: Path, target: Path, trees: list[Path]) -> None:
    """Copy all other files. A results.json names methods and problems' ids, scores.jsonl ids and numbers."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.rglob("*")):
        if path.is_file() and path not in trees and path.suffix != ".lock":
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)


def _lines(path: Path) -> Iterator[str]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from file


def _write(path: Path, lines: Iterator[dict[str, Any]]) -> int:
    """Write lines, each packed as a member of its own, as `arts-lite sdf` does; returns how many."""
    packed = [gzip.compress(f"{_plain(line)}\n".encode(), mtime=0) for line in lines]
    path.write_bytes(b"".join(packed))
    return len(packed)


def _plain(line: dict[str, Any]) -> str:
    return json.dumps(line, ensure_ascii=False, separators=(",", ":"))


if __name__ == "__main__":
    main()
