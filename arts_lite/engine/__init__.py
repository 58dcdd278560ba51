"""Models and contexts through llama-cpp-python, and the engine that forks branches in them.

Importing this room binds the extension to the libllama that llama-cpp-python has loaded.
"""

from __future__ import annotations

from arts_lite.engine.abi import bound_core

bound_core()

from arts_lite.engine.config import EngineConfig, KVType, SplitMode  # noqa: E402
from arts_lite.engine.describe import ModelDescription, describe  # noqa: E402
from arts_lite.engine.engine import Engine  # noqa: E402
from arts_lite.engine.model import Model  # noqa: E402
from arts_lite.engine.stats import EngineStats  # noqa: E402

__all__ = ["Engine", "EngineConfig", "EngineStats", "KVType", "Model", "ModelDescription", "SplitMode", "describe"]
