"""What the bits of logits depend on beside the model and the calls."""

from __future__ import annotations

import dataclasses
import platform
from typing import Any

import llama_cpp
import llama_cpp.llama_cpp as llama

from arts_lite.engine.abi import loaded_commit
from arts_lite.engine.capacity import CachePlan
from arts_lite.engine.config import EngineConfig
from arts_lite.engine.machine import gpu_devices

_IRRELEVANT = ("num_traces", "num_questions", "tunes_rows", "use_mmap", "use_mlock", "verbose")


def conditions_of(config: EngineConfig, plan: CachePlan) -> dict[str, Any]:
    """Name them, JSON-ready: the settings as they came out, llama.cpp's build, the processor's features, the GPUs."""
    settings = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    conditions = {name: value for name, value in settings.items() if name not in _IRRELEVANT}
    for name in ("ctx_size", "num_cells", "max_rows", "threads", "prefill_threads"):
        conditions[name] = getattr(plan, name)
    conditions["kv_type"] = config.kv_type.value
    conditions["kv_type_v"] = (config.kv_type_v or config.kv_type).value
    conditions["split_mode"] = config.split_mode.value
    conditions["tensor_split"] = list(config.tensor_split)
    conditions["lora"] = [str(entry) for entry in config.lora]
    conditions["llama_cpp"] = f"{llama_cpp.__version__} {loaded_commit(llama)}".strip()
    conditions["processor"] = f"{platform.machine()} {(llama.llama_print_system_info() or b'').decode()}".strip()
    conditions["gpus"] = [device.name for device in gpu_devices()] if config.gpu_layers else []
    return conditions
