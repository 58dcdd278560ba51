"""Rows of published data sets, from files or from the Hugging Face hub, and the problems that they hold."""

from __future__ import annotations

import csv
import gzip
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from arts_lite.errors import ArtsError
from arts_lite.tasks.problem import Problem

Row = Mapping[str, Any]


class DataError(ArtsError):
    """A data file or data set cannot be read, or its rows lack what a task needs."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns that hold a row's parts; `id` may be missing: the row's number names it then."""

    question: str = "problem"
    answer: str = "answer"
    id: str = "id"


def read_rows(source: str | os.PathLike[str], split: str = "test") -> Iterator[Row]:
    """Read the rows of a JSONL, JSON (one list) or CSV file (.gz: packed), or of ``hf:OWNER/NAME[:CONFIG]``.

    Raises:
        DataError: the file cannot be read, a line is no object, or the hub cannot be asked.
    """
    if isinstance(source, str) and source.startswith("hf:"):
        yield from _hub_rows(source, split)
        return
    path = Path(source)
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8-sig")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8-sig", newline="") as file
        ):
            if ".csv" in path.suffixes:
                yield from csv.DictReader(file)
            elif ".json" in path.suffixes:
                yield from _checked(json.load(file), path)
            else:
                for number, line in enumerate(file, 1):
                    if line.strip():
                        yield from _checked([json.loads(line)], f"{path}, line {number}")
    except (OSError, EOFError) as error:
        raise DataError(
            f"{path} cannot be read: {getattr(error, 'strerror', None) or error}; check the path"
        ) from error
    except (ValueError, RecursionError, csv.Error) as error:
        raise DataError(f"{path} is no data file of one JSON object a line: {error}; convert it") from error


def row_problems(
    rows: Iterator[Row], columns: Columns, answer_of: Callable[[str], str] | None = None
) -> Iterator[Problem]:
    """Make problems of rows; the other columns become metadata.

    Raises:
        DataError: a row lacks a column, a column is blank, or two rows have the same id.
    """
    seen: set[str] = set()
    for number, row in enumerate(rows):
        values = [_text(row, name, number) for name in (columns.question, columns.answer)]
        question, answer = values
        if answer_of is not None:
            answer = answer_of(answer)
        key = str(row[columns.id]) if row.get(columns.id) not in (None, "") else str(number)
        if key in seen:
            raise DataError(
                f"row {number} has the id {key!r} of an earlier row; name another --id-column or mend the file"
            )
        seen.add(key)
        used = (columns.question, columns.answer, columns.id)
        rest = {name: value for name, value in row.items() if name not in used and _is_plain(value)}
        yield Problem(key, question, answer, rest)


def gsm8k_answer(text: str) -> str:
    """Return what follows `####` in a GSM8K solution; a bare answer stays as it is."""
    return text.rpartition("####")[2].strip().replace(",", "") if "####" in text else text.strip()


def _text(row: Row, name: str, number: int) -> str:
    if row.get(name) is None:
        raise DataError(
            f"row {number} has no column {name!r} (it has {', '.join(map(str, row)) or 'none'}); "
            "name the columns with --question-column and --answer-column"
        )
    text = str(row[name])
    if not text.strip():
        raise DataError(f"row {number} has a blank {name!r}; every problem needs a question and an answer")
    return text


def _checked(rows: Any, where: object) -> Iterator[Row]:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{where}: it is not made of JSON objects; write one object a line")
    return iter(rows)


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, (str, int, float, bool))


def _hub_rows(source: str, split: str) -> Iterator[Row]:
    name, _, config = source.removeprefix("hf:").partition(":")
    try:
        import datasets
    except ModuleNotFoundError:
        raise DataError(
            f"{source} lies on the Hugging Face hub, which needs a package; run: pip install 'arts-lite[data]', "
            "or download the file and name it"
        ) from None
    try:
        rows = iter(datasets.load_dataset(name, config or None, split=split, streaming=True))
        first = next(rows, None)
    except Exception as error:  # the library's own kinds, and those of its network layers
        raise DataError(
            f"{source} (split {split!r}) cannot be read: {type(error).__name__}: {str(error)[:300]}; check the name "
            "and the network, or download the file and name it"
        ) from error
    return chain([] if first is None else [first], rows)
