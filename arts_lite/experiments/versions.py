"""The software that results come from."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from contextlib import suppress
from importlib import metadata

_PACKAGES = ("arts-lite", "llama-cpp-python", "math-verify", "numpy", "torch", "transformers", "trl", "accelerate")


def versions(packages: Sequence[str] = _PACKAGES) -> dict[str, str]:
    """Name the versions of Python and of those packages that are installed; none is imported."""
    told = {"python": platform.python_version()}
    for package in packages:
        with suppress(metadata.PackageNotFoundError):
            told[package] = metadata.version(package)
    return told
