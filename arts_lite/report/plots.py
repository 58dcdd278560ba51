"""Plots of plain numbers: accuracies, recovery, tuning, calibration. Each function returns a figure to `save`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any

from arts_lite.report.style import Axes, Figure, drawing, line_style, plain

INTERVAL = "bars: 95 % intervals"
LEAST_TRACES = 5
"""Fewer make no mean that is worth a point."""
Value = float | None


@dataclass(frozen=True)
class Series:
    """A line: values over x, each with its interval; None where nothing is known.

    Attributes:
        label: in the legend.
        x, y, low, high: of equal length.
        style: number of the line's style, see `line_style`; None: its place among the others.
    """

    label: str
    x: Sequence[float]
    y: Sequence[Value]
    low: Sequence[Value]
    high: Sequence[Value]
    style: int | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar with its interval; `style` as of a `Series`."""

    label: str
    value: float
    low: Value
    high: Value
    style: int | None = field(default=None, kw_only=True)


def accuracy_by_k(series: Sequence[Series], *, num_problems: int, title: str = "Accuracy against k") -> Figure:
    """Draw accuracies in [0, 1] over the number of traces per problem."""
    with drawing() as (figure, axes):
        axes.set_xscale("log", base=2)
        ticks = sorted({value for one in series for value in one.x})
        for place, one in enumerate(series):  # beside each other: their intervals would hide one another
            _line(axes, one, place, nudge=2 ** (0.035 * (place - (len(series) - 1) / 2)), factor=100)
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel("traces per problem, k")
        _accuracy_axis(axes, num_problems, title)
        figure.legend(loc="outside right upper")
    return figure


def accuracy_by_tokens(
    series: Sequence[Series], *, num_problems: int, unit: str, title: str = "Accuracy against tokens"
) -> Figure:
    """Draw accuracies in [0, 1] over the mean tokens per problem.

    Args:
        unit: what the tokens count.
    """
    with drawing() as (figure, axes):
        axes.set_xscale("log", base=2)
        for place, one in enumerate(series):
            _line(axes, one, place, nudge=2 ** (0.02 * (place - (len(series) - 1) / 2)), factor=100)
        axes.xaxis.set_major_formatter(lambda value, _place: f"{value:,.0f}")
        axes.set_xlabel(f"tokens per problem, mean: {unit}")
        _accuracy_axis(axes, num_problems, title)
        figure.legend(loc="outside right upper")
    return figure


def recovery(bars: Sequence[Bar], *, num_problems: int, k: int, chance: Value = None) -> Figure:
    """Draw the share of problems, in [0, 1], that each method recovers on an extinction set (figure 3).

    Args:
        bars: a bar per method.
        k: fresh samples per problem.
        chance: of a random choice among the same samples; a line.
    """
    with drawing(7.2, 1.5 + 0.42 * len(bars)) as (figure, axes):
        for place, bar in enumerate(bars):
            number = place if bar.style is None else bar.style
            hatch, edge = _HATCHES[number % len(_HATCHES)], line_style(number)["color"]
            axes.barh(place, 100 * bar.value, color="white", edgecolor=edge, hatch=hatch)
            end = bar.value
            if bar.low is not None and bar.high is not None:
                _error_bar(axes, 100 * bar.value, place, 100 * bar.low, 100 * bar.high)
                end = bar.high
            axes.annotate(f"{100 * bar.value:.1f}", (100 * end, place), (6, 0), textcoords="offset points", va="center")
        if chance is not None:
            axes.axvline(100 * chance, color="black", linestyle="--", linewidth=1.2)
            axes.annotate(
                "random choice", (100 * chance, len(bars) - 0.4), (4, 0), textcoords="offset points", fontsize=9
            )
        axes.set_yticks(range(len(bars)), [plain(bar.label) for bar in bars])
        axes.set_ylim(len(bars) - 0.3, -0.6)
        axes.set_xlim(left=0)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(f"problems answered right, %   (k = {k}, n = {num_problems} problems, {INTERVAL})")
        axes.set_title("Recovery on the extinction set")
    return figure


