"""ARTS-lite: tree search over a language model's reasoning steps, steered by a verifier.

The public names are loaded on first use, so that `import arts_lite` is quick and needs no llama_cpp.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

from arts_lite.errors import ArtsError
from arts_lite.types import Event, EventKind, SamplingParams, StepRules, StopReason

if TYPE_CHECKING:
    from arts_lite.solver import Solution, Solver, SolverConfig

__all__ = [
    "Solver",
    "SolverConfig",
    "Solution",
    "SamplingParams",
    "StepRules",
    "StopReason",
    "Event",
    "EventKind",
    "ArtsError",
    "__version__",
]
__version__ = version("arts-lite")

_LAZY = {"Solver": "arts_lite.solver", "SolverConfig": "arts_lite.solver", "Solution": "arts_lite.solver"}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'arts_lite' has no attribute {name!r}")
