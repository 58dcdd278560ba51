"""One report of what other commands left: pictures and tables of evaluations, tuning runs and trees."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from arts_lite.errors import ReportError
from arts_lite.experiments.overview_eval import describe_evaluation, is_evaluation
from arts_lite.experiments.overview_runs import describe_trees, describe_tuning, has_trees, is_tuning
from arts_lite.report.document import Block, Heading, Paragraph, Picture, markdown, page
from arts_lite.report.files import write_whole
from arts_lite.report.style import Figure, save

_HOW = (
    "Intervals are those of 95 % that the files tell. Every picture lies beside this page as SVG and PNG, in the "
    "folder pictures."
)


class Pictures:
    """Draws figures into a folder.

    Args:
        folder: gets them.
        name: of what they belong to; begins their files' names.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name

    def add(self, figure: Figure, name: str, text: str) -> Picture:
        """Write a figure as SVG and PNG; the page shows the SVG. Raises ReportError: it cannot be written."""
        stem = re.sub(r"[^A-Za-z0-9.-]+", "-", f"{self._name}-{name}").strip("-.")
        return Picture(save(figure, self._folder / stem)[0], text)


def write_overview(folders: Sequence[Path], out: Path, *, extinct: Sequence[Path] = ()) -> list[Path]:
    """Draw what folders hold and write OUT/report.md and OUT/report.html; returns these two.

    Args:
        folders: of `arts-lite eval`, `train grpo` (also of a sweep) or `sdf`, or files of trees.
        extinct: evaluations of problems that a tuned policy never solves; they are drawn as recovery too.

    Raises:
        ReportError: a folder is missing, holds nothing that can be drawn or is damaged, or a file cannot be written.
    """
    found = [(part, folder in extinct) for folder in dict.fromkeys((*folders, *extinct)) for part in _parts(folder)]
    try:
        (out / "pictures").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ReportError(f"{out} cannot be made: {error.strerror or error}; choose another folder") from error
    blocks: list[Block] = [Heading("ARTS-lite: what was measured", 1), Paragraph(_HOW)]
    for number, (part, is_extinct) in enumerate(found, 1):
        pictures = Pictures(out / "pictures", f"{number}-{part.stem or 'here'}")
        blocks += _described(part, pictures, is_extinct=is_extinct)
    paths = [out / "report.md", out / "report.html"]
    for path, text in zip(paths, (markdown(blocks, out), page(blocks)), strict=True):
        write_whole(path, text.encode("utf-8", "replace"))
    return paths


def _parts(folder: Path) -> list[Path]:
    """The folder itself, or the runs of a sweep. Raises ReportError: it is missing, or holds nothing to draw."""
    if not folder.exists():
        raise ReportError(f"{folder} does not exist; check the path (relative paths start at {Path.cwd()})")
    if is_evaluation(folder) or is_tuning(folder) or has_trees(folder):
        return [folder]
    parts = sorted(path for path in folder.glob("lr-*") if is_tuning(path))
    if not parts:
        raise ReportError(
            f"{folder} holds nothing that can be drawn; name a folder of arts-lite eval (run to its end), train grpo "
            "or sdf, or a file of trees"
        )
    return parts


def _described(part: Path, pictures: Pictures, *, is_extinct: bool) -> list[Block]:
    try:
        if is_evaluation(part):
            return describe_evaluation(part, pictures.add, is_extinct=is_extinct)
        if is_tuning(part):
            return describe_tuning(part, pictures.add)
        return describe_trees(part)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        what = f"{type(error).__name__}: {error}"
        raise ReportError(
            f"{part} is damaged, or another version of arts-lite wrote it ({what}); make its results again"
        ) from error
