"""Hidden states of trees' prefixes, read by the engine from a GGUF itself and kept in a folder, part by part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arts_lite.engine import Engine, EngineConfig
from arts_lite.engine.forced import TokenTree, read_states
from arts_lite.errors import TrainingError
from arts_lite.train.rundir import RunDirectory

States = Sequence[NDArray[np.float32]]
"""Per tree, float32[num_nodes, n_embd]."""
PART_TOKENS = 8192
"""Of trees that are read together, and kept in one file."""
_CELLS = 256  # what llama.cpp rounds a cache up to


class StateFolder:
    """States of given trees under a given model; goes on where it was stopped.

    Args:
        folder: config.json, and one file per part, which appears when it is whole.
        model: what the states are of, JSON-ready; with the trees' tokens it names the folder's contents.
        trees: in an order that never changes.

    Raises:
        TrainingError: the folder holds states of another model or of other trees.
    """

    def __init__(self, folder: Path, model: Mapping[str, Any], trees: Sequence[TokenTree]) -> None:
        self._trees = trees
        self._parts = _parts([tree.num_tokens for tree in trees])
        told = {"kind": "states", "model": dict(model), "trees": digest_of(trees), "num_parts": len(self._parts)}
        self._folder = RunDirectory(folder, told).path

    @property
    def num_parts(self) -> int:
        """Files in all."""
        return len(self._parts)

    @property
    def num_left(self) -> int:
        """Files that are not there yet."""
        return sum(not self._path(number).exists() for number in range(len(self._parts)))

    def fill(
        self,
        engine: Engine,
        *,
        tell: Callable[[int], None] = lambda _done: None,
        shall_stop: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Read what is not there yet, telling how many parts are; False: it was stopped before the end.

        Raises:
            TrainingError: a file cannot be written, or a state is not finite.
        """
        left = [number for number in range(self.num_parts) if not self._path(number).exists()]
        tell(self.num_parts - len(left))
        for place, number in enumerate(left, 1):
            if shall_stop():
                return False
            part = [self._trees[one] for one in self._parts[number]]
            self._write(number, np.concatenate(read_states(engine, part)))
            tell(self.num_parts - len(left) + place)
        return True

    def load(self) -> list[NDArray[np.float32]]:
        """The states, per tree; files are mapped, not read. Raises TrainingError: one is missing or damaged."""
        found: list[NDArray[np.float32]] = []
        for number, part in enumerate(self._parts):
            sizes = [len(self._trees[one].parent) for one in part]
            path = self._path(number)
            try:
                rows = np.load(path, mmap_mode="r")
            except (OSError, EOFError, ValueError) as error:
                raise TrainingError(f"{path} cannot be read ({error}); remove it and run the same command") from error
            if rows.dtype != np.float32 or rows.ndim != 2 or len(rows) != sum(sizes):
                raise TrainingError(f"{path} is damaged; remove it and run the same command")
            found += np.split(rows, np.cumsum(sizes)[:-1])
        return found

    def _path(self, number: int) -> Path:
        return self._folder / f"states-{number:05}.npy"

    def _write(self, number: int, rows: NDArray[np.float32]) -> None:
        if not np.isfinite(rows).all():
            raise TrainingError("the model's hidden states hold numbers that are not finite; take another file of it")
        temporary = self._path(number).with_suffix(".new")
        try:
            with temporary.open("wb") as file:
                np.save(file, rows)
            temporary.replace(self._path(number))
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            raise TrainingError(
                f"{self._path(number)} could not be written ({error}); make room and run the same command to go on"
            ) from error


def reading_config(trees: Sequence[TokenTree], *, at_least: int = 1, **options: Any) -> EngineConfig:
    """Settings of an engine that reads these trees, a part at a time, and alike whatever it has read before."""
    longest = max(at_least, *(max(longest_path(tree), len(tree.tokens[0]) + 1) for tree in trees))
    most = max(PART_TOKENS, 2 * longest)
    own = {"ctx_size": longest, "num_cells": -(-most // _CELLS) * _CELLS, "reproducible": True}
    return EngineConfig(**{**own, **options})


def longest_path(tree: TokenTree) -> int:
    """Tokens of a tree's longest path."""
    ends: list[int] = []
    for parent, tokens in zip(tree.parent, tree.tokens, strict=True):
        ends.append(len(tokens) + (ends[parent] if parent >= 0 else 0))
    return max(ends)


def digest_of(trees: Sequence[TokenTree]) -> str:
    """Name trees by their tokens."""
    told = blake2b(digest_size=16)
    for tree in trees:
        sizes = [len(tokens) for tokens in tree.tokens]
        for array in (np.array(tree.parent), np.array(sizes), np.concatenate(tree.tokens)):
            told.update(array.astype("<i4").tobytes())
    return told.hexdigest()


def _parts(sizes: Sequence[int]) -> list[list[int]]:
    """Cut trees, in their order, into parts of at most PART_TOKENS, one tree at least."""
    parts: list[list[int]] = []
    total = 0
    for number, size in enumerate(sizes):
        if not parts or total + size > PART_TOKENS:
            parts.append([])
            total = 0
        parts[-1].append(number)
        total += size
    return parts
