"""Plots: what stands in them, that they can be told apart without colour, and that no label is read as a command."""

from __future__ import annotations

import builtins
import itertools
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from arts_lite.errors import ReportError
from arts_lite.report import plots
from arts_lite.report.plots import Bar, Series
from arts_lite.report.style import NUM_STYLES, drawing, line_style, plain, save


def line(label: str, *values: float | None, width: float = 0.1) -> Series:
    low = [None if value is None else value - width for value in values]
    high = [None if value is None else value + width for value in values]
    return Series(label, [2.0**place for place in range(len(values))], values, low, high)


def texts(figure: Any) -> list[str]:
    """Everything that is written in a figure."""
    import matplotlib.text

    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


def drawn(axes: Any) -> dict[str, tuple[list[float], list[float]]]:
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.get_lines()}


def test_accuracies_are_drawn_in_percent_with_intervals_and_n() -> None:
    figure = plots.accuracy_by_k([line("majority", 0.25, 0.5), line("flow", 0.25, None)], num_problems=1500)
    [axes] = figure.axes
    assert drawn(axes)["majority"][1] == [25.0, 50.0]
    assert drawn(axes)["flow"][1] == [25.0]
    bars = [bar for bar in axes.containers if bar.has_yerr]
    heights = [path.vertices[:, 1].tolist() for bar in bars for path in bar.lines[2][0].get_paths()]
    assert heights == [pytest.approx([15, 35]), pytest.approx([40, 60]), pytest.approx([15, 35])]
    assert "n = 1,500 problems; bars: 95 % intervals over problems" in texts(figure)
    assert {"traces per problem, k", "right answers, %", "majority", "flow"} <= set(texts(figure))


def test_tokens_say_what_they_count() -> None:
    figure = plots.accuracy_by_tokens([line("flow", 0.5, 0.6)], num_problems=7, unit="decoded")
    assert "tokens per problem, mean: decoded" in texts(figure)


def test_recovery_has_a_bar_per_method_and_a_line_for_chance() -> None:
    bars = [Bar("random", 0.027, 0.01, 0.05), Bar("flow", 0.069, None, None)]
    figure = plots.recovery(bars, num_problems=300, k=16, chance=0.027)
    [axes] = figure.axes
    assert [patch.get_width() for patch in axes.patches] == pytest.approx([2.7, 6.9])
    assert axes.get_lines()[-1].get_xdata()[0] == pytest.approx(2.7)
    assert {"2.7", "6.9", "random choice"} <= set(texts(figure))
    assert any("k = 16, n = 300 problems" in text for text in texts(figure))


def probe(name: str, step: int, change: float) -> dict[str, Any]:
    bounds = {"low": None if step == 0 else change - 1, "high": None if step == 0 else change + 1}
    return {"step": step, "name": name, "mean_delta_log10_prob": change, **bounds, "num_traces": 9, "num_problems": 4}


def test_traces_of_the_base_are_followed_over_the_steps() -> None:
    rows = [probe(name, step, sign * step / 10) for step in (50, 0) for name, sign in (("wrong", -1), ("mode", 1))]
    figure = plots.extinction(rows)
    lines = drawn(figure.axes[0])
    assert lines["mode (9 traces, 4 problems)"] == ([0, 50], [0, 5])
    assert lines["wrong (9 traces, 4 problems)"] == ([0, 50], [0, -5])
    assert next(iter(lines)).startswith("mode")  # in the paper's order, not the alphabet's
    assert {"steps of tuning", "change of log10-likelihood, mean"} <= set(texts(figure))


def test_calibration_has_a_curve_with_intervals_and_a_histogram() -> None:
    bins = [
        {"low": 0.0, "high": 0.1, "num": 40, "predicted": 0.05, "observed": 0.1},
        {"low": 0.9, "high": 1.0, "num": 10, "predicted": 0.95, "observed": 0.8},
    ]
    figure = plots.calibration(bins, ece=0.06, brier=None)
    curve, histogram = figure.axes
    assert drawn(curve)["observed"] == ([0.05, 0.95], [0.1, 0.8])
    assert [patch.get_height() for patch in histogram.patches] == [40, 10]
    assert any("ECE 0.060, Brier unknown" in text for text in texts(figure))
    assert "n = 50 traces" in texts(figure)


def test_wilsons_interval_is_the_published_one() -> None:
    assert plots.wilson(0.1, 20) == pytest.approx((0.0279, 0.3010), abs=1e-4)  # 2 of 20
    assert plots.wilson(0.0, 0) == (0.0, 1.0)
    assert plots.wilson(1.0, 5)[1] == 1.0


def test_depths_with_few_traces_have_no_mean() -> None:
    points = [
        {"depth": 1, "mean_correct": 1.0, "mean_wrong": 0.5, "num_correct": 9, "num_wrong": 5},
        {"depth": 2, "mean_correct": 2.0, "mean_wrong": None, "num_correct": 4, "num_wrong": 0},
    ]
    means, counts = plots.score_by_depth(points, unit="log-flow").axes
    assert drawn(means)["traces that come out right"] == ([1], [1.0])
    assert drawn(counts)["that come out right"] == ([1, 2], [9, 4])


def test_tuning_shows_what_was_measured() -> None:
    rows: list[dict[str, Any]] = [{"step": 0, "dev_pass_at_1": 0.5, "num_dev": 64}]
    rows += [{"step": step, "reward": step % 2, "frac_reward_zero_std": None} for step in range(1, 41)]
    figure = plots.tuning(rows)
    lines = drawn(figure.axes[0])
    assert set(lines) == {"mean reward of a step's completions (running mean)", "pass@1 on dev problems"}
    assert lines["mean reward of a step's completions (running mean)"][1][-1] == 0.5
    assert "n = 64 dev problems; no intervals" in texts(figure)


def test_lines_differ_without_their_colours() -> None:
    styles = [line_style(place) for place in range(NUM_STYLES)]
    assert len({style["marker"] for style in styles}) == NUM_STYLES
    neighbours = itertools.pairwise(styles)
    assert all(a["linestyle"] != b["linestyle"] for a, b in neighbours)


@pytest.mark.parametrize(
    "label", [r"$\frac{1}{0}$", "_hidden", "a\nb\x00\ud800", "<script>alert(1)</script>", "x" * 500]
)
def test_any_label_is_only_a_label(tmp_path: Path, label: str) -> None:
    figure = plots.accuracy_by_k([line(label, 0.1, 0.2)], num_problems=3, title=label)
    svg, png = save(figure, tmp_path / "plot")
    root = ElementTree.parse(svg).getroot()
    assert not [one for one in root.iter() if one.tag.endswith("script")]
    assert len(plain(label)) <= 42
    assert any(plain(label) in text for text in texts(figure))
    assert png.read_bytes().startswith(b"\x89PNG")


def test_the_same_numbers_give_the_same_svg(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save(plots.accuracy_by_k([line("a", 0.1, 0.2)], num_problems=3), tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "matplotlib":
            raise ModuleNotFoundError("No module named 'matplotlib'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ReportError, match=r"pip install 'arts-lite\[report\]'"), drawing():
        pass
