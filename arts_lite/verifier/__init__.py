"""What a verifier file means, and what a verifier reads; probes, which read the proposer's own states."""

from __future__ import annotations

from arts_lite.verifier.embedded import embedded_verifier
from arts_lite.verifier.format import VerifierFormat, read_verifier
from arts_lite.verifier.head import Head
from arts_lite.verifier.probe_format import ProbeFormat, read_probe
from arts_lite.verifier.text import EncodedTrace, InputRules

__all__ = [
    "EncodedTrace",
    "Head",
    "InputRules",
    "ProbeFormat",
    "VerifierFormat",
    "embedded_verifier",
    "read_probe",
    "read_verifier",
]
