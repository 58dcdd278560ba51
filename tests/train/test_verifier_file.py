"""A tiny verifier as a file, and what llama.cpp makes of it."""

from __future__ import annotations

import ctypes
import dataclasses
import os
from pathlib import Path

import llama_cpp.llama_cpp as llama
import numpy as np
import pytest
import torch
from hidden_llama import hidden_states
from numpy.typing import NDArray

from arts_lite.engine import log
from arts_lite.engine.gguf import read_header
from arts_lite.errors import TrainingError, VerifierError
from arts_lite.train.byte_vocab import NUM_TOKENS, tokenizer_keys
from arts_lite.train.transformer import Shape, Transformer
from arts_lite.train.verifier_file import VERIFIER_FILE_TYPES, tokenizer_sha256, write_verifier
from arts_lite.verifier import Head, InputRules, VerifierFormat, read_verifier
from arts_lite.verifier.format import PREFIX

SHAPE = Shape(dim=64, num_layers=3, num_heads=2, num_kv_heads=1, ff_dim=128, max_positions=256)
RULES = InputRules("{question}\n", "\n")
SLOT = NUM_TOKENS - 1
NUMBERS = [
    *[(2, 9, 4, 1), (7, 3, 11, 5), (12, 8, 3, 20), (19, 4, 17, 6), (5, 5, 10, 2)],
    *[(16, 2, 9, 13), (3, 14, 8, 7), (11, 6, 1, 15), (10, 7, 19, 3), (4, 18, 12, 9)],
]
TRACES = [
    (
        f"Use {a}, {b}, {c} and {d} to make {a * b + c}.",
        [f"{a} * {b} = {a * b}; {c} {d}", f"{a * b} + {c} = {a * b + c}; {d}", f"Answer: {a} * {b} + {c}"],
    )
    for a, b, c, d in NUMBERS
]


@pytest.fixture(scope="module")
def model() -> Transformer:
    torch.manual_seed(2)
    return Transformer(SHAPE).eval()


@pytest.fixture(scope="module")
def verifier() -> VerifierFormat:
    """With a head whose values spread over about one unit, as log-flows do."""
    weight = np.random.default_rng(0).normal(0, 2.5 / np.sqrt(SHAPE.dim), SHAPE.dim).astype(np.float32)
    return VerifierFormat(
        objective="flow",
        estimator="expected",
        rules=RULES,
        head=Head(weight, -0.75),
        scale=1.5,
        base_name="tiny",
        metrics={"dev_bon": 0.9},
    )


def encoded() -> list[tuple[list[int], list[int]]]:
    traces = [RULES.encode(question, steps, lambda text: list(text.encode())) for question, steps in TRACES]
    return [(one.tokens, one.ends) for one in traces]


def torch_values(model: Transformer, head: Head) -> NDArray[np.float32]:
    """At every step's end of all traces."""
    with torch.no_grad():
        states = [model.hidden(torch.tensor([tokens]))[0, ends].numpy() for tokens, ends in encoded()]
    return head(np.concatenate(states))


