from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_gguf import CHAT_TEMPLATE, TinyModel, write_tiny_gguf

from arts_lite.engine import EngineConfig, describe
from arts_lite.errors import ModelLoadError


def test_a_usable_model_is_described_with_what_it_needs(tiny_model_path: Path) -> None:
    found = describe(tiny_model_path, EngineConfig(ctx_size=1000, num_traces=4))
    assert (found.architecture, found.quantisation, found.tokenizer, found.num_tokens) == ("qwen2", "F16", "gpt2", 288)
    assert (found.ctx_train, found.num_layers, found.num_heads, found.num_kv_heads) == (4096, 2, 2, 1)
    assert found.chat_template == CHAT_TEMPLATE
    assert (found.can_fork, found.why_not) == (True, None)
    assert found.num_bytes_per_cell == 2 * 2 * 32 * 2  # layers x (key, value) x head size x bytes
    assert (found.ctx_size, found.num_cells) == (1000, 4096)
    assert found.num_cache_bytes == 4096 * found.num_bytes_per_cell
    assert found.num_total_bytes == found.num_cache_bytes + found.num_bytes


def test_our_own_keys_are_shown(tmp_path: Path) -> None:
    path = write_tiny_gguf(
        tmp_path / "m.gguf", TinyModel(metadata={"arts.family": "countdown", "arts.step.min_bytes": 2})
    )
    assert dict(describe(path).arts) == {"arts.family": "countdown", "arts.step.min_bytes": 2}


@pytest.mark.parametrize(
    ("architecture", "word"), [("mamba", "recurrent"), ("bert", "embedding-only"), ("jamba", "hybrid")]
)
def test_a_model_that_cannot_be_searched_is_described_all_the_same(
    tmp_path: Path, architecture: str, word: str
) -> None:
    found = describe(write_tiny_gguf(tmp_path / "m.gguf", TinyModel(architecture=architecture)))
    assert not found.can_fork
    assert word in (found.why_not or "")
    assert found.num_params > 0
    assert found.num_cells == found.num_total_bytes == 0


def test_a_description_is_plain_data(tiny_model_path: Path) -> None:
    found = describe(tiny_model_path)
    assert json.loads(json.dumps(found.to_dict()))["architecture"] == "qwen2"


def test_what_is_no_gguf_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError):
        describe(tmp_path)


@pytest.mark.model
@pytest.mark.parametrize(
    ("name", "architecture", "num_bytes_per_cell"),
    [("smollm2-135m", "llama", 23_040), ("qwen2.5-coder-1.5b", "qwen2", 28_672), ("gemma3-270m", "gemma3", 18_432)],
)
def test_real_models_are_described(
    real_model: Callable[[str], Path], name: str, architecture: str, num_bytes_per_cell: int
) -> None:
    found = describe(real_model(name))
    assert (found.architecture, found.num_bytes_per_cell, found.can_fork) == (architecture, num_bytes_per_cell, True)
