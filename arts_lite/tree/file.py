"""Trace files: one tree a line, appended whole or not at all."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from arts_lite.errors import TraceFormatError
from arts_lite.tree.compression import DamagedError, Packing
from arts_lite.tree.schema import SCHEMA, tree_from_json, tree_to_json
from arts_lite.tree.tree import Tree

_START = f'{{"schema":"{SCHEMA}"'.encode()  # of every trace file, spaces apart


def read_trees(path: str | os.PathLike[str]) -> Iterator[Tree]:
    """Read the trees of a trace file one after another (.gz and .zst are unpacked).

    A last line that a killed writer left incomplete is skipped with a warning.

    Raises:
        TraceFormatError: the file cannot be read, or a line is damaged or of another version.
    """
    path = Path(path)
    packing = _packing(path)
    number = 0
    try:
        with path.open("rb") as file:
            for line, is_whole in _lines(packing, file, path):
                number += 1
                if line.strip():
                    tree = _parse(path, number, line, may_be_torn=not is_whole)
                    if tree is not None:
                        yield tree
    except OSError as error:
        raise TraceFormatError(f"{path} cannot be read: {error.strerror or error}; check the path") from error


class TreeWriter:
    """Appends trees to a trace file. One writer at a time; a line is written whole or, after a crash, cut off again.

    Raises:
        TraceFormatError: the file exists and is no trace file, is damaged, cannot be opened or has another writer.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._packing = _packing(self.path)
        try:
            self._file: BinaryIO = self.path.open("r+b" if self.path.exists() else "x+b", buffering=0)
        except OSError as error:
            raise TraceFormatError(
                f"{self.path} cannot be written: {error.strerror or error}; choose another file"
            ) from error
        try:
            _lock(self._file, self.path)
            self._size = 0
            self._mend()
        except BaseException:
            self._file.close()
            raise

    def write(self, tree: Tree) -> None:
        """Append one tree. Raises TraceFormatError where the disk does not take it; the file is then as before."""
        self._append(_encode(tree))

    def _append(self, lines: bytes) -> None:
        packed = self._packing.pack(lines)
        try:
            self._file.seek(self._size)
            rest = memoryview(packed)
            while rest:
                rest = rest[self._file.write(rest) or 0 :]
        except OSError as error:
            self._file.truncate(self._size)
            raise TraceFormatError(
                f"{self.path} cannot be written: {error.strerror or error}; make room or choose another file"
            ) from error
        self._size += len(packed)

    def close(self) -> None:
        """Make sure that all is on the disk, and let others write. Idempotent."""
        if not self._file.closed:
            if self._file.seekable():
                os.fsync(self._file.fileno())
            self._file.close()

    def __enter__(self) -> TreeWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _mend(self) -> None:
        """Cut off what a killed writer left incomplete; whole lines of a packed piece that is cut are packed again."""
        if not self._file.seekable():
            raise TraceFormatError(f"{self.path} is no regular file; choose a file that can be appended to")
        head, pending = b"", bytearray()  # pending: content after the last place where one can append
        try:
            for content, offset in self._packing.unpack(self._file):
                head += content[: max(0, 4 * len(_START) - len(head))]
                pending += content
                if offset is not None and self._packing.is_packed:
                    if pending.endswith(b"\n"):
                        self._size = offset
                        pending.clear()
                elif offset is not None:
                    del pending[: pending.rfind(b"\n") + 1]
                    self._size = offset - len(pending)
        except DamagedError as error:
            raise _damaged(self.path, error) from error
        if not _is_start(head):
            raise TraceFormatError(f"{self.path} is no trace file of arts-lite; choose another file")
        self._cut(bytes(pending))

    def _cut(self, pending: bytes) -> None:
        if os.fstat(self._file.fileno()).st_size == self._size:
            return
        self._file.truncate(self._size)
        lines, newline, last = pending.rpartition(b"\n")
        if _is_json(last):
            lines, newline, last = pending, b"\n", b""
        if last or not lines:
            warnings.warn(
                f"{self.path}: the last line was incomplete (its writer was killed) and has been cut off", stacklevel=5
            )
        if lines:
            self._append(lines + newline)


def _is_start(head: bytes) -> bool:
    """Whether a file may go on from these first bytes to be a trace file."""
    head = b"".join(head.split())[: len(_START)]
    return _START.startswith(head)


def _packing(path: Path) -> Packing:
    try:
        return Packing(path)
    except ModuleNotFoundError as error:
        raise TraceFormatError(str(error)) from None


def _lines(packing: Packing, file: BinaryIO, path: Path) -> Iterator[tuple[bytes, bool]]:
    """Yield lines without their newline; the last one with False if it had none."""
    rest: list[bytes] = []
    try:
        for content, _ in packing.unpack(file):
            *lines, last = content.split(b"\n")
            for line in lines:
                yield b"".join([*rest, line]), True
                rest = []
            rest.append(last)
    except DamagedError as error:
        raise _damaged(path, error) from error
    if any(rest):
        yield b"".join(rest), False


def _parse(path: Path, number: int, line: bytes, *, may_be_torn: bool) -> Tree | None:
    if may_be_torn and not _is_json(line):
        warnings.warn(f"{path}, line {number} is incomplete (its writer was killed) and was skipped", stacklevel=3)
        return None
    try:
        return tree_from_json(json.loads(line))
    except RecursionError:
        problem = "it is nested too deeply"
    except json.JSONDecodeError as error:
        problem = f"it is no JSON ({error.msg} at column {error.colno})"
    except UnicodeDecodeError:
        problem = "it is no UTF-8"
    except ValueError as error:
        problem = str(error)
    raise TraceFormatError(f"{path}, line {number}: {problem}; delete the line, or write the file again")


def _encode(tree: Tree) -> bytes:
    plain = tree_to_json(tree)
    try:
        return (json.dumps(plain, ensure_ascii=False, allow_nan=False) + "\n").encode()
    except UnicodeEncodeError:  # a lone surrogate
        return (json.dumps(plain, allow_nan=False) + "\n").encode()


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _damaged(path: Path, error: DamagedError) -> TraceFormatError:
    return TraceFormatError(f"{path} is damaged before its end ({error}); restore it, or start a new file")


def _lock(file: BinaryIO, path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise TraceFormatError(f"{path} is being written by another process; wait for it or choose another") from None
    except OSError:  # a file system without locks
        return
