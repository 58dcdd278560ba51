"""Writing a report's files."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from arts_lite.errors import ReportError


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all. Raises ReportError: it cannot be written."""
    is_special = path.exists() and not path.is_file()  # a pipe, say: there is nothing to replace
    target = path if is_special else path.with_name(path.name + ".new")
    try:
        target.write_bytes(content)
        if target is not path:
            target.replace(path)
    except OSError as error:
        if target is not path:
            with suppress(OSError):
                target.unlink()
        raise ReportError(f"{path} cannot be written: {error.strerror or error}; choose another file") from error
