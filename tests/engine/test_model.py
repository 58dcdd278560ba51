from __future__ import annotations

import hashlib
from pathlib import Path

import gguf
import numpy as np
import pytest
from tiny_gguf import CHAT_TEMPLATE, TinyModel, write_tiny_gguf

from arts_lite.engine import Engine, EngineConfig, Model
from arts_lite.engine import model as model_module
from arts_lite.errors import ModelLoadError
from arts_lite.types import SamplingParams, StepRules

CONFIG = EngineConfig(threads=1, ctx_size=128, num_cells=256)


def greedy_tokens(engine: Engine) -> list[int]:
    greedy = SamplingParams(temperature=0.0)
    branch = engine.open(list(b"1+2="), sampling=greedy, rules=StepRules(), seed=0, stream=0, max_tokens=30)
    engine.run(branch)
    while engine.advance():
        pass
    tokens: list[int] = engine.tokens(branch).tolist()
    return tokens


def test_a_model_knows_its_facts(tiny_model: Model, tiny_model_path: Path) -> None:
    assert tiny_model.path == tiny_model_path
    assert tiny_model.name == "tiny random qwen2"
    assert tiny_model.architecture == "qwen2"
    assert tiny_model.chat_template == CHAT_TEMPLATE
    assert (tiny_model.ctx_train, tiny_model.num_layers, tiny_model.dim) == (4096, 2, 64)
    assert (tiny_model.num_heads, tiny_model.num_kv_heads, tiny_model.sliding_window) == (2, 1, 0)
    assert tiny_model.num_params == sum(tensor.num_elements for tensor in tiny_model.header.tensors)
    assert tiny_model.num_bytes == sum(tensor.num_bytes or 0 for tensor in tiny_model.header.tensors)
    assert tiny_model.metadata["qwen2.context_length"] == 4096
    assert "qwen2" in tiny_model.description
    assert tiny_model.sha256 == hashlib.sha256(tiny_model_path.read_bytes()).hexdigest()


def test_a_file_without_a_name_or_template_is_called_by_its_file(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "nameless.gguf", TinyModel(chat_template=None, metadata={"general.name": None}))
    with Model(path) as model:
        assert model.name == "nameless"
        assert model.chat_template is None


@pytest.mark.parametrize("name", ["naïve ☃.gguf", "with space.gguf", "no-suffix"])
def test_any_file_name_loads(tmp_path: Path, name: str) -> None:
    with Model(write_tiny_gguf(tmp_path / name)) as model:
        assert model.num_layers == 2


@pytest.mark.parametrize(
    "settings",
    [
        {"use_mmap": False},
        {"use_mmap": False, "use_mlock": False},
        {"kv_type": "q8_0"},
        {"kv_type": "f32", "flash_attention": False},
        {"kv_type": "q8_0", "kv_type_v": "f16"},
        {"flash_attention": True},
        {"num_sequences": 2},
        {"split_mode": "none"},
        {"max_rows": 1},
        {"prefill_threads": 1},
    ],
    ids=str,
)
def test_every_way_of_loading_generates(tiny_model_path: Path, settings: dict[str, object]) -> None:
    config = EngineConfig(**{"threads": 1, "ctx_size": 128, "num_cells": 256, **settings})  # type: ignore[arg-type]
    with Engine.from_gguf(tiny_model_path, config) as engine:
        assert len(greedy_tokens(engine)) > 5


def test_too_many_gpu_layers_are_fine_and_none_to_be_had_is_a_warning(
    tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_module, "gpu_devices", list)
    with (
        pytest.warns(RuntimeWarning, match="sees no GPU"),
        Model(tiny_model_path, EngineConfig(gpu_layers=999)) as model,
    ):
        assert model.num_layers == 2


def test_a_file_larger_than_the_free_memory_is_refused_where_it_would_be_read(
    tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_module, "free_memory", lambda: 1000)
    with pytest.raises(ModelLoadError, match=r"GiB are free.*use_mmap"):
        Model(tiny_model_path, EngineConfig(use_mmap=False))
    Model(tiny_model_path).close()


def test_more_shares_than_devices_are_refused(tiny_model_path: Path) -> None:
    with pytest.raises(ValueError, match="tensor_split has 1000 shares"):
        Model(tiny_model_path, EngineConfig(tensor_split=(1.0,) * 1000))


def write_adapter(
    path: Path, *, architecture: str = "qwen2", size: float = 1.0, kind: str = "lora", dim: int = 64
) -> Path:
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", kind)
    writer.add_float32("adapter.lora.alpha", 4.0)
    rng = np.random.default_rng(0)
    writer.add_tensor("blk.0.ffn_up.weight.lora_a", rng.normal(0, size, (4, dim)).astype(np.float32))
    writer.add_tensor("blk.0.ffn_up.weight.lora_b", rng.normal(0, size, (128, 4)).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_an_adapter_changes_what_the_model_says_by_its_scale(tmp_path: Path, tiny_model: Model) -> None:
    adapter = write_adapter(tmp_path / "lora.gguf")
    said = {}
    for name, lora in {"none": (), "zero": [(adapter, 0.0)], "full": [adapter], "half": [(adapter, 0.5)]}.items():
        config = EngineConfig(threads=1, ctx_size=128, num_cells=256, lora=lora)  # type: ignore[arg-type]
        with Engine(tiny_model, config) as engine:
            said[name] = greedy_tokens(engine)
    assert said["none"] == said["zero"]
    assert said["none"] != said["full"]
    assert said["half"] != said["full"]


def test_an_adapter_that_does_not_fit_is_refused(tmp_path: Path, tiny_model: Model, tiny_model_path: Path) -> None:
    wrong = {
        "made for 'llama'": write_adapter(tmp_path / "a.gguf", architecture="llama"),
        "not a LoRA adapter": tiny_model_path,
        "adapter.type 'lora'": write_adapter(tmp_path / "b.gguf", kind="control"),
        "cannot load the LoRA adapter": write_adapter(tmp_path / "c.gguf", dim=32),
        "does not exist": tmp_path / "none.gguf",
    }
    for words, path in wrong.items():
        with pytest.raises(ModelLoadError, match=words):
            Engine(tiny_model, EngineConfig(threads=1, ctx_size=128, num_cells=256, lora=[path]))
    with Engine(tiny_model, CONFIG) as engine:
        assert len(greedy_tokens(engine)) > 5


def test_a_context_that_llama_cpp_refuses_says_why(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "m.gguf", TinyModel(head_dim=16))
    config = EngineConfig(threads=1, ctx_size=128, num_cells=256, kv_type="q8_0")  # type: ignore[arg-type]
    with Model(path) as model, pytest.raises(ModelLoadError, match="block size 32 does not divide"):
        Engine(model, config)
