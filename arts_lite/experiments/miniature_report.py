"""The miniature's report: each claim's verdict first, then the tables behind it, then the minutes that it took."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from arts_lite.experiments.folder import read_folder, tree_files
from arts_lite.experiments.lines import write_whole
from arts_lite.experiments.pipeline import Timing
from arts_lite.report import write_tree_page
from arts_lite.report.document import Block, Heading, Link, Paragraph, Picture, Table, markdown, page
from arts_lite.tree import Tree

_PICTURES = {
    "grpo-[0-9]*-extinction-bin": "Likelihood of mode, rare and endangered traces over GRPO's steps",
    "eval-extinct-[0-9]*-recovery": "Problems that the GRPO policy never solves",
    "search-by-tokens-0": "Accuracy against tokens",
}
"""Files that `arts-lite report` writes -> what they show."""
_HOW = (
    "Accuracies are means over problems, and over seeds where there are several; in brackets are 95 % intervals by a "
    "bootstrap over problems and seeds. A claim counts as reproduced where its whole interval lies on the claimed "
    "side, as not reproduced where it lies wholly on the other, and as undecided in between: that would need more "
    "problems or seeds. Verifiers choose by their scores alone, as in the paper; with '+ log-prob' the proposer's "
    "log-prob of the trace counts beside the score, by the weight in the verifier's file, as in `arts-lite solve`."
)


def write_report(folder: Path, results: Mapping[str, Any], timings: Sequence[Timing]) -> list[Path]:
    """Write report.md and report.html, and the page of a tree. Raises LinesError, ReportError: the disk is full."""
    links: list[Block] = list(key_pictures(folder))
    if (folder / "pictures" / "report.html").exists():
        links.append(Link("pictures/report.html", "All pictures: accuracies, tuning, recovery, calibration"))
    if (tree := rescued(folder / "trees-arithmetic-0")) is not None:
        write_tree_page(folder / "tree.html", [tree])
        links.append(Link("tree.html", "A tree in which a fork comes out right and its main trace does not"))
    blocks = report_blocks(results, timings, links)
    paths = [folder / "report.md", folder / "report.html"]
    write_whole(paths[0], markdown(blocks, folder))
    write_whole(paths[1], page(blocks))
    return paths


def report_blocks(results: Mapping[str, Any], timings: Sequence[Timing], links: Sequence[Block] = ()) -> list[Block]:
    """Say it all."""
    claims, tables = results["claims"], results["tables"]
    counts = ", ".join(
        f"{sum(claim['verdict'] == name for claim in claims)} {name}"
        for name in ("reproduced", "not reproduced", "undecided")
    )
    blocks: list[Block] = [
        Heading("The paper in miniature", 1),
        Paragraph(f"{len(claims)} claims: {counts}. {results['num_seeds']} seed(s) in arithmetic."),
        Paragraph(_HOW),
        *([] if results["k"] == 16 else [Paragraph(f"Where 16 samples are named, this run has {results['k']}.")]),
        Heading("Claims"),
        Table(
            ["claim", "from", "verdict", "figure", "by the rule"],
            [[one["text"], one["source"], one["verdict"], shown(one), _rule(one)] for one in claims],
        ),
        *links,
        Heading("Arithmetic: choosing among k samples of the frozen proposer"),
        _by_k(tables["arithmetic"]),
        Heading("Arithmetic: choosing among k samples of the GRPO policy"),
        _by_k(tables["policy"]),
        Heading("Arithmetic: problems that the GRPO policy never solved, fresh samples of the frozen proposer"),
        _by_k(tables["extinct"]),
        Heading("Arithmetic: accuracy against tokens"),
        _by_tokens(tables["search"]),
    ]
    if "countdown" in tables:
        blocks += [Heading("Countdown: choosing among k samples"), _by_k(tables["countdown"])]
    others = [[name, shown(figure)] for name, figure in sorted(results["figures"].items())]
    blocks += [Heading("All figures"), Table(["figure", "value"], others)]
    return [*blocks, Heading("Minutes"), timing_table(timings), Paragraph(_software(results["versions"]))]


def key_pictures(folder: Path) -> Iterator[Picture]:
    """Find the paper's Fig. 1b and Fig. 3, of every seed, and accuracy against tokens; those that were drawn."""
    for pattern, text in _PICTURES.items():
        for path in sorted((folder / "pictures" / "pictures").glob(f"*-{pattern}.svg")):
            yield Picture(path, f"{text} ({path.stem.partition('-')[2]})")


def rescued(folder: Path) -> Tree | None:
    """Find the first tree with a right fork off a wrong main trace (the paper's Fig. 2); None: there is none."""
    for tree in read_folder(folder) if next(tree_files(folder), None) else ():
        for end, parent in zip(tree.ends, tree.trace_parent, strict=True):
            if parent >= 0 and end.correct and tree.ends[int(parent)].correct is False:
                return tree
    return None


def timing_table(timings: Sequence[Timing]) -> Table:
    """Tabulate the minutes of each stage, expected and taken; by the clock they are fewer where stages overlap."""
    rows = [[one.stage, _minutes(one.expected_s), _minutes(one.seconds)] for one in timings]
    whole = [sum(one.expected_s for one in timings), sum(one.seconds for one in timings)]
    return Table(["stage", "expected", "taken"], [*rows, ["all, one after another", *map(_minutes, whole)]])


def _by_k(rows: Sequence[Mapping[str, Any]]) -> Table:
    ks = list(rows[0]["points"]) if rows else []
    cells = [[str(row["method"]), *(shown(row["points"][k]) for k in ks)] for row in rows]
    return Table(["method", *(f"k = {k}" for k in ks)], cells)


def _by_tokens(rows: Sequence[Mapping[str, Any]]) -> Table:
    cells = [
        [
            str(row["method"]),
            str(row["k"]),
            shown(row),
            *(f"{row[name]:,.0f}" for name in ("num_tokens", "num_tokens_decoded", "num_verifier_tokens")),
        ]
        for row in rows
    ]
    return Table(["method", "n", "accuracy", "tokens drawn", "decoded", "read by the verifier"], cells)


def shown(figure: Mapping[str, Any]) -> str:
    """Write a figure with its interval."""
    value, low, high = (figure.get(name) for name in ("value", "low", "high"))
    if value is None:
        return "-"
    if low is None or high is None:
        return f"{value:.3f}"
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _rule(claim: Mapping[str, Any]) -> str:
    return claim["why"] or f"{claim['side']} {claim['bound']:g}"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f}"


def _software(versions: Mapping[str, str]) -> str:
    return "Software: " + ", ".join(f"{name} {version}" for name, version in versions.items()) + "."