def extinction(rows: Sequence[Mapping[str, Any]], *, title: str = "What tuning does to traces of the base") -> Figure:
    """Draw the change of log10-likelihood of traces over the steps of tuning (figure 1b).

    Args:
        rows: lines of extinction.jsonl of one run, of one kind (`by`).
    """
    ordered = sorted(rows, key=lambda row: (_BINS.index(row["name"]) if row["name"] in _BINS else 9, row["name"]))
    with drawing() as (figure, axes):
        for place, (name, group) in enumerate(groupby(ordered, key=itemgetter("name"))):
            points = sorted(group, key=itemgetter("step"))
            label = f"{name} ({points[-1]['num_traces']} traces, {points[-1]['num_problems']} problems)"
            values = [[point[key] for point in points] for key in ("step", "mean_delta_log10_prob", "low", "high")]
            _line(axes, Series(label, *values), place, nudge=1.0)
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set_xlabel("steps of tuning")
        axes.set_ylabel("change of log10-likelihood, mean")
        axes.set_title(f"{plain(title)}\n", loc="left")
        _note(axes, f"0: as likely as under the base; {INTERVAL} over problems")
        figure.legend(loc="outside lower center", ncols=2)
    return figure


def calibration(bins: Sequence[Mapping[str, Any]], *, ece: Value, brier: Value, title: str = "Calibration") -> Figure:
    """Draw a reliability curve and the histogram of the probabilities.

    Args:
        bins: each with low, high, num, predicted, observed; intervals of `observed` are Wilson's.
        ece, brier: expected calibration error and Brier score.
    """
    num = sum(one["num"] for one in bins)
    with drawing(8.6, 4.2, columns=2) as (figure, (curve, histogram)):
        curve.plot([0, 1], [0, 1], color="black", linewidth=1, linestyle=":", label="perfect")
        bounds = [wilson(one["observed"], one["num"]) for one in bins]
        observed = [one["observed"] for one in bins]
        known = Series(
            "observed",
            [one["predicted"] for one in bins],
            observed,
            [low for low, _ in bounds],
            [high for _, high in bounds],
        )
        _line(curve, known, 0)
        curve.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        curve.set_xlabel("probability of being right, as told")
        curve.set_ylabel("share that is right")
        curve.set_title(f"{plain(title)}\n", loc="left")
        _note(curve, f"ECE {_number(ece)}, Brier {_number(brier)}; {INTERVAL}")
        curve.legend(loc="best")
        histogram.bar(
            [(one["low"] + one["high"]) / 2 for one in bins],
            [one["num"] for one in bins],
            width=[0.92 * (one["high"] - one["low"]) for one in bins],
            color="white",
            edgecolor=line_style(0)["color"],
            hatch="////",
        )
        histogram.set_xlim(-0.02, 1.02)
        histogram.set_xlabel("probability of being right, as told")
        histogram.set_ylabel("traces")
        histogram.set_title("How often\n", loc="left")
        _note(histogram, f"n = {num:,} traces")
    return figure


def score_by_depth(points: Sequence[Mapping[str, Any]], *, unit: str, title: str = "Score against depth") -> Figure:
    """Draw the mean score after so many steps, of traces that come out right and wrong.

    Args:
        points: each with depth, mean_correct, mean_wrong, num_correct, num_wrong.
        unit: of the score.
    """
    with drawing(8.6, 4.2, columns=2) as (figure, (means, counts)):
        depths = [point["depth"] for point in points]
        for place, (end, told) in enumerate((("correct", "come out right"), ("wrong", "come out wrong"))):
            unknown = [None] * len(points)
            values = [point[f"mean_{end}"] if point[f"num_{end}"] >= LEAST_TRACES else None for point in points]
            _line(means, Series(f"traces that {told}", depths, values, unknown, unknown), place)
            style = {**line_style(place), "marker": None}
            counts.step(depths, [point[f"num_{end}"] for point in points], where="mid", label=f"that {told}", **style)
        for axes in (means, counts):
            axes.set_xlabel("steps from the question")
            axes.xaxis.get_major_locator().set_params(integer=True)
        means.set_ylabel(f"mean {plain(unit)}")
        means.set_title(f"{plain(title)}\n", loc="left")
        _note(means, f"means over traces that are so long, of at least {LEAST_TRACES}; no intervals")
        means.legend(loc="best")
        counts.set_ylabel("traces that are so long")
        counts.set_ylim(bottom=0)
        counts.set_title("How many\n", loc="left")
        counts.legend(loc="best")
    return figure


