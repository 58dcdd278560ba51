"""Writing the searched trees to a file, with the model's check sum."""

from __future__ import annotations

import dataclasses
import hashlib
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from arts_lite.tree import Tree, TreeWriter

_CHUNK = 1 << 20


class TraceFile:
    """Appends trees to a trace file. Raises TraceFormatError: the file cannot be appended to."""

    def __init__(self, path: str) -> None:
        self._writer = TreeWriter(path)
        self._sha256: dict[str, str] = {}

    def write(self, tree: Tree) -> None:
        """Append a tree. The first one takes a while longer, to read the model's file."""
        model = dict(tree.origin.model)
        path = model.get("path")
        if model.get("sha256") is None and isinstance(path, str):
            model["sha256"] = self._sum(path)
        self._writer.write(dataclasses.replace(tree, origin=dataclasses.replace(tree.origin, model=model)))

    def _sum(self, path: str) -> str | None:
        if path not in self._sha256:
            with suppress(OSError):  # the file may be gone by now
                self._sha256[path] = _sha256(Path(path))
        return self._sha256.get(path)

    def __enter__(self) -> TraceFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._writer.close()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
