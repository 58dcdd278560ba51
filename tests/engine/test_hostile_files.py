"""Files that are damaged, foreign or unfit: each gives a typed error, none ends the process.

Everything that llama.cpp itself would only assert on runs in a child process, so that a miss shows as a failed test.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_gguf import TinyModel, write_tiny_gguf

from arts_lite.engine import Engine, EngineConfig, Model
from arts_lite.errors import ArtsError, ModelLoadError, UnsupportedModelError

SMALL = {"num_layers": 1, "head_dim": 16, "ff_dim": 32}
UNFIT = {
    "mamba": "recurrent",
    "rwkv7": "recurrent",
    "jamba": "hybrid",
    "lfm2": "hybrid",
    "qwen3next": "hybrid",
    "bert": "embedding-only",
    "gemma-embedding": "embedding-only",
    "t5": "encoder-decoder",
    "t5encoder": "encoder-only",
    "llada": "diffusion",
    "dream": "diffusion",
    "clip": "image encoder",
}


def small(path: Path, **choices: Any) -> Path:
    return write_tiny_gguf(path, TinyModel(**{**SMALL, **choices}))


@pytest.mark.parametrize("architecture", UNFIT)
def test_a_model_that_a_search_cannot_use_is_refused_by_property(tmp_path: Path, architecture: str) -> None:
    path = small(tmp_path / "m.gguf", architecture=architecture)
    with pytest.raises(UnsupportedModelError, match=UNFIT[architecture]):
        Model(path)


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"qwen2.pooling_type": 3}, "embedding-only or a reranker"),
        ({"qwen2.attention.causal": False}, "not causal"),
        ({"tokenizer.ggml.model": None}, "no tokenizer"),
        ({"tokenizer.ggml.model": "none"}, "no tokenizer"),
    ],
)
def test_a_file_s_own_keys_can_rule_it_out(tmp_path: Path, metadata: dict[str, Any], words: str) -> None:
    with pytest.raises(UnsupportedModelError, match=words):
        Model(small(tmp_path / "m.gguf", metadata=metadata))


def test_a_recurrent_model_that_our_list_does_not_know_is_recognised_by_llama_cpp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tiny_gguf(tmp_path / "m.gguf", TinyModel(architecture="mamba"))
    monkeypatch.setattr("arts_lite.engine.preflight._WHY_NOT", {})
    with pytest.raises(UnsupportedModelError, match="recurrent"):
        Model(path)


def test_a_vocabulary_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="no weights"):
        Model(small(tmp_path / "m.gguf", with_tensors=False))


def test_an_adapter_named_as_the_model_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="LoRA adapter"):
        Model(small(tmp_path / "m.gguf", metadata={"general.type": "adapter"}))


def test_an_unknown_architecture_is_reported_in_llama_cpp_s_words(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"unknown model architecture: 'nosuch'"):
        Model(small(tmp_path / "m.gguf", architecture="nosuch"))


def test_a_missing_tensor_is_reported_in_llama_cpp_s_words(tmp_path: Path) -> None:
    path = small(tmp_path / "m.gguf")
    data = path.read_bytes()
    assert data.count(b"blk.0.attn_q.weight") == 1
    path.write_bytes(data.replace(b"blk.0.attn_q.weight", b"blk.0.attn_z.weight"))
    with pytest.raises(ModelLoadError, match=r"'blk.0.attn_q.weight' not found"):
        Model(path)


def test_a_part_of_a_split_model_without_its_sisters_is_refused(tmp_path: Path) -> None:
    split = {"split.count": 2, "split.no": 0}
    with pytest.raises(ModelLoadError, match="name the first part"):
        Model(small(tmp_path / "m.gguf", metadata=split))
    with pytest.raises(ModelLoadError, match="00002-of-00002"):
        Model(small(tmp_path / "m-00001-of-00002.gguf", metadata=split))


# What llama.cpp asserts on instead of reporting, found by damaging files at random and key by key.
ASSERTED: list[dict[str, Any]] = [
    {"qwen2.block_count": 0},
    {"qwen2.block_count": 100_000},
    {"qwen2.expert_count": 5000},
    {"qwen2.expert_used_count": 2},
    {"qwen2.expert_group_count": 2},
    {"qwen2.nextn_predict_layers": 9},
    {"qwen2.rope.scaling.type": "bogus"},
    {"qwen2.rope.dimension_count": 0},
    {"qwen2.rope.dimension_count": 2},
    {"qwen2.rope.dimension_count": 31},
    {"qwen2.attention.key_length": 64},
    {"qwen2.attention.layer_norm_rms_epsilon": -1.0},
    {"qwen2.attention.layer_norm_rms_epsilon": float("nan")},
    {"qwen2.context_length": 0},
    {"qwen2.context_length": 2**32 - 1},
    {"general.alignment": 1},
    {"general.alignment": 16},
    {"general.alignment": 33},
    {"tokenizer.ggml.tokens": ["a"] * 288},
    {"tokenizer.ggml.tokens": ["a\0b", "a\0c", *map(str, range(286))]},
    {"tokenizer.ggml.tokens": ["[EMPTY_1]", "", *map(str, range(286))]},
    {"tokenizer.ggml.tokens": [1, 2, 3]},
    {"tokenizer.ggml.tokens": "text"},
    {"tokenizer.ggml.model": "bert"},
    {"tokenizer.ggml.model": "rwkv"},
    {"tokenizer.ggml.model": "llama", "tokenizer.ggml.scores": [0.0] * 288},
    {"split.count": float("nan")},
    {"split.count": 100_000},
]


@pytest.mark.parametrize("metadata", ASSERTED, ids=lambda metadata: str(metadata)[:60])
def test_what_llama_cpp_would_assert_on_is_refused_before(tmp_path: Path, metadata: dict[str, Any]) -> None:
    with pytest.raises((ModelLoadError, UnsupportedModelError)):
        Model(small(tmp_path / "m.gguf", metadata=metadata))


@pytest.mark.parametrize("kind", ["I8", "I32", "F64"])
@pytest.mark.parametrize("name", ["token_embd.weight", "blk.0.ffn_up.weight"])
def test_weights_in_a_format_without_multiplication_are_refused(tmp_path: Path, name: str, kind: str) -> None:
    """llama.cpp loads them, and crashes in the first decode."""
    with pytest.raises(ModelLoadError, match=rf"{name}' is {kind}"):
        Model(small(tmp_path / "m.gguf", stored_as={name: kind}))


@pytest.mark.parametrize("name", ["output_norm.weight", "blk.0.attn_norm.weight"])
def test_norms_in_half_precision_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelLoadError, match="norms and biases as F32"):
        Model(small(tmp_path / "m.gguf", stored_as={name: "F16"}))


def test_a_window_pattern_without_windows_is_refused(tmp_path: Path) -> None:
    for metadata in ({"gemma3.attention.sliding_window_pattern": 1}, {"gemma3.attention.sliding_window": 2**31 - 1}):
        with pytest.raises(ModelLoadError, match="sliding_window"):
            Model(small(tmp_path / "m.gguf", architecture="gemma3", metadata=metadata))


_LOAD_THEM = """
import json, pathlib, sys
from arts_lite.engine import Engine, EngineConfig
from arts_lite.errors import ArtsError
from arts_lite.types import SamplingParams, StepRules
outcomes = {}
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.gguf")):
    try:
        with Engine.from_gguf(path, EngineConfig(threads=1, ctx_size=64, num_cells=256)) as engine:
            branch = engine.open([1, 2], sampling=SamplingParams(), rules=StepRules(), seed=0, stream=0, max_tokens=3)
            engine.run(branch)
            engine.advance()
            outcomes[path.name] = "loaded"
    except ArtsError as error:
        outcomes[path.name] = type(error).__name__
