"""`arts-lite grade`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import click

from arts_lite.cli.commands import Failure, verbose_option


@click.command()
@click.argument("file", metavar="FILE.jsonl")
@click.option("--answer-column", default="answer", show_default=True, help="Bare answers, or texts that end in one.")
@click.option("--gold-column", default="gold", show_default=True, help="True answers, bare or in running text.")
@click.option("--grader", metavar="MODULE:FUNCTION", help="Called with (answer, gold), instead of math-verify.")
@verbose_option
def grade(file: str, answer_column: str, gold_column: str, grader: str | None, **_: bool) -> None:
    """Tell for every row of FILE.jsonl ('-': stdin) whether its answer is right.

    Prints each row with "correct" and "extracted", the answer that was compared (null: none was found); counts go to
    stderr.
    """
    from arts_lite.tasks import MathGrader, load_grader, stated_answer

    try:
        judge = MathGrader() if grader is None else load_grader(grader)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    num_rows = num_correct = 0
    try:
        for number, row in _rows(file):
            answer, gold = (_column(row, name, file, number) for name in (answer_column, gold_column))
            extracted, true = stated_answer(answer), stated_answer(gold)
            is_correct = extracted is not None and true is not None and judge(extracted, true)
            click.echo(json.dumps({**row, "correct": is_correct, "extracted": extracted}, ensure_ascii=True))
            num_rows += 1
            num_correct += is_correct
    finally:
        if isinstance(judge, MathGrader):
            judge.close()
    share = f", {num_correct / num_rows:.1%}" if num_rows else ""
    click.echo(f"{num_correct} of {num_rows} correct{share}", err=True)


def _rows(file: str) -> Iterator[tuple[int, dict[str, Any]]]:
    where = "stdin" if file == "-" else file
    try:
        stream = sys.stdin.buffer if file == "-" else open(file, "rb")  # noqa: SIM115, PTH123 - closed below
    except OSError as error:
        raise Failure(f"{where} cannot be read: {error.strerror or error}; check the path.") from error
    with stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise Failure(f"{where}, line {number}, is no JSON ({error}); write one object a line.") from error
            if not isinstance(row, dict):
                raise Failure(f"{where}, line {number}, is no JSON object; write one object a line.")
            yield number, row


def _column(row: dict[str, Any], name: str, file: str, number: int) -> str:
    if name not in row:
        raise Failure(
            f"{file}, line {number}, has no column {name!r} (it has {', '.join(row) or 'none'}); "
            "name the columns with --answer-column and --gold-column."
        )
    return "" if row[name] is None else str(row[name])