def tuning(rows: Sequence[Mapping[str, Any]], *, title: str = "Tuning by GRPO") -> Figure:
    """Draw the reward of a tuning run, the share of prompts without gradient, and pass@1 on the dev problems.

    Args:
        rows: lines of metrics.jsonl.
    """
    with drawing() as (figure, axes):
        named = (
            ("reward", "mean reward of a step's completions"),
            ("frac_reward_zero_std", "share of prompts without gradient"),
            ("dev_pass_at_1", "pass@1 on dev problems"),
        )
        for place, (key, label) in enumerate(named):
            points = [(row["step"], row[key]) for row in rows if row.get(key) is not None]
            if not points:
                continue
            style = line_style(place)
            if key != "dev_pass_at_1":  # one per step
                points, style["marker"] = _smoothed(points), None
                label += " (running mean)"
            axes.plot(*zip(*points, strict=True), label=label, **style)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("steps of tuning")
        axes.set_ylabel("share")
        axes.set_title(f"{plain(title)}\n", loc="left")
        num_dev = next((row["num_dev"] for row in rows if row.get("num_dev")), None)
        _note(axes, "no intervals" if num_dev is None else f"n = {num_dev} dev problems; no intervals")
        figure.legend(loc="outside lower center", ncols=2)
    return figure


_BINS = ("mode", "rare", "endangered", "wrong")
_HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "----", "++++", "oooo")


def wilson(share: float, num: int) -> tuple[float, float]:
    """Bound a share of num independent draws with 95 % (Wilson 1927); (0, 1) for none."""
    if num == 0:
        return 0.0, 1.0
    z = 1.96
    middle = (share + z * z / (2 * num)) / (1 + z * z / num)
    half = z * math.sqrt(share * (1 - share) / num + z * z / (4 * num * num)) / (1 + z * z / num)
    return max(0.0, middle - half), min(1.0, middle + half)


def _line(axes: Axes, series: Series, place: int, *, nudge: float = 1.0, factor: float = 1.0) -> None:
    """Draw a line with error bars where there are any; its x are multiplied by `nudge`, its y by `factor`."""
    style = line_style(place if series.style is None else series.style)
    known = zip(series.x, series.y, series.low, series.high, strict=True)
    kept = [(x * nudge, y * factor, low, high) for x, y, low, high in known if y is not None]
    axes.plot([one[0] for one in kept], [one[1] for one in kept], label=plain(series.label), zorder=3, **style)
    for x, y, low, high in kept:
        if low is not None and high is not None and high > low:
            bounds = [[max(0.0, y - low * factor)], [max(0.0, high * factor - y)]]
            axes.errorbar([x], [y], yerr=bounds, fmt="none", ecolor=style["color"], elinewidth=1)


def _error_bar(axes: Axes, value: float, y: float, low: float, high: float) -> None:
    below, above = max(0.0, value - low), max(0.0, high - value)
    axes.errorbar([value], [y], xerr=[[below], [above]], fmt="none", ecolor="black", elinewidth=1.2)


def _accuracy_axis(axes: Axes, num_problems: int, title: str) -> None:
    axes.set_ylabel("right answers, %")
    axes.set_title(f"{plain(title)}\n", loc="left")
    _note(axes, f"n = {num_problems:,} problems; {INTERVAL} over problems")


def _note(axes: Axes, text: str) -> None:
    """Put a small line under the title."""
    axes.text(0, 1.02, text, transform=axes.transAxes, fontsize=9, color="#444444")


def _number(value: Value) -> str:
    return "unknown" if value is None else f"{value:.3f}"


def _smoothed(points: Sequence[tuple[float, float]], width: int = 10) -> list[tuple[float, float]]:
    """Average over the last `width` points."""
    values = [value for _, value in points]
    return [
        (step, math.fsum(values[max(0, place - width + 1) : place + 1]) / min(place + 1, width))
        for place, (step, _) in enumerate(points)
    ]
