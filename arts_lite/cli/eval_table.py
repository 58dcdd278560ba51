"""The figures of an evaluation as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

_ORDER = ("random", "majority", "best-of-n", "weighted-vote")


_COSTS = ("num_tokens", "num_tokens_decoded", "num_verifier_tokens")
_PLAIN_WIDTH = 180  # of lines that no terminal breaks


def print_results(results: Mapping[str, Any], *, shows_all: bool = False) -> None:
    """Print accuracies by k, cost, differences from the references at the largest k, and prefixes."""
    console = wide_console()
    for table in tables(results, shows_all=shows_all):
        console.print(table)
    if results["num_missing"]:
        console.print(f"{results['num_missing']} problems are not in the pool, and do not count.")
    if not shows_all and any(_is_other(method) for method in results["methods"]):
        console.print("Other aggregations of the verifiers' steps: arts-lite eval results DIR --all, or results.json.")


def wide_console() -> Console:
    """Make a console that breaks no line of a table, unless a terminal is narrower."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_PLAIN_WIDTH)


def tables(results: Mapping[str, Any], *, shows_all: bool = False) -> Iterator[Table]:
    """Make the tables; `shows_all`: with every aggregation, not only the scorers' own."""
    methods = [one for one in _sorted(results["methods"]) if shows_all or not _is_other(one)]
    ks = [k for k in results["k"] if k > 1] or list(results["k"])
    table = Table(title=f"{results['num_problems']} problems of {results['task']}: % right answers, 95 % intervals")
    table.add_column("method", no_wrap=True)
    for k in ks:
        table.add_column(f"k={k}", justify="right")
    table.add_column(f"tokens at {ks[-1]}: drawn, decoded, read", justify="right")
    for method in methods:
        points = {point["k"]: point for point in method["points"]}
        told = points.get(ks[-1])
        cost = "" if told is None else " ".join(f"{told[name]:,.0f}" for name in _COSTS)
        table.add_row(method["label"], *(interval_of(points.get(k), "accuracy") for k in ks), cost)
    yield table
    yield _differences(results, methods, ks[-1])
    if results["prefixes"]:
        yield _prefixes(results["prefixes"])


def _differences(results: Mapping[str, Any], methods: Sequence[Mapping[str, Any]], k: int) -> Table:
    table = Table(title=f"Differences at k={k} in points, paired by problem")
    table.add_column("method", no_wrap=True)
    for reference in results["references"]:
        table.add_column(f"- {reference}", justify="right")
    found = {(one["method"], one["reference"]): one for one in results["differences"] if one["k"] == k}
    for method in methods:
        cells = [
            interval_of(found.get((method["label"], name)), "difference", sign="+") for name in results["references"]
        ]
        if any(cells):
            table.add_row(method["label"], *cells)
    return table


def _prefixes(prefixes: Mapping[str, Any]) -> Table:
    table = Table(
        title=f"{prefixes['num_prefixes']} prefixes of {prefixes['num_problems']} problems, "
        f"{prefixes['num_rollouts']} rollouts each"
    )
    for name in ("scorer", "AUC within problems", "AUC at one half"):
        table.add_column(name, justify="left" if name == "scorer" else "right")
    for row in prefixes["scorers"]:
        name = row["scorer"] if row["aggregation"] is None else f"{row['scorer']}/{row['aggregation']}"
        half = "" if row["auc_half"] is None else f"{100 * row['auc_half']:.1f}"
        table.add_row(name, interval_of(row, "auc"), half)
    return table


def _sorted(methods: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Order the methods: those of the pool, by their own aggregation first, then live ones, the oracle last."""

    def place(method: Mapping[str, Any]) -> tuple[bool, bool, int]:
        known = _ORDER.index(method["strategy"]) if method["strategy"] in _ORDER else len(_ORDER)
        return method["strategy"] == "oracle", _is_other(method), known + 10 * method["live"]

    return sorted(methods, key=place)


def _is_other(method: Mapping[str, Any]) -> bool:
    return method["aggregation"] is not None and not method["is_own"]


def interval_of(told: Mapping[str, Any] | None, name: str, *, sign: str = "") -> str:
    """Write a figure and its interval in percent; "" where there is none."""
    if told is None or told[name] is None:
        return ""
    shown = [100 * told[part] for part in (name, "low", "high") if told[part] is not None]
    middle, *ends = (f"{value:{sign}.1f}" for value in shown)
    return f"{middle} [{', '.join(ends)}]" if ends else middle
