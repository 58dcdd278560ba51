"""GGUF files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import gguf

from arts_lite.engine.gguf import read_header
from arts_lite.errors import ModelLoadError, TrainingError
from arts_lite.train.rundir import replacing


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a name to write a GGUF to; it takes its place at `path` if all went well and all its bytes are there.

    Raises:
        TrainingError: the disk is full, or the folder cannot be written to. What was at `path` is as it was.
    """
    try:
        with replacing(path) as temporary:
            yield temporary
            # a writer may not have heard of its last bytes' fate
            with temporary.open("r+b") as file:
                os.fsync(file.fileno())
            _check_whole(temporary)
    except OSError as error:
        raise TrainingError(
            f"{path} could not be written ({error}); what was there before is whole. Make room or name another place"
        ) from error


@contextmanager
def new_gguf(path: Path, architecture: str) -> Iterator[gguf.GGUFWriter]:
    """Yield a writer of a file that appears at `path` when all went well. Raises what `whole_file` raises."""
    with whole_file(path) as temporary:
        writer = gguf.GGUFWriter(temporary, architecture)
        try:
            yield writer
            writer.close()
        finally:
            with suppress(OSError):  # the first error is the one to tell; closing again only frees the file
                writer.close()


def _check_whole(path: Path) -> None:
    try:
        read_header(path)
    except ModelLoadError as error:
        raise OSError(str(error)) from error
