"""From a transformer to a file and back, and the file in the hands of the engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_gguf import TinyModel, write_tiny_gguf

from arts_lite.engine import EngineConfig
from arts_lite.proposer import Proposer
from arts_lite.train.byte_vocab import NUM_TOKENS, byte_texts, tokenizer_keys
from arts_lite.train.export import load_tensors, read_gguf, tensors, write_gguf
from arts_lite.train.proposer import ProposerConfig, ProposerTraining
from arts_lite.train.transformer import Shape, Transformer

SHAPE = Shape(dim=64, num_layers=2, num_heads=2, num_kv_heads=1, ff_dim=96, max_positions=128, rope_base=777.0)


def model_of(seed: int) -> Transformer:
    torch.manual_seed(seed)
    return Transformer(SHAPE)


@pytest.mark.parametrize(("file_type", "tolerance"), [("F32", 0.0), ("F16", 1e-3), ("Q8_0", 1e-2)])
def test_a_model_that_is_written_is_read_back(file_type: str, tolerance: float, tmp_path: Path) -> None:
    written, loaded = model_of(1), model_of(2)
    write_gguf(tmp_path / "model.gguf", written, {}, file_type=file_type)
    shape, weights = read_gguf(tmp_path / "model.gguf")
    assert shape == SHAPE
    assert not torch.equal(loaded.embedding.weight, written.embedding.weight)
    load_tensors(loaded, weights)
    for name, weight in written.state_dict().items():
        found = loaded.state_dict()[name]
        assert (found - weight).abs().max() <= tolerance * weight.abs().max(), name
        assert weight.ndim > 1 or torch.equal(found, weight)


def test_the_same_model_makes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_gguf(tmp_path / name, model_of(1), {"arts.tasks": ["countdown"]})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_weights_that_do_not_fit_are_told() -> None:
    weights = tensors(model_of(1))
    load_tensors(model_of(2), weights)
    with pytest.raises(ValueError, match=r"tensor output_norm\.weight is missing, but must be \(64,\)"):
        load_tensors(model_of(2), {name: weight for name, weight in weights.items() if name != "output_norm.weight"})
    with pytest.raises(ValueError, match=r"of shape \(3, 64\)"):
        load_tensors(model_of(2), weights | {"token_embd.weight": np.zeros((3, 64), np.float32)})


def test_other_models_are_not_read(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "llama.gguf", TinyModel(architecture="llama"))
    with pytest.raises(ValueError, match="is no qwen2 model"):
        read_gguf(path)


def test_an_unknown_format_is_told_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="file_type is 'Q4_0', but must be one of F32, F16, Q8_0"):
        write_gguf(tmp_path / "model.gguf", model_of(1), {}, file_type="Q4_0")
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"before")
    with pytest.raises(TypeError, match="complex"):
        write_gguf(path, model_of(1), {"arts.tasks": 1 + 2j})
    assert path.read_bytes() == b"before"
    assert [found.name for found in tmp_path.iterdir()] == ["model.gguf"]


def test_a_tokens_id_is_its_byte(tmp_path: Path) -> None:
    training = ProposerTraining(ProposerConfig(SHAPE, row_length=128), tmp_path, torch.device("cpu"))
    write_gguf(tmp_path / "model.gguf", training.model, training.metadata())
    with Proposer.from_gguf(tmp_path / "model.gguf", config=EngineConfig(threads=1)) as proposer:
        for text in ("24: 3 5 7 8", "17*(23-5)+412", "\u00e9\u6f22\U0001f986 \x01\x7f"):
            assert proposer.encode_prompt(text + "\n") == list(f"{text}\n".encode())
        assert proposer.tasks == ("countdown", "arithmetic")
        assert (proposer.default_sampling.temperature, proposer.default_sampling.top_p) == (1.0, 1.0)
        assert proposer.default_rules.delimiters == ("\n",)
        assert proposer.system == ""


def test_the_vocabulary_has_a_text_and_a_kind_for_every_token() -> None:
    keys = tokenizer_keys()
    texts, kinds = keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.token_type"]
    assert isinstance(texts, list)
    assert isinstance(kinds, list)
    assert len(texts) == len(set(texts)) == len(kinds) == NUM_TOKENS
    assert texts[:256] == byte_texts()