print(json.dumps(outcomes))
"""


def test_files_damaged_at_random_never_end_the_process(tmp_path: Path) -> None:
    import random

    rng = random.Random(1)
    whole = small(tmp_path / "whole.gguf").read_bytes()
    header = whole.find(b"token_embd.weight") + 2000
    for number in range(150):
        data = bytearray(whole)
        for _ in range(rng.choice([1, 1, 3])):
            position = rng.randrange(min(header, len(data)))
            data[position] = rng.choice([0, 1, 127, 128, 255, data[position] ^ (1 << rng.randrange(8))])
        end = rng.randrange(len(data)) if number % 10 == 0 else len(data)
        (tmp_path / f"{number:03}.gguf").write_bytes(data[:end])
    result = subprocess.run(
        [sys.executable, "-c", _LOAD_THEM, str(tmp_path)], capture_output=True, text=True, timeout=200, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]
    outcomes = json.loads(result.stdout)
    assert len(outcomes) == 151
    assert outcomes["whole.gguf"] == "loaded"
    assert "ModelLoadError" in outcomes.values()


def test_weights_that_are_no_numbers_give_a_decode_error(tmp_path: Path, tiny_model_path: Path) -> None:
    path = small(tmp_path / "m.gguf", float_type="f32")
    data = bytearray(path.read_bytes())
    data[-4000:] = b"\xff" * 4000
    path.write_bytes(data)
    from arts_lite.types import SamplingParams, StepRules

    with Engine.from_gguf(path, EngineConfig(threads=1, ctx_size=64)) as engine:
        branch = engine.open([1, 2], sampling=SamplingParams(), rules=StepRules(), seed=0, stream=0, max_tokens=3)
        engine.run(branch)
        with pytest.raises(ArtsError, match="finite"):
            engine.advance()
        engine.check()


def test_a_refused_file_leaves_the_process_able_to_load_another(tmp_path: Path, tiny_model_path: Path) -> None:
    path = small(tmp_path / "m.gguf", architecture="nosuch")
    for _ in range(3):
        with pytest.raises(ModelLoadError):
            Model(path)
        Model(tiny_model_path).close()
