"""The tiny models that come with the package."""

from __future__ import annotations

from pathlib import Path

from arts_lite.errors import ModelLoadError

_FOLDER = Path(__file__).parent
PROPOSER = "tiny-proposer-f16.gguf"


def embedded_proposer() -> Path:
    """Find the proposer for Countdown and integer arithmetic (docs/tiny-proposer.md is its card).

    Raises:
        ModelLoadError: this installation lacks it.
    """
    path = _FOLDER / PROPOSER
    if not path.is_file():
        raise ModelLoadError(f"{path} is missing: reinstall arts-lite, or give a model of your own as proposer")
    return path
