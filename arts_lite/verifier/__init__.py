"""What a verifier file means, and what a verifier reads."""

from __future__ import annotations

from arts_lite.verifier.format import VerifierFormat, read_verifier
from arts_lite.verifier.head import Head
from arts_lite.verifier.text import EncodedTrace, InputRules

__all__ = ["EncodedTrace", "Head", "InputRules", "VerifierFormat", "read_verifier"]
