"""The error family. Bad arguments stay ``ValueError`` / ``TypeError``; everything else derives from `ArtsError`.

Every message names the wrong value, the rule that it broke and what to do about it.
"""

from __future__ import annotations


class ArtsError(Exception):
    """Base class of everything that ARTS-lite raises on its own account."""


class ModelLoadError(ArtsError):
    """A model file is missing, damaged, of an unknown kind, or does not fit into memory."""


class UnsupportedModelError(ArtsError):
    """A model loads but cannot do what a search needs (fork its cache, generate text)."""


class ContextOverflowError(ArtsError):
    """A prompt or a trace is longer than the context allows."""


class UnsupportedQuestionError(ArtsError):
    """A question is of a kind that the model was not made for."""


class BranchClosedError(ArtsError):
    """A branch was used after it, or its engine, had been closed."""


class DecodeError(ArtsError):
    """llama.cpp refused a batch, or the model returned logits that are not finite."""


class VerifierError(ArtsError):
    """A verifier file does not hold a usable value head."""


class TraceFormatError(ArtsError):
    """A trace or tree file is damaged or of another schema version."""


class TrainingError(ArtsError):
    """A training run's folder, data or base model cannot be used, or its files cannot be written."""


class ReportError(ArtsError):
    """A report cannot be drawn of what there is, or cannot be written."""
