"""The deciding experiment's report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arts_lite.experiments.lines import write_whole
from arts_lite.experiments.miniature_report import shown, timing_table
from arts_lite.experiments.pipeline import Timing
from arts_lite.report.document import Block, Heading, Paragraph, Table, markdown, page

_HOW = (
    "Best-of-n by each verifier, votes weighted by it, and the order of prefixes (share of pairs of prefixes of one "
    "problem that it orders as 16 fresh rollouts from each do), on one pool of samples for each family. Recovered: the "
    "share of the gap between a random choice and the oracle. Differences are paired by problem: of best-of-n against "
    "monte-carlo without ranking on as many trees, which is a soft PRM; of weighted votes against the majority. 95 % "
    "intervals, by bootstrap over problems."
)


def write_ablation_report(folder: Path, results: Mapping[str, Any], timings: Sequence[Timing]) -> list[Path]:
    """Write report.md and report.html. Raises LinesError: the disk is full."""
    blocks: list[Block] = [Heading("Which of ARTS's ingredients earns its keep", 1), Paragraph(_HOW)]
    for task, told in results["tasks"].items():
        blocks += [Heading(f"{task.capitalize()}: n = {results['k']}"), _runs(told), _aggregations(told)]
        plain = "; ".join(f"{name}: {shown(figure)}" for name, figure in told["plain"].items())
        auc = told["logprob_prefix_auc"]
        blocks.append(Paragraph(plain + (f"; order of prefixes by log-prob: {_auc(auc)}" if auc else "")))
    blocks += [Heading("Minutes"), timing_table(timings)]
    paths = [folder / "report.md", folder / "report.html"]
    write_whole(paths[0], markdown(blocks, folder))
    write_whole(paths[1], page(blocks))
    return paths


def _runs(told: Mapping[str, Any]) -> Table:
    names = ("best_of_n", "recovered", "difference", "weighted_vote", "over_majority")
    head = ("best-of-n", "recovered", "against the soft PRM", "weighted vote", "against the majority", "prefixes")
    return Table(
        ["trees", "verifier", *head],
        [
            [f"{row['num_trees']:,}", row["run"], *(shown(row[name]) for name in names), _auc(row["prefix_auc"])]
            for row in told["runs"]
        ],
    )


def _aggregations(told: Mapping[str, Any]) -> Table:
    """Best-of-n by other aggregations of the steps' values than the verifier's own."""
    known = list(dict.fromkeys(name for row in told["runs"] for name in row["aggregations"]))
    most = max(row["num_trees"] for row in told["runs"])
    rows = [row for row in told["runs"] if row["num_trees"] == most and row["aggregations"]]
    return Table(
        ["verifier", *(f"best-of-n by {name}" for name in known)],
        [
            [
                row["run"],
                *(shown(row["aggregations"][name]) if name in row["aggregations"] else "own" for name in known),
            ]
            for row in rows
        ],
    )


def _auc(told: Mapping[str, Any] | None) -> str:
    return "" if told is None else f"{told['auc']:.3f} [{told['low']:.3f}, {told['high']:.3f}]"
