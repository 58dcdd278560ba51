"""ARTS-lite: tree search over a language model's reasoning steps, steered by a verifier.

The public names are loaded on first use, so that `import arts_lite` is quick. Whatever needs a model comes through
`arts_lite.engine`, which binds the extension to the libllama of llama-cpp-python and raises ImportError if they differ.
"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING

from arts_lite.errors import ArtsError
from arts_lite.types import Event, EventKind, SamplingParams, StepRules, StopReason

if TYPE_CHECKING:
    from arts_lite.engine import Engine as Engine
    from arts_lite.engine import EngineConfig as EngineConfig
    from arts_lite.proposer import Proposer as Proposer
    from arts_lite.solver import Solution as Solution
    from arts_lite.solver import Solver as Solver
    from arts_lite.solver import SolverConfig as SolverConfig

_ROOMS = {
    "arts_lite.solver": ("Solver", "SolverConfig", "Solution"),
    "arts_lite.engine": ("Engine", "EngineConfig"),
    "arts_lite.proposer": ("Proposer",),
}
_LAZY = {name: room for room, names in _ROOMS.items() for name in names}
__all__ = ["ArtsError", "Event", "EventKind", "SamplingParams", "StepRules", "StopReason", "__version__", *_LAZY]

try:
    __version__ = metadata.version("arts-lite")
except metadata.PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'arts_lite' has no attribute {name!r}")
