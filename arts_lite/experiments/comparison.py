"""Differences between evaluations of the same problems, paired by problem."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from arts_lite.experiments.evaluation import PROBLEMS, RESULTS, interval
from arts_lite.experiments.folder import DatasetError
from arts_lite.experiments.lines import read_lines
from arts_lite.report.bootstrap import NUM_RESAMPLES, Bootstrap
from arts_lite.verifier.output import finite


@dataclass(frozen=True)
class _Run:
    """One evaluation: its figures, and by problem's id what was asked and what each method made of it."""

    name: str
    results: dict[str, Any]
    asked: dict[str, str | None]
    values: dict[str, dict[str, dict[str, float]]]


def compare(folders: Sequence[Path], *, num_resamples: int = NUM_RESAMPLES) -> dict[str, Any]:
    """Compare evaluations with the first one, method by method and k by k.

    Returns:
        "runs": the folders; "num_problems"; "rows": `{"method", "k", "accuracy": [per run], "differences": [{"run",
        "difference", "low", "high"}]}` for what the first run and at least one other one have.

    Raises:
        ValueError: fewer than two folders.
        DatasetError: a folder is no evaluation, or they are of different problems.
    """
    if len(folders) < 2:
        raise ValueError("compare needs two evaluations or more; name their folders")
    runs = [_read(folder) for folder in folders]
    for other in runs[1:]:
        _check_same(runs[0], other)
    ids = sorted(runs[0].values)
    rows = [row for label, k in _points(runs[0]) if (row := _row(runs, ids, label, k, num_resamples)) is not None]
    told: dict[str, Any] = finite({"runs": [run.name for run in runs], "num_problems": len(ids), "rows": rows})
    return told


def _read(folder: Path) -> _Run:
    try:
        results = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{folder / RESULTS} cannot be read ({error}); make it with `arts-lite eval` or `arts-lite eval results`"
        ) from error
    lines = {str(line["id"]): line for line in read_lines(folder / PROBLEMS)}
    asked = {name: line.get("asked") for name, line in lines.items()}
    return _Run(str(folder), results, asked, {name: line["values"] for name, line in lines.items()})


def _check_same(first: _Run, other: _Run) -> None:
    if first.results["task"] != other.results["task"]:
        raise DatasetError(
            f"{first.name} and {other.name} cannot be compared: the task is {first.results['task']} there and "
            f"{other.results['task']} here"
        )
    lacking, more = first.values.keys() - other.values.keys(), other.values.keys() - first.values.keys()
    if lacking or more:
        example = min(lacking or more)
        raise DatasetError(
            f"{first.name} and {other.name} are of different problems: {len(lacking)} are in the first one only, "
            f"{len(more)} in the other one only, such as {example!r}; evaluate both on the same ones (--only IDS_FILE)"
        )
    pairs = ((name, asked, other.asked[name]) for name, asked in first.asked.items())
    changed = [name for name, here, there in pairs if here and there and here != there]
    if changed:
        raise DatasetError(
            f"{first.name} and {other.name} are of different problems: {len(changed)} have the same id, but another "
            f"question or answer, such as {changed[0]!r}; evaluate both on the same --data"
        )


def _points(run: _Run) -> list[tuple[str, int]]:
    return [(method["label"], int(point["k"])) for method in run.results["methods"] for point in method["points"]]


def _row(runs: Sequence[_Run], ids: Sequence[str], label: str, k: int, num_resamples: int) -> dict[str, Any] | None:
    values = np.full((len(ids), len(runs)), np.nan)
    for column, run in enumerate(runs):
        for row, name in enumerate(ids):
            values[row, column] = run.values[name].get(label, {}).get(str(k), np.nan)
    has_value = ~np.isnan(values)
    others = [column for column in range(1, len(runs)) if (has_value[:, column] == has_value[:, 0]).all()]
    if not has_value[:, 0].any() or not others:
        return None
    boot = Bootstrap(values, num_resamples=num_resamples)
    differences = [
        {"run": runs[column].name, **interval(boot.difference(column, 0), "difference")} for column in others
    ]
    return {"method": label, "k": k, "accuracy": [float(mean) for mean in boot.means], "differences": differences}
