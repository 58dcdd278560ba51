"""A folder of tree files that belong together: one settings file, one tree file for each shard."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from arts_lite.errors import ArtsError
from arts_lite.tree import Tree, read_trees

SETTINGS = "settings.json"
SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst")


class DatasetError(ArtsError):
    """A data set's folder cannot be used, or its settings are others than asked for."""


def settle(folder: Path, settings: Mapping[str, Any], what: str = "trees") -> None:
    """Write a folder's settings, or check that it has the same ones already.

    Args:
        what: the folder holds, for the message.

    Raises:
        DatasetError: the folder holds things of other settings (the text names them), or cannot be written.
    """
    wanted = json.loads(json.dumps(settings))
    path = folder / SETTINGS
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            if next(tree_files(folder), None) is not None:
                raise DatasetError(f"{folder} holds tree files, but no {SETTINGS}; choose an empty folder")
            draft = folder / f".{SETTINGS}.{os.getpid()}"
            draft.write_text(json.dumps(wanted, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            try:
                os.link(draft, path)  # never over the file of a shard that started at the same moment
            except FileExistsError:
                pass
            except OSError:  # a file system without links
                draft.replace(path)
            draft.unlink(missing_ok=True)
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DatasetError(f"{folder} cannot be used: {error.strerror or error}; choose another folder") from error
    except ValueError as error:
        raise DatasetError(f"{path} is damaged ({error}); restore it, or choose an empty folder") from error
    others = sorted(_differences(found, wanted))
    if others:
        raise DatasetError(
            f"{folder} holds {what} of other settings: {'; '.join(others[:6])}; give the same ones to go on, "
            "or choose an empty folder"
        )


def tree_files(folder: Path) -> Iterator[Path]:
    """Name the folder's tree files, in order."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.name.startswith("trees") and path.name.endswith(SUFFIXES):
            yield path


def read_folder(path: str | os.PathLike[str]) -> Iterator[Tree]:
    """Read all trees of a folder, or of one file. Raises DatasetError: there is none; TraceFormatError: damaged."""
    path = Path(path)
    files = list(tree_files(path)) if path.is_dir() else [path]
    if not files or not files[0].exists():
        raise DatasetError(f"{path} holds no tree file (trees*.jsonl, .gz or .zst); check the path")
    for file in files:
        yield from read_trees(file)


def _differences(found: Any, wanted: Any, name: str = "") -> Iterator[str]:
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in found.keys() | wanted.keys():
            yield from _differences(found.get(key), wanted.get(key), f"{name}.{key}" if name else key)
    elif found != wanted:
        yield f"{name} is {_short(found)} there and {_short(wanted)} here"


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 50 else text[:47] + "..."
