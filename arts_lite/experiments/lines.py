"""Files of JSON lines that grow while a run goes on: a line is written whole or, after a kill, cut off again."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from arts_lite.errors import ArtsError


class LinesError(ArtsError):
    """A file of lines is damaged, cannot be written, or has another writer."""


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Read the objects of a file; none where there is no file. A last line without its end is skipped.

    Raises:
        LinesError: a line is no JSON object, or the file cannot be read.
    """
    try:
        content = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise LinesError(f"{path} cannot be read: {error.strerror or error}; check the path") from error
    for number, line in enumerate(content.split(b"\n")[:-1], 1):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise LinesError(f"{path}, line {number}: it is no JSON object; delete the line, and it is made again")
        yield value


class LineWriter:
    """Appends objects to a file, one writer at a time.

    Raises:
        LinesError: the file cannot be opened or has another writer.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = path.open("r+b" if path.exists() else "x+b", buffering=0)
        except OSError as error:
            raise LinesError(f"{path} cannot be written: {error.strerror or error}; choose another folder") from error
        try:
            self._lock()
            content = self._file.read()
            self._size = content.rfind(b"\n") + 1
            if self._size < len(content):
                warnings.warn(f"{path}: the last line was incomplete and has been cut off", stacklevel=3)
                self._file.truncate(self._size)
        except BaseException:
            self._file.close()
            raise

    def write(self, value: Mapping[str, Any]) -> None:
        """Append one object. Raises LinesError where the disk does not take it; the file is then as before."""
        rest = memoryview((json.dumps(value, ensure_ascii=True, allow_nan=False) + "\n").encode())
        num_bytes = len(rest)
        try:
            self._file.seek(self._size)
            while rest:
                rest = rest[self._file.write(rest) or 0 :]
        except OSError as error:
            self._file.truncate(self._size)
            raise LinesError(f"{self.path} cannot be written: {error.strerror or error}; make room") from error
        self._size += num_bytes

    def __enter__(self) -> LineWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.fsync(self._file.fileno())
        self._file.close()

    def _lock(self) -> None:
        try:
            import fcntl
        except ImportError:  # Windows
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LinesError(f"{self.path} is being written by another process; wait for it") from None
        except OSError:  # a file system without locks
            return


def write_whole(path: Path, text: str) -> None:
    """Write a file that is there whole or not at all. Raises LinesError: the disk does not take it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise LinesError(f"{path} cannot be written: {error.strerror or error}; make room") from error
    finally:
        draft.unlink(missing_ok=True)
