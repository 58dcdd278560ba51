"""The tiny verifier that comes with the package."""

from __future__ import annotations

from pathlib import Path

from arts_lite.errors import VerifierError

_FOLDER = Path(__file__).parent
VERIFIER = "tiny-verifier-f16.gguf"


def embedded_verifier() -> Path:
    """Find the verifier of the embedded proposer's traces (docs/tiny-verifier.md is its card).

    Raises:
        VerifierError: this installation lacks it.
    """
    path = _FOLDER / VERIFIER
    if not path.is_file():
        raise VerifierError(f"{path} is missing: reinstall arts-lite, or go without a verifier (--verifier none)")
    return path
