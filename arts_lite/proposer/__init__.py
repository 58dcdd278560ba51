"""What writes the traces: a model with its prompt, its step rule and its sampling parameters."""

from __future__ import annotations

from arts_lite.proposer.embedded import embedded_proposer
from arts_lite.proposer.proposer import Proposer

__all__ = ["Proposer", "embedded_proposer"]
