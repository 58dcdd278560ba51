"""A model's file as the template of another one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from hidden_llama import hidden_states
from tiny_gguf import NUM_TOKENS, TinyModel, write_tiny_gguf

from arts_lite.engine.gguf import read_header
from arts_lite.errors import TrainingError
from arts_lite.train.gguf_files import Template, quantise, rewrite
from arts_lite.train.verifier_file import write_verifier_from
from arts_lite.verifier import Head, InputRules, VerifierFormat, read_verifier
from arts_lite.verifier.format import PREFIX

MODEL = TinyModel(metadata={"tiny.numbers": [1, 2, 3], "tiny.switch": True, "general.alignment": 64})
USUAL = dataclasses.replace(MODEL, metadata={"tiny.numbers": [1, 2, 3], "tiny.switch": True})  # in its alignment
SLOT = NUM_TOKENS - 1
TEXT = list(b"Use 2, 9, 4 and 1 to make 22.\n2 * 9 = 18; 4 1\n18 + 4 = 22; 1\n")
Q = "blk.0.attn_q.weight"


@pytest.fixture
def template(tmp_path) -> Template:
    return Template(write_tiny_gguf(tmp_path / "base.gguf", MODEL))


@pytest.fixture
def verifier() -> VerifierFormat:
    weight = np.random.default_rng(0).normal(0, 0.25, MODEL.dim).astype(np.float32)
    return VerifierFormat(objective="flow", rules=InputRules("{question}\n", "\n"), head=Head(weight, 0.5))


def contents(path: Path) -> tuple[dict[str, object], dict[str, bytes]]:
    """All keys with their types, and all tensors with theirs."""
    reader = gguf.GGUFReader(path)
    keys = {one.name: (one.types, one.contents()) for one in reader.fields.values() if not one.name.startswith("GGUF.")}
    return keys, {one.name: bytes([one.tensor_type]) + one.data.tobytes() for one in reader.tensors}


class TestRewrite:
    def test_without_changes_the_file_is_the_same(self, template, tmp_path):
        rewrite(template, tmp_path / "out.gguf", {}, file_type="F16")
        assert contents(tmp_path / "out.gguf") == contents(template.path)
        assert read_header(tmp_path / "out.gguf").tokenizer_sha256 == read_header(template.path).tokenizer_sha256

    def test_only_the_tensors_that_changed_are_other_bytes(self, template, tmp_path):
        weights = {name: torch.from_numpy(template.weight(name)) for name in template.tensors}
        weights[Q] = weights[Q] + 0.5
        rewrite(template, tmp_path / "out.gguf", {}, weights=weights, file_type="F16")
        before, after = contents(template.path)[1], contents(tmp_path / "out.gguf")[1]
        assert [name for name in before if before[name] != after[name]] == [Q]
        np.testing.assert_allclose(Template(tmp_path / "out.gguf").weight(Q), weights[Q], atol=2e-3)

    def test_a_quantised_template_is_not_quantised_again(self, template, tmp_path):
        rewrite(template, tmp_path / "q8.gguf", {}, file_type="Q8_0")
        q8 = Template(tmp_path / "q8.gguf")
        weights = {name: torch.from_numpy(q8.weight(name)).to(torch.bfloat16) for name in q8.tensors}
        rewrite(q8, tmp_path / "out.gguf", {}, weights=weights, file_type="F16")
        assert contents(tmp_path / "out.gguf") == contents(q8.path)

    def test_keys_are_added_replaced_and_taken_away(self, template, tmp_path):
        rewrite(template, tmp_path / "out.gguf", {"general.name": "new", "tiny.": None, "arts.x": 0.1})
        keys = read_header(tmp_path / "out.gguf").metadata
        assert (keys["general.name"], keys["arts.x"]) == ("new", 0.1)
        assert not any(key.startswith("tiny.") for key in keys)
        assert keys["tokenizer.chat_template"] == MODEL.chat_template

    @pytest.mark.parametrize(("file_type", "number"), [("F32", 0), ("F16", 1), ("Q8_0", 7)])
    def test_the_file_type_says_what_most_weights_are(self, template, tmp_path, file_type, number):
        weights = {name: torch.from_numpy(template.weight(name)) * 1.5 for name in template.tensors}
        rewrite(template, tmp_path / "out.gguf", {}, weights=weights, file_type=file_type)
        header = read_header(tmp_path / "out.gguf")
        assert header.metadata["general.file_type"] == number
        kinds = {one.name: one.type_name for one in header.tensors}
        assert kinds[Q] == file_type
        assert kinds["output_norm.weight"] == "F32"

    def test_a_row_that_does_not_divide_into_blocks_stays_f16(self, tmp_path):
        narrow = dataclasses.replace(MODEL, ff_dim=40)
        template = Template(write_tiny_gguf(tmp_path / "narrow.gguf", narrow))
        weights = {name: torch.from_numpy(template.weight(name)) * 1.5 for name in template.tensors}
        rewrite(template, tmp_path / "out.gguf", {}, weights=weights, file_type="Q8_0")
        kinds = {one.name: one.type_name for one in read_header(tmp_path / "out.gguf").tensors}
        assert (kinds["blk.0.ffn_down.weight"], kinds[Q]) == ("F16", "Q8_0")

    @pytest.mark.parametrize(
        ("name", "weight", "rule"),
        [
            ("blk.9.attn_q.weight", torch.zeros(1), "has no tensor blk.9.attn_q.weight"),
            (Q, torch.zeros(32, 64), r"is of the shape \(32, 64\)"),
            (Q, torch.full((64, 64), torch.nan), "not finite"),
        ],
    )
    def test_a_weight_that_does_not_fit_is_refused(self, template, tmp_path, name, weight, rule):
        with pytest.raises(TrainingError, match=rule):
            rewrite(template, tmp_path / "out.gguf", {}, weights={name: weight})
        assert not (tmp_path / "out.gguf").exists()

    @pytest.mark.parametrize("num_bytes", [0, 8_000, 60_000])
    def test_a_full_disk_leaves_the_file_before(self, template, tmp_path, full_disk, num_bytes):
        out = tmp_path / "out.gguf"
        out.write_bytes(b"the one before")
        with full_disk(num_bytes), pytest.raises(TrainingError, match="could not be written"):
            rewrite(template, out, {})
        assert out.read_bytes() == b"the one before"
        assert not out.with_name("out.gguf.new").exists()

    def test_a_template_can_be_replaced_by_its_successor(self, template):
        rewrite(template, template.path, {"general.name": "successor"})
        assert read_header(template.path).text("general.name") == "successor"

    @pytest.mark.parametrize("content", [b"", b"GGUF", b"not a model"])
    def test_a_file_that_is_no_gguf_is_refused(self, tmp_path, content):
        (tmp_path / "bad.gguf").write_bytes(content)
        with pytest.raises(TrainingError, match="the base model cannot be read"):
            Template(tmp_path / "bad.gguf")

    def test_a_part_of_a_split_model_is_refused(self, tmp_path):
        path = write_tiny_gguf(tmp_path / "part.gguf", TinyModel(metadata={"split.count": 3}))
        with pytest.raises(TrainingError, match="llama-gguf-split --merge"):
            Template(path)


class TestQuantise:
    def test_every_key_is_kept(self, tmp_path):
        source = write_tiny_gguf(tmp_path / "source.gguf", USUAL)
        quantise(source, tmp_path / "out.gguf", "Q4_K_M")
        before, after = contents(source)[0], contents(tmp_path / "out.gguf")[0]
        assert {key for key in before | after if before.get(key) != after.get(key)} == {"general.file_type"}

    def test_a_full_disk_leaves_the_file_before(self, tmp_path, full_disk):
        source = write_tiny_gguf(tmp_path / "source.gguf", USUAL)
        out = tmp_path / "out.gguf"
        out.write_bytes(b"the one before")
        for num_bytes in (0, 20_000, 60_000):
            with full_disk(num_bytes), pytest.raises(TrainingError):
                quantise(source, out, "Q4_K_M")
        assert out.read_bytes() == b"the one before"
        assert sorted(one.name for one in tmp_path.iterdir()) == ["out.gguf", "source.gguf"]

    def test_what_llama_cpp_refuses_is_told(self, template, tmp_path):
        source = write_tiny_gguf(tmp_path / "source.gguf", USUAL)
        quantise(source, tmp_path / "q4.gguf", "Q4_K_M")
        with pytest.raises(TrainingError, match="requantizing from type"):
            quantise(tmp_path / "q4.gguf", tmp_path / "out.gguf", "Q6_K")
        with pytest.raises(TrainingError, match="aligned to other than 32 bytes"):
            quantise(template.path, tmp_path / "out.gguf", "Q6_K")
        with pytest.raises(ValueError, match="must be one of Q6_K"):
            quantise(source, tmp_path / "out.gguf", "Q8_0")


class TestVerifierFromATemplate:
    @pytest.mark.parametrize("file_type", ["F32", "F16", "Q8_0", "Q6_K", "Q4_K_M"])
    def test_the_slots_logit_is_the_heads_value(self, template, verifier, tmp_path, file_type):
        written = write_verifier_from(template.path, tmp_path / "v.gguf", verifier, file_type=file_type)
        assert read_verifier(read_header(tmp_path / "v.gguf")).keys() == written.keys()
        with hidden_states(tmp_path / "v.gguf") as decode:
            states, logits = decode(TEXT)
        values = written.head(states)
        assert values.std() > 0.3
        np.testing.assert_allclose(logits[:, SLOT] + written.head.bias, values, atol=2e-2)

    @pytest.mark.parametrize("architecture", ["qwen2", "llama", "gemma3"])
    def test_the_base_is_as_it_was(self, verifier, tmp_path, architecture):
        base = write_tiny_gguf(tmp_path / "base.gguf", TinyModel(architecture=architecture))
        write_verifier_from(base, tmp_path / "v.gguf", verifier, file_type="F16")
        keys, tensors = contents(base)
        new_keys, new_tensors = contents(tmp_path / "v.gguf")
        assert {key for key in new_keys if key not in keys} == {key for key in new_keys if key.startswith(PREFIX)}
        assert {key: new_keys[key] for key in keys} == keys
        assert [name for name in tensors if tensors[name] != new_tensors[name]] == ["output.weight"]
        changed = Template(base).weight("output.weight") != Template(tmp_path / "v.gguf").weight("output.weight")
        assert changed.any(axis=1).nonzero()[0].tolist() == [SLOT]

    def test_the_base_is_named(self, template, verifier, tmp_path):
        import hashlib

        written = write_verifier_from(template.path, tmp_path / "v.gguf", verifier)
        assert written.base_name == "tiny random qwen2"
        assert written.base_sha256 == hashlib.sha256(template.path.read_bytes()).hexdigest()

    def test_a_head_fitted_again_takes_the_place_of_the_one_before(self, template, verifier, tmp_path):
        first = write_verifier_from(template.path, tmp_path / "v.gguf", verifier, file_type="Q4_K_M")
        refit = dataclasses.replace(first, head=Head(-first.head.weight, 1.0), metrics={"refit": True}, estimator="")
        second = write_verifier_from(tmp_path / "v.gguf", tmp_path / "v.gguf", refit)
        found = read_verifier(read_header(tmp_path / "v.gguf"))
        assert found.keys() == second.keys() == refit.keys()
        with hidden_states(tmp_path / "v.gguf") as decode:
            states, logits = decode(TEXT)
        np.testing.assert_allclose(logits[:, SLOT] + 1.0, found.head(states), atol=2e-2)

    def test_a_vocabulary_without_unused_tokens_has_no_slot(self, verifier, tmp_path):
        kinds = [1] * 256 + [3] * (NUM_TOKENS - 256)
        full = TinyModel(metadata={"tokenizer.ggml.token_type": kinds})
        base = write_tiny_gguf(tmp_path / "base.gguf", full)
        assert write_verifier_from(base, tmp_path / "v.gguf", verifier, file_type="F16").slot is None
        assert contents(base)[1] == contents(tmp_path / "v.gguf")[1]

    def test_a_model_that_squashes_its_logits_has_no_slot(self, verifier, tmp_path):
        squashed = TinyModel(metadata={"qwen2.final_logit_softcapping": 30.0})
        base = write_tiny_gguf(tmp_path / "base.gguf", squashed)
        assert write_verifier_from(base, tmp_path / "v.gguf", verifier).slot is None

    def test_a_head_of_another_width_is_refused(self, template, verifier, tmp_path):
        other = dataclasses.replace(verifier, head=Head(np.zeros(32, np.float32), 0.0))
        with pytest.raises(ValueError, match="hidden states have 64"):
            write_verifier_from(template.path, tmp_path / "v.gguf", other)
