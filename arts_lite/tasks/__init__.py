"""Problems and their answers."""

from __future__ import annotations

from arts_lite.tasks.answers import canonical_answer, extract_answer, same_answer

__all__ = ["canonical_answer", "extract_answer", "same_answer"]
