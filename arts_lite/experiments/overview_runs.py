"""Tuning runs and sets of trees, drawn and tabulated."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from arts_lite.experiments.folder import SUFFIXES, tree_files
from arts_lite.experiments.lines import read_lines
from arts_lite.experiments.stats import dataset_stats
from arts_lite.report import plots
from arts_lite.report.document import Block, Heading, Paragraph, Picture, Table
from arts_lite.report.style import Figure

Draw = Callable[[Figure, str, str], Picture]


def is_tuning(folder: Path) -> bool:
    """Whether a folder is one of `arts-lite train grpo`."""
    return (folder / "metrics.jsonl").is_file() and any(
        "reward" in line or "dev_pass_at_1" in line for line in read_lines(folder / "metrics.jsonl")
    )


def has_trees(path: Path) -> bool:
    """Whether a folder holds trees, or is a file of them."""
    return any(tree_files(path)) or (path.is_file() and path.name.endswith(SUFFIXES))


def describe_tuning(folder: Path, draw: Draw) -> list[Block]:
    """Draw a tuning run: its course, and what it does to the base's traces."""
    metrics = list(read_lines(folder / "metrics.jsonl"))
    probes = list(read_lines(folder / "extinction.jsonl"))
    blocks: list[Block] = [Heading(f"Tuning by GRPO: {folder.name}"), Paragraph(_course(metrics))]
    blocks.append(draw(plots.tuning(metrics), "tuning", "Reward, prompts without gradient and pass@1 over the steps"))
    for kind, words in (("bin", "by their likelihood"), ("style", "by their style")):
        rows = [row for row in probes if row["by"] == kind]
        if rows:
            title = f"The base's traces, {words}"  # 40 letters fit
            blocks.append(draw(plots.extinction(rows, title=title), f"extinction-{kind}", title))
            blocks.append(_last(rows))
    return blocks


def describe_trees(path: Path) -> list[Block]:
    """Tabulate what a set of trees holds."""
    numbers = dataset_stats(path).to_dict()
    rows = [[name.replace("num_", "").replace("_", " "), _shown(name, value)] for name, value in numbers.items()]
    about = "Draw one of them with arts-lite report tree."
    return [Heading(f"Trees: {path.name}"), Paragraph(about), Table(["of the trees", ""], rows)]


def _course(metrics: Sequence[Mapping[str, Any]]) -> str:
    steps = max((row["step"] for row in metrics), default=0)
    dev = [row for row in metrics if row.get("dev_pass_at_1") is not None]
    text = f"{steps} steps."
    if len(dev) > 1:
        first, last = dev[0], dev[-1]
        text += (
            f" pass@1 on {last['num_dev']} dev problems: {100 * first['dev_pass_at_1']:.1f} % at step {first['step']}, "
            f"{100 * last['dev_pass_at_1']:.1f} % at step {last['step']}."
        )
    return text


def _last(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The change at the last step, with intervals."""
    cells = []
    for name, group in groupby(sorted(rows, key=itemgetter("name", "step")), key=itemgetter("name")):
        last = list(group)[-1]
        bounds = "" if last["low"] is None else f" [{last['low']:+.3f}, {last['high']:+.3f}]"
        change = f"{last['mean_delta_log10_prob']:+.3f}{bounds}"
        cells.append([str(name), str(last["step"]), change, str(last["num_traces"]), str(last["num_problems"])])
    return Table(["traces", "step", "change of log10-likelihood", "traces", "problems"], cells)


def _shown(name: str, value: float) -> str:
    if math.isnan(value):
        return "not known"
    return f"{value:.1%}" if name.startswith("share_") else f"{value:,}" if isinstance(value, int) else f"{value:.2f}"
