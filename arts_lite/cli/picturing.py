"""The searched trees as a page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from arts_lite.errors import ReportError
from arts_lite.report import write_tree_page
from arts_lite.tree import Tree

_MAX_TREES = 100  # a browser has to hold them all


class PageFile:
    """Gathers trees and writes their page at the end, also of a run that is interrupted.

    Args:
        path: of the page.
        say: is told if there are more trees than a page takes.

    Raises:
        ReportError: the folder does not exist.
    """

    def __init__(self, path: str, say: Callable[[str], None]) -> None:
        self._path = Path(path)
        self._say = say
        self._trees: dict[int, Tree] = {}
        self._num_left_out = 0
        if not self._path.parent.is_dir() or self._path.is_dir():  # told now, not after an hour's search
            raise ReportError(f"{path} cannot be written; name a file in a folder that exists")

    def add(self, number: int, tree: Tree) -> None:
        """Take the tree of a question."""
        if len(self._trees) < _MAX_TREES:
            self._trees[number] = tree
        else:
            self._num_left_out += 1

    def __enter__(self) -> PageFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._trees:
            write_tree_page(self._path, [tree for _, tree in sorted(self._trees.items())])
            self._say(f"the page of {_trees(len(self._trees))}: {self._path}")
        if self._num_left_out:
            self._say(f"{_trees(self._num_left_out)} more had no room on the page; --trace keeps all")


def _trees(number: int) -> str:
    return f"{number} tree" if number == 1 else f"{number} trees"
