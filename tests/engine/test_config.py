from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from arts_lite.engine import EngineConfig, KVType, SplitMode


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"ctx_size": 1}, ValueError, "ctx_size is 1, but must be between 2"),
        ({"ctx_size": 2**31}, ValueError, "ctx_size"),
        ({"ctx_size": 10.5}, TypeError, "whole number"),
        ({"ctx_size": True}, TypeError, "whole number"),
        ({"num_cells": 0}, ValueError, "num_cells"),
        ({"num_traces": 0}, ValueError, "num_traces"),
        ({"num_questions": 0}, ValueError, "num_questions is 0, but must be between 1"),
        ({"gpu_layers": -2}, ValueError, "gpu_layers"),
        ({"threads": 0}, ValueError, "threads"),
        ({"max_rows": 0}, ValueError, "max_rows"),
        ({"max_prefill_rows": 64}, ValueError, "between 256"),
        ({"num_sequences": 257}, ValueError, "between 2 and 256"),
        ({"kv_type": "f8"}, ValueError, "kv_type is 'f8', but must be one of f32, f16"),
        ({"split_mode": "both"}, ValueError, "none, layer, row, tensor"),
        ({"tensor_split": (1.0, -1.0)}, ValueError, "tensor_split"),
        ({"tensor_split": (float("nan"),)}, ValueError, "tensor_split"),
        ({"kv_type": "q8_0", "flash_attention": False}, ValueError, "needs flash attention"),
    ],
)
def test_a_wrong_setting_is_named_with_its_rule(settings: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        EngineConfig(**settings)


def test_plain_values_from_a_command_line_are_understood() -> None:
    config = EngineConfig(kv_type="q8_0", split_mode="row", lora="a.gguf", tensor_split=[1, 2])  # type: ignore[arg-type]
    assert config.kv_type is KVType.Q8_0
    assert config.split_mode is SplitMode.ROW
    assert config.lora == ("a.gguf",)
    assert config.tensor_split == (1, 2)
    assert EngineConfig(lora=Path("a.gguf")).lora == (Path("a.gguf"),)  # type: ignore[arg-type]
    assert EngineConfig(lora=[("a.gguf", 0.5)]).lora == (("a.gguf", 0.5),)


def test_a_config_is_frozen_and_can_be_compared_and_hashed() -> None:
    assert EngineConfig(ctx_size=100) == EngineConfig(ctx_size=100)
    assert len({EngineConfig(), EngineConfig(threads=1), EngineConfig()}) == 2
    with pytest.raises(AttributeError):
        EngineConfig().ctx_size = 5  # type: ignore[misc]


def test_the_numbers_of_ggml_are_those_of_llama_cpp_python() -> None:
    import llama_cpp.llama_cpp as llama

    for kind in KVType:
        name = f"GGML_TYPE_{kind.name}"
        if hasattr(llama, name):
            assert kind.ggml_type == getattr(llama, name)
    for mode in SplitMode:
        name = f"LLAMA_SPLIT_MODE_{mode.name}"
        if hasattr(llama, name):
            assert mode.llama_value == getattr(llama, name)
