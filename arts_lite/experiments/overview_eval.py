"""An evaluation, drawn and tabulated; docs/eval-format.md is what is read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from arts_lite.errors import ReportError
from arts_lite.report import plots
from arts_lite.report.document import Block, Heading, Paragraph, Picture, Table
from arts_lite.report.style import NUM_STYLES, Figure

Draw = Callable[[Figure, str, str], Picture]
"""Writes a figure under a name, with the words that stand for it."""
Method = Mapping[str, Any]
_FILE = "results.json"
_MOST_LINES = 8  # in one picture
_NUM_COMMON = 3  # of them, methods without a scorer, in every picture: random choice, oracle, majority
_TOKENS = {
    "num_tokens": "drawn by all traces + read by the verifier",
    "num_tokens_decoded": "decoded, equal beginnings once + read by the verifier",
}


def is_evaluation(folder: Path) -> bool:
    """Whether a folder holds the results of an evaluation."""
    return (folder / _FILE).is_file()


def describe_evaluation(folder: Path, draw: Draw, *, is_extinct: bool = False) -> list[Block]:
    """Draw and tabulate an evaluation.

    Args:
        is_extinct: it is of problems that a tuned policy never solves.

    Raises:
        ReportError: the results cannot be read or are of another version.
        KeyError, TypeError, ValueError: they lack something.
    """
    results = _read(folder / _FILE)
    methods = [method for method in results["methods"] if method["points"] and _is_shown(method)]
    verifiers = ", ".join(results["verifiers"]) or "none"
    blocks: list[Block] = [
        Heading(f"Evaluation: {folder.name}"),
        Paragraph(
            f"{results['num_problems']} problems of {results['task']}, {results['num_samples']} samples each, by "
            f"{results['proposer']['name']}; verifiers: {verifiers}. Scorers are used with their own aggregation; the "
            "others are in results.json."
        ),
    ]
    if is_extinct:
        blocks.append(_recovery(methods, results, draw))
    blocks += _curves(methods, results, draw)
    blocks += [Heading("Right answers, %", 3), _by_k(methods, results["k"])]
    blocks += _differences(methods, results)
    blocks += _calibrations(results, draw)
    for number, (scorer, points) in enumerate(results["depth"].items()):
        if any(point["mean_correct"] is not None or point["mean_wrong"] is not None for point in points):
            unit = "log-prob per token" if scorer == "logprob" else "value"
            figure = plots.score_by_depth(points, unit=unit, title=f"Score against depth: {scorer}")
            blocks.append(draw(figure, f"depth-{number}", f"Mean value of {scorer} after so many steps"))
    if results["prefixes"]:
        blocks += _prefixes(results["prefixes"])
    return blocks


def _read(path: Path) -> dict[str, Any]:
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ReportError(f"{path} cannot be read ({error}); run the evaluation to its end") from error
    if not isinstance(results, dict) or (results.get("schema"), results.get("version")) != ("arts-lite.eval", 1):
        raise ReportError(f"{path} is no evaluation of version 1; read it with the arts-lite that wrote it")
    return results


def _is_shown(method: Method) -> bool:
    return method["is_own"] or method["aggregation"] is None


def _curves(methods: Sequence[Method], results: Mapping[str, Any], draw: Draw) -> Iterator[Picture]:
    num, styles = results["num_problems"], _styles(methods)
    pool = [method for method in methods if not method["live"]]
    for number, group in enumerate(_groups(pool)):
        about = f"Accuracy against k: {', '.join(method['label'] for method in group)}"
        yield draw(plots.accuracy_by_k(_series(group, styles, _traces), num_problems=num), f"by-k-{number}", about)
    searched = [method for method in methods if method["strategy"] not in ("random", "oracle")]
    for name, unit in _TOKENS.items():
        for number, group in enumerate(_groups([method for method in searched if name in method["points"][0]])):
            series = _series(group, styles, partial(_tokens, name))
            figure = plots.accuracy_by_tokens(series, num_problems=num, unit=unit)
            about = f"Accuracy against tokens ({unit}): {', '.join(method['label'] for method in group)}"
            yield draw(figure, f"by-{name.removeprefix('num_').replace('_', '-')}-{number}", about)


def _groups(methods: Sequence[Method]) -> list[list[Method]]:
    """Parts of at most _MOST_LINES, each with the methods that need no scorer, to compare with."""
    common = [method for method in methods if method["scorer"] is None and not method["live"]][:_NUM_COMMON]
    others = [method for method in methods if method not in common]
    room = _MOST_LINES - len(common)
    parts = [others[at : at + room] for at in range(0, len(others), room)] or ([[]] if common else [])
    return [[*common, *part] for part in parts]


def _traces(point: Mapping[str, Any]) -> float:
    return float(point["k"])


def _tokens(name: str, point: Mapping[str, Any]) -> float:
    return float(point[name]) + float(point["num_verifier_tokens"] or 0)


def _styles(methods: Sequence[Method]) -> dict[str, int]:
    """A style for each method, the same in all pictures; those of one picture differ."""
    common = [one["label"] for one in methods if one["scorer"] is None and not one["live"]][:_NUM_COMMON]
    others = [one["label"] for one in methods if one["label"] not in common]
    room = NUM_STYLES - _NUM_COMMON
    placed = {label: _NUM_COMMON + place % room for place, label in enumerate(others)}
    return {**placed, **{label: place for place, label in enumerate(common)}}


def _series(
    methods: Sequence[Method], styles: Mapping[str, int], across: Callable[[Mapping[str, Any]], float]
) -> list[plots.Series]:
    return [
        plots.Series(
            method["label"],
            [across(point) for point in method["points"]],
            *([point[name] for point in method["points"]] for name in ("accuracy", "low", "high")),
            style=styles[method["label"]],
        )
        for method in methods
    ]


def _recovery(methods: Sequence[Method], results: Mapping[str, Any], draw: Draw) -> Picture:
    """Figure 3: every method at the largest k, on problems that the policy never solves."""
    k = max(results["k"])
    bars, chance, styles = [], None, _styles(methods)
    for method in methods:
        for point in method["points"]:
            if point["k"] == k and point["accuracy"] is not None and method["strategy"] != "oracle":
                shown = (point[name] for name in ("accuracy", "low", "high"))
                bars.append(plots.Bar(method["label"], *shown, style=styles[method["label"]]))
                chance = point["accuracy"] if method["strategy"] == "random" else chance
    figure = plots.recovery(bars, num_problems=results["num_problems"], k=k, chance=chance)
    return draw(figure, "recovery", f"Recovery on the extinction set at k = {k}")


def _by_k(methods: Sequence[Method], ks: Sequence[int]) -> Table:
    rows = []
    for method in methods:
        points = {point["k"]: point for point in method["points"]}
        last = method["points"][-1]
        cost = f"{last['num_tokens']:,.0f} + {last['num_verifier_tokens'] or 0:,.0f}"
        rows.append([method["label"], *(_percent(points.get(k), "accuracy") for k in ks), cost])
    return Table(["method", *(f"k = {k}" for k in ks), "tokens at the last k: proposer's + verifier's"], rows)


def _differences(methods: Sequence[Method], results: Mapping[str, Any]) -> list[Block]:
    k, references = max(results["k"]), results["references"]
    found = {(one["method"], one["reference"]): one for one in results["differences"] if one["k"] == k}
    rows = [
        [method["label"], *(_percent(found.get((method["label"], name)), "difference", "+") for name in references)]
        for method in methods
        if any((method["label"], name) in found for name in references)
    ]
    if not rows:
        return []
    head = Heading(f"Differences in points at k = {k}, paired by problem", 3)
    return [head, Table(["method", *(f"minus {name}" for name in references)], rows)]


def _calibrations(results: Mapping[str, Any], draw: Draw) -> Iterator[Picture]:
    for number, (name, told) in enumerate(results["calibration"].items()):
        if told is not None and told["bins"]:
            title = f"Calibration: {name}"
            figure = plots.calibration(told["bins"], ece=told["ece"], brier=told["brier"], title=title)
            yield draw(figure, f"calibration-{number}", f"{title}, of the last step's value of every trace")


def _prefixes(prefixes: Mapping[str, Any]) -> list[Block]:
    rows = [
        [str(one["scorer"]), str(one["aggregation"] or ""), *_bounded(one["auc"], one["low"], one["high"])]
        for one in prefixes["scorers"]
    ]
    told = f"{prefixes['num_prefixes']} prefixes of {prefixes['num_problems']} problems. {prefixes['definition']}"
    table = Table(["scorer", "aggregation", "AUC"], rows)
    return [Heading("Which prefix is better", 3), Paragraph(told), table]


def _bounded(value: float | None, low: float | None, high: float | None) -> list[str]:
    return ["" if value is None else f"{value:.3f}" + ("" if low is None else f" [{low:.3f}, {high:.3f}]")]


def _percent(point: Mapping[str, Any] | None, name: str, sign: str = "") -> str:
    if point is None or point[name] is None:
        return ""
    text = f"{100 * point[name]:{sign}.1f}"
    return text if point["low"] is None else f"{text} [{100 * point['low']:{sign}.1f}, {100 * point['high']:{sign}.1f}]"
