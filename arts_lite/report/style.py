"""How plots look: readable in grey, the same on every machine. matplotlib is imported when a plot is drawn."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from arts_lite.errors import ReportError
from arts_lite.report.files import write_whole

Figure = Any
"""A matplotlib Figure."""
Axes = Any
"""A matplotlib Axes."""

_COLOURS = (
    "#1f4e9c",
    "#c4570c",
    "#11766b",
    "#8a2d6b",
    "#5a5a5a",
    "#9a7a00",
    "#3b8fd0",
    "#b3261e",
    "#2f2f2f",
    "#6a8f2a",
)
_MARKERS = ("o", "s", "^", "D", "v", "X", "P", "*", "<", ">")
_DASHES = ("-", (0, (6, 2)), (0, (1, 1.2)), (0, (6, 2, 1, 2)), (0, (3, 1.5)), (0, (8, 2, 1, 1.5, 1, 2)))
NUM_STYLES = len(_MARKERS)
_LONGEST_LABEL = 40
_RC = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.7,
    "lines.markersize": 6,
    "errorbar.capsize": 2.5,
    "hatch.linewidth": 0.8,
    "svg.fonttype": "none",
    "svg.hashsalt": "arts-lite",
    "figure.dpi": 100,
    "savefig.dpi": 150,
}


@contextmanager
def drawing(width: float = 7.2, height: float = 4.2, columns: int = 1) -> Iterator[tuple[Figure, Any]]:
    """Yield an empty figure of so many inches and its axes (an array of them for several columns).

    Raises:
        ReportError: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as PlainFigure
    except ImportError as error:
        raise ReportError(
            f"plots need matplotlib, which cannot be imported ({error}). Run: pip install 'arts-lite[report]'"
        ) from error
    with matplotlib.rc_context(_RC):  # pyplot's figures are global; this one is not
        figure = PlainFigure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure, figure.subplots(1, columns)


def line_style(place: int) -> dict[str, Any]:
    """Colour, marker and dashes of the n-th line: any one of them tells lines apart."""
    return {
        "color": _COLOURS[place % len(_COLOURS)],
        "marker": _MARKERS[place % len(_MARKERS)],
        "linestyle": _DASHES[place % len(_DASHES)],
        "markerfacecolor": "white" if place % 2 else _COLOURS[place % len(_COLOURS)],
    }


def plain(text: object) -> str:
    """Make a label of any text: one line, not too long, never read as a formula."""
    line = " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", "\ufffd", str(text)).split())
    line = line if len(line) <= _LONGEST_LABEL else line[: _LONGEST_LABEL - 3] + "..."
    line = "\u200b" + line if line.startswith("_") else line  # matplotlib hides labels that begin so
    return line.replace("$", r"\$")


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write a figure as STEM.svg and STEM.png, each whole or not at all. Raises ReportError: it cannot be written."""
    import matplotlib

    paths = []
    for kind, metadata in (("svg", {"Date": None}), ("png", {})):
        content = io.BytesIO()
        with matplotlib.rc_context(_RC):
            figure.savefig(content, format=kind, metadata=metadata)
        paths.append(stem.with_name(f"{stem.name}.{kind}"))
        write_whole(paths[-1], content.getvalue())
    return paths
