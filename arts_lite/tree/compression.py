"""Bytes of a trace file, whatever it is packed with: each line is a gzip member or zstd frame of its own."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

_CHUNK = 1 << 20


class DamagedError(Exception):
    """The file is damaged before its end."""


class Packing:
    """Packs and unpacks lines, chosen by the file's name.

    Raises:
        ModuleNotFoundError: the name ends in .zst, and the package zstandard is not installed.
    """

    def __init__(self, path: Path) -> None:
        self._new_unpacker: Callable[[], Any] | None = None
        self.pack: Callable[[bytes], bytes] = lambda line: line
        if path.suffix == ".gz":
            self._new_unpacker = lambda: zlib.decompressobj(31)
            self.pack = lambda line: gzip.compress(line, 6, mtime=0)
            self._error: type[Exception] = zlib.error
        elif path.suffix == ".zst":
            zstandard = _zstandard(path)
            self._new_unpacker = zstandard.ZstdDecompressor().decompressobj
            self.pack = zstandard.ZstdCompressor().compress
            self._error = zstandard.ZstdError

    @property
    def is_packed(self) -> bool:
        """Whether the file's bytes differ from its content."""
        return self._new_unpacker is not None

    def unpack(self, file: BinaryIO) -> Iterator[tuple[bytes, int | None]]:
        """Yield pieces of the content, with the offset in the file up to which everything is complete, if known.

        A member that is cut off by the file's end yields what can be read of it, with None. Raises DamagedError.
        """
        if self._new_unpacker is None:
            offset = 0
            while chunk := file.read(_CHUNK):
                offset += len(chunk)
                yield chunk, offset
            return
        read, unpacker = 0, self._new_unpacker()
        while chunk := file.read(_CHUNK):
            read += len(chunk)
            while chunk:
                try:
                    content = unpacker.decompress(chunk)
                except self._error as error:
                    raise DamagedError(str(error)) from error
                chunk = unpacker.unused_data if unpacker.eof else b""
                yield content, read - len(chunk) if unpacker.eof else None
                if unpacker.eof:
                    unpacker = self._new_unpacker()


def _zstandard(path: Path) -> Any:
    try:
        import zstandard
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"{path} is packed with zstd, which needs a package; run: pip install 'arts-lite[zstd]', or use .gz"
        ) from None
    return zstandard