def llama_values(path: Path, head: Head, kv_type: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The head's values and the slot's, at the same places."""
    with hidden_states(path, kv_type=kv_type) as decode:
        found = [(states[ends], logits[ends]) for tokens, ends in encoded() for states, logits in [decode(tokens)]]
    by_head = head(np.concatenate([states for states, _ in found]))
    by_slot = np.concatenate([logits[:, SLOT] for _, logits in found]) + np.float32(head.bias)
    return by_head, by_slot


def rank_correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    ranks = [np.argsort(np.argsort(values)) for values in (one, other)]
    return float(np.corrcoef(*ranks)[0, 1])


class TestParity:
    """Torch against llama.cpp on the values at the ends of 40 prefixes."""

    def test_the_values_are_worth_comparing(self, model, verifier):
        values = torch_values(model, verifier.head)
        assert len(values) == 40
        assert values.std() > 0.5

    @pytest.mark.parametrize(("file_type", "kv_type", "tolerance"), [("F32", "f32", 1e-4), ("F16", "f16", 1e-2)])
    def test_unquantised_files_give_torchs_values(self, model, verifier, tmp_path, file_type, kv_type, tolerance):
        written = write_verifier(tmp_path / "v.gguf", model, verifier, file_type=file_type)
        by_head, by_slot = llama_values(tmp_path / "v.gguf", written.head, kv_type)
        expected = torch_values(model, verifier.head)
        np.testing.assert_allclose(by_head, expected, atol=tolerance, rtol=0)
        np.testing.assert_allclose(by_slot, expected, atol=tolerance, rtol=0)

    def test_q8_0_keeps_the_order(self, model, verifier, tmp_path):
        written = write_verifier(tmp_path / "v.gguf", model, verifier, file_type="Q8_0")
        by_head, by_slot = llama_values(tmp_path / "v.gguf", written.head, "f16")
        expected = torch_values(model, verifier.head)
        assert rank_correlation(by_head, expected) >= 0.995
        assert rank_correlation(by_slot, expected) >= 0.995

    def test_in_q8_0_the_slot_is_exact_because_the_embedding_stays_f16(self, model, verifier, tmp_path):
        written = write_verifier(tmp_path / "v.gguf", model, verifier, file_type="Q8_0")
        kinds = {one.name: one.type_name for one in read_header(tmp_path / "v.gguf").tensors}
        assert kinds["token_embd.weight"] == "F16"
        assert kinds["blk.0.attn_q.weight"] == "Q8_0"
        by_head, by_slot = llama_values(tmp_path / "v.gguf", written.head, "f16")
        np.testing.assert_allclose(by_slot, by_head, atol=3e-3, rtol=0)

    def test_another_head_would_be_noticed(self, model, verifier, tmp_path):
        write_verifier(tmp_path / "v.gguf", model, verifier, file_type="F32")
        other = Head(verifier.head.weight[::-1], verifier.head.bias)
        by_head, _ = llama_values(tmp_path / "v.gguf", other, "f32")
        assert rank_correlation(by_head, torch_values(model, verifier.head)) < 0.9


class TestKeys:
    @pytest.mark.parametrize("file_type", VERIFIER_FILE_TYPES)
    def test_every_format_keeps_them(self, model, verifier, tmp_path, file_type):
        path = tmp_path / "v.gguf"
        written = write_verifier(path, model, verifier, file_type=file_type, metadata={"general.name": "a verifier"})
        header = read_header(path)
        assert read_verifier(header).keys() == written.keys()
        filled = dataclasses.replace(verifier, slot=SLOT, tokenizer_sha256=tokenizer_sha256(tokenizer_keys()))
        assert written.keys() == filled.keys()
        assert header.text("general.name") == "a verifier"
        assert [one.name for one in tmp_path.iterdir()] == ["v.gguf"]

    @pytest.mark.parametrize("file_type", ["F16", "Q4_K_M"])
    def test_llama_cpp_shows_them_as_texts(self, model, verifier, tmp_path, file_type):
        written = write_verifier(tmp_path / "v.gguf", model, verifier, file_type=file_type)
        shown = shown_by_llama(tmp_path / "v.gguf", list(written.keys()))
        assert {key: value for key, value in written.keys().items() if isinstance(value, str)}.items() <= shown.items()
        assert float(shown[PREFIX + "calibration.scale"]) == 1.5
        assert shown[PREFIX + "slot_token_id"] == str(SLOT)

    def test_the_models_own_row_of_the_slot_is_not_touched(self, model, verifier, tmp_path):
        before = model.embedding.weight.detach().clone()
        write_verifier(tmp_path / "v.gguf", model, verifier)
        assert torch.equal(model.embedding.weight, before)


class TestRefusals:
    def test_a_head_of_another_width(self, model, verifier, tmp_path):
        other = dataclasses.replace(verifier, head=Head(np.zeros(32, np.float32), 0.0))
        with pytest.raises(ValueError, match="the head reads 32 numbers, but the model's hidden states have 64"):
            write_verifier(tmp_path / "v.gguf", model, other)

    def test_an_unknown_format(self, model, verifier, tmp_path):
        with pytest.raises(ValueError, match="file_type is 'Q9'"):
            write_verifier(tmp_path / "v.gguf", model, verifier, file_type="Q9")

    def test_what_cannot_be_read_back_takes_no_place(self, model, verifier, tmp_path):
        (tmp_path / "v.gguf").write_bytes(b"the one before")
        broken = dataclasses.replace(verifier, rules=InputRules("{question}", "\n", bos=999))
        with pytest.raises(VerifierError, match="bos_token_id is 999"):
            write_verifier(tmp_path / "v.gguf", model, broken)
        assert (tmp_path / "v.gguf").read_bytes() == b"the one before"
        assert len(list(tmp_path.iterdir())) == 1

    @pytest.mark.parametrize("file_type", ["F16", "Q8_0", "Q4_K_M"])
    @pytest.mark.parametrize("num_bytes", [0, 5_000, 60_000])
    def test_a_full_disk_leaves_the_file_before(self, model, verifier, tmp_path, full_disk, file_type, num_bytes):
        (tmp_path / "v.gguf").write_bytes(b"the one before")
        with full_disk(num_bytes), pytest.raises(TrainingError, match="could not be written"):
            write_verifier(tmp_path / "v.gguf", model, verifier, file_type=file_type)
        assert (tmp_path / "v.gguf").read_bytes() == b"the one before"
        assert len(list(tmp_path.iterdir())) == 1

    def test_a_folder_that_is_not_there(self, model, verifier, tmp_path):
        with pytest.raises(TrainingError, match="could not be written"):
            write_verifier(tmp_path / "none" / "v.gguf", model, verifier)


def shown_by_llama(path: Path, keys: list[str]) -> dict[str, str]:
    """The values that llama.cpp's own interface gives."""
    with log.captured():
        options = llama.llama_model_default_params()
        options.vocab_only = True
        model = llama.llama_model_load_from_file(os.fsencode(path), options)
    buffer = ctypes.create_string_buffer(1 << 16)
    shown = {}
    for key in keys:
        if llama.llama_model_meta_val_str(model, key.encode(), buffer, len(buffer)) >= 0:
            shown[key] = buffer.value.decode()
    llama.llama_model_free(model)
    return shown
