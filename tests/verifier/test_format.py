"""The keys of a verifier file."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import math
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_gguf import NUM_TOKENS, TinyModel, write_tiny_gguf

from arts_lite.engine.gguf import GGUFHeader, read_header
from arts_lite.errors import VerifierError
from arts_lite.verifier import Head, InputRules, VerifierFormat, read_verifier
from arts_lite.verifier.format import PREFIX, unused_token

DIM = TinyModel().dim
SLOT = NUM_TOKENS - 1
HEAD = Head(np.random.default_rng(0).normal(size=DIM).astype(np.float32), 0.1)
FORMAT = VerifierFormat(
    objective="flow",
    estimator="expected",
    rules=InputRules("{question}\n", "\n", bos=256),
    head=HEAD,
    scale=1.25,
    offset=-0.1,
    log_prob_weight=0.75,
    slot=SLOT,
    base_name="tiny",
    base_sha256="0" * 64,
    metrics={"bon": 0.5, "by_size": [1, 2]},
)


@pytest.fixture(scope="module")
def header(tmp_path_factory) -> GGUFHeader:
    """Of a real file that has the keys of FORMAT."""
    folder = tmp_path_factory.mktemp("verifier")
    own = read_header(write_tiny_gguf(folder / "base.gguf")).tokenizer_sha256
    keys = dataclasses.replace(FORMAT, tokenizer_sha256=own).keys()
    return read_header(write_tiny_gguf(folder / "verifier.gguf", TinyModel(metadata=keys)))


def changed(header: GGUFHeader, **keys: object) -> GGUFHeader:
    """The same file with other verifier keys (a dot in a key is written __); None takes one away."""
    named = {PREFIX + key.replace("__", "."): value for key, value in keys.items()}
    metadata = {key: value for key, value in {**header.metadata, **named}.items() if value is not None}
    return dataclasses.replace(header, metadata=metadata)


def test_a_file_that_says_nothing_of_log_probs_gives_them_no_weight(header):
    assert read_verifier(header).log_prob_weight == 0.75
    assert read_verifier(changed(header, calibration__log_prob=None)).log_prob_weight == 0


def test_what_is_written_is_read_back(header):
    found = read_verifier(header)
    assert found.keys() == dataclasses.replace(FORMAT, tokenizer_sha256=header.tokenizer_sha256).keys()
    assert found.rules == FORMAT.rules
    assert found.head.weight.tobytes() == HEAD.weight.tobytes()
    assert found.head.bias == HEAD.bias
    assert (found.scale, found.slot, found.metrics) == (1.25, SLOT, FORMAT.metrics)


@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
)
def test_a_head_keeps_every_bit(weights, bias):
    data = Head(np.array(weights, np.float32), bias).data
    assert data == np.array([*weights, bias], "<f4").tobytes()


def test_a_head_is_a_product_and_a_sum_in_float32():
    states = np.random.default_rng(1).normal(size=(3, 4, DIM)).astype(np.float32)
    values = HEAD(states)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, np.einsum("abd,d->ab", states.astype("f8"), HEAD.weight) + 0.1, atol=1e-5)


def test_no_key_is_an_array_since_llama_cpp_does_not_show_those():
    assert all(isinstance(value, (str, int, float)) for value in FORMAT.keys().values())


def test_every_key_is_documented():
    text = (Path(__file__).parents[2] / "docs" / "verifier-format.md").read_text(encoding="utf-8")
    written = FORMAT.keys()
    assert [key for key in written if f"`{key[len(PREFIX) :]}`" not in text] == []


def test_what_is_empty_is_left_out_and_read_as_empty(header):
    bare = dataclasses.replace(FORMAT, estimator="", slot=None, base_name="", rules=InputRules("{question}", "\n"))
    missing = {"estimator", "slot_token_id", "base.name", "bos_token_id"}
    assert not {PREFIX + key for key in missing} & set(bare.keys())
    found = read_verifier(changed(header, **dict.fromkeys(("estimator", "slot_token_id", "bos_token_id"))))
    assert (found.estimator, found.slot, found.rules.bos) == ("", None, None)


def test_metrics_that_are_no_numbers_are_null():
    metrics = {"loss": float("nan"), "by_step": [1.0, float("inf")]}
    text = dataclasses.replace(FORMAT, metrics=metrics).keys()[PREFIX + "metrics"]
    assert json.loads(str(text)) == {"loss": None, "by_step": [1.0, None]}


class TestCalibration:
    def test_a_log_flow_is_scaled_and_shifted(self):
        np.testing.assert_allclose(FORMAT.log_flow([0.0, 2.0]), [-0.1, 2.4])

    def test_log_odds_become_the_mixed_rewards_log(self):
        logit = dataclasses.replace(FORMAT, output="logit", scale=1.0, offset=0.0)
        chance = 1 / (1 + math.exp(-1.5))
        assert logit.log_flow(1.5) == pytest.approx(math.log(0.1 + 9.9 * chance))

    def test_extreme_log_odds_are_the_rewards_logs(self):
        logit = dataclasses.replace(FORMAT, output="logit")
        np.testing.assert_allclose(logit.log_flow([-1e30, 1e30]), [math.log(0.1), math.log(10)])

    @pytest.mark.parametrize("output", ["log_flow", "logit", "score"])
    def test_the_order_stays(self, output):
        values = dataclasses.replace(FORMAT, output=output).log_flow(np.linspace(-8, 8, 50))
        assert (np.diff(values) > 0).all()


class TestRefusals:
    def test_a_file_without_the_keys_is_no_verifier(self, tiny_model_path):
        with pytest.raises(VerifierError, match="is no verifier: it has no arts"):
            read_verifier(read_header(tiny_model_path))

    def test_a_proposers_keys_do_not_make_a_verifier(self, tmp_path):
        path = write_tiny_gguf(tmp_path / "proposer.gguf", TinyModel(metadata={"arts.sampling.temperature": 1.0}))
        with pytest.raises(VerifierError, match="is no verifier"):
            read_verifier(read_header(path))

    @pytest.mark.parametrize("version", [0, 2, "1", True, 1.0, None])
    def test_another_version_is_refused(self, header, version):
        with pytest.raises(VerifierError, match="format version"):
            read_verifier(changed(header, version=version))

    @pytest.mark.parametrize("bit", range(8))
    @pytest.mark.parametrize("place", [0, 100, -1])
    def test_a_flipped_bit_in_the_head_is_found(self, header, place, bit):
        data = bytearray(HEAD.data)
        data[place] ^= 1 << bit
        with pytest.raises(VerifierError, match="its head is damaged: its SHA-256"):
            read_verifier(changed(header, head__data=base64.b64encode(data).decode()))

    def test_a_flipped_bit_in_the_files_bytes_is_found(self, header, tmp_path):
        content = header.path.read_bytes()
        start = content.index(base64.b64encode(HEAD.data))
        for offset in (0, 50, len(HEAD.data)):
            damaged = bytearray(content)
            damaged[start + offset] ^= 1
            path = tmp_path / f"{offset}.gguf"
            path.write_bytes(damaged)
            with pytest.raises(VerifierError, match="its head is damaged"):
                read_verifier(read_header(path))

    def test_a_head_that_lost_its_last_character_is_found(self, header):
        text = str(header.metadata[PREFIX + "head.data"])
        with pytest.raises(VerifierError, match=f"has {len(text) - 1} characters instead of {len(text)}"):
            read_verifier(changed(header, head__data=text[:-1]))

    @pytest.mark.parametrize("text", ["*" * 4, "ab=c", "äöüß"])
    def test_a_head_that_is_no_base64_is_found(self, header, text):
        with pytest.raises(VerifierError, match="no base64"):
            read_verifier(changed(header, head__data=text, head__length=len(text)))

    @pytest.mark.parametrize("number", [float("nan"), float("inf")])
    def test_a_head_with_numbers_that_are_not_finite_is_refused(self, header, number):
        numbers = np.frombuffer(HEAD.data, "<f4").copy()
        numbers[3] = number
        with pytest.raises(VerifierError, match="not finite"):
            read_verifier(with_head(header, numbers))

    def test_a_head_of_another_width_is_refused(self, header):
        numbers = np.zeros(DIM + 33, np.float32)
        with pytest.raises(VerifierError, match=rf"reads {DIM + 32} numbers, but its hidden states have {DIM}"):
            read_verifier(with_head(header, numbers))
        with pytest.raises(VerifierError, match="take"):
            read_verifier(changed(header, head__n_embd=DIM - 1))

    def test_another_tokenizer_is_refused(self, header, tmp_path):
        keys = {key: value for key, value in header.metadata.items() if key.startswith(PREFIX)}
        path = write_tiny_gguf(tmp_path / "swapped.gguf", TinyModel(metadata=keys, add_bos=True))
        with pytest.raises(VerifierError, match="its tokenizer is not the one it was trained with"):
            read_verifier(read_header(path))

    @pytest.mark.parametrize("slot", [ord("a"), 256, NUM_TOKENS])
    def test_a_slot_that_text_could_become_is_refused(self, header, slot):
        with pytest.raises(VerifierError, match="no unused token"):
            read_verifier(changed(header, slot_token_id=slot))

    def test_an_opening_token_outside_the_vocabulary_is_refused(self, header):
        with pytest.raises(VerifierError, match="bos_token_id is 288"):
            read_verifier(changed(header, bos_token_id=NUM_TOKENS))

    @pytest.mark.parametrize(
        ("key", "value", "rule"),
        [
            ("objective", None, "must be a text"),
            ("step_separator", 3, "must be a text"),
            ("question_template", "Q:", "must contain"),
            ("output", "logits", "must be one of log_flow, logit, score"),
            ("calibration__scale", "1", "must be a number"),
            ("calibration__scale", 0.0, "must be a finite number > 0"),
            ("calibration__offset", float("nan"), "must be finite"),
            ("calibration__log_prob", -0.5, "must be finite and >= 0"),
            ("calibration__log_prob", "much", "must be a number"),
            ("reward__wrong", 0.0, "must be > 0"),
            ("reward__correct", 0.05, "must be > reward_wrong"),
            ("slot_token_id", "287", "must be a whole number"),
            ("head__length", None, "is missing"),
            ("metrics", "{", "cannot be used"),
            ("metrics", "[]", "must be a JSON object"),
        ],
    )
    def test_a_key_of_another_kind_is_named(self, header, key, value, rule):
        with pytest.raises(VerifierError, match=rule):
            read_verifier(changed(header, **{key: value}))


def with_head(header: GGUFHeader, numbers: np.ndarray) -> GGUFHeader:
    """Another head with everything about it right."""
    data = numbers.astype("<f4").tobytes()
    text = base64.b64encode(data).decode()
    digest = hashlib.sha256(data).hexdigest()
    return changed(header, head__data=text, head__length=len(text), head__sha256=digest, head__n_embd=len(numbers) - 1)


class TestTokenizer:
    def test_its_digest_covers_the_merges(self, tmp_path):
        one = write_tiny_gguf(tmp_path / "one.gguf")
        other = write_tiny_gguf(tmp_path / "other.gguf", TinyModel(metadata={"tokenizer.ggml.merges": ["ÿ a"]}))
        assert read_header(one).tokenizer_sha256 != read_header(other).tokenizer_sha256

    def test_its_digest_knows_nothing_else_of_the_file(self, tmp_path):
        one = write_tiny_gguf(tmp_path / "one.gguf")
        keys = {"general.name": "another"}
        other = TinyModel(seed=1, num_layers=1, chat_template="{{ messages }}", metadata=keys)
        assert read_header(one).tokenizer_sha256 == read_header(write_tiny_gguf(tmp_path / "b", other)).tokenizer_sha256

    def test_a_file_without_a_tokenizer_has_no_digest(self, tmp_path):
        path: Path = tmp_path / "bare.gguf"
        writer = gguf.GGUFWriter(path, "none")
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()
        assert read_header(path).tokenizer_sha256 == ""

    def test_the_last_unused_token_is_the_slot(self, header):
        assert unused_token(header.metadata) == SLOT
        assert unused_token({"tokenizer.ggml.token_type": [1, 3]}) is None
        assert unused_token({}) is None
