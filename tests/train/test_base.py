"""What a verifier is trained from: which bases load, what learns in them, and what is said of those that do not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.verifier_training import SHAPE, write_base
from tiny_gguf import TinyModel, write_tiny_gguf

from arts_lite.errors import TrainingError
from arts_lite.proposer import embedded_proposer
from arts_lite.train.base import TINY_RULES, Base, TuningConfig, load_base
from arts_lite.train.export import load_tensors, read_gguf
from arts_lite.train.transformer import Shape, Transformer
from arts_lite.verifier.text import InputRules

TOKENS = torch.tensor([[72, 101, 108, 10]])
POSITIONS = torch.arange(4)[None]


def num_learning(base: Base) -> int:
    return sum(weight.numel() for weight in base.module.parameters() if weight.requires_grad)


def test_tiny_is_the_embedded_architecture_with_new_weights() -> None:
    one, same, other = load_base("tiny"), load_base("tiny"), load_base("tiny", seed=1)
    assert isinstance(one.module, Transformer)
    assert one.module.shape == Shape() == read_gguf(embedded_proposer())[0]
    assert (one.dim, one.max_tokens, one.is_tiny, one.rules) == (192, 512, True, TINY_RULES)
    weights = [base.module.state_dict()["embedding.weight"] for base in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_embedded_has_the_proposers_weights() -> None:
    base = load_base("embedded")
    shape, weights = read_gguf(embedded_proposer())
    expected = Transformer(shape)
    load_tensors(expected, weights)
    state = base.module.state_dict()
    assert all(torch.equal(state[name], weight) for name, weight in expected.state_dict().items())


def test_a_gguf_of_ours_is_read_back_without_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    path = write_base(tmp_path / "base.gguf", seed=3)
    base = load_base(str(path))
    torch.manual_seed(3)
    model = Transformer(SHAPE)
    assert (base.dim, base.max_tokens, base.name) == (SHAPE.dim, SHAPE.max_positions, str(path))
    with torch.no_grad():
        expected = model.hidden(TOKENS)
        torch.testing.assert_close(base.compute(TOKENS, None, POSITIONS), expected)
        visible = torch.ones(4, 4, dtype=torch.bool).tril()[None, None]
        torch.testing.assert_close(base.compute(TOKENS, visible, POSITIONS), expected)


def test_a_tiny_model_reads_bytes_and_other_rules_if_asked(tmp_path: Path) -> None:
    rules = InputRules("{question}?", ";")
    base = load_base(str(write_base(tmp_path / "base.gguf")), rules=rules)
    assert base.rules is rules
    assert base.tokenise("é\ud800") == [195, 169, ord("?")]


@pytest.mark.parametrize(("tuning", "learns"), [("full", True), ("head", False)])
def test_tuning_says_whether_the_body_learns(tuning: str, learns: bool, tmp_path: Path) -> None:
    base = load_base(str(write_base(tmp_path / "base.gguf")), TuningConfig(tuning))
    assert bool(num_learning(base)) == learns


@pytest.mark.parametrize(
    ("tuning", "message"),
    [
        (TuningConfig("lora"), "adapters make no sense; choose tuning full or head"),
        (TuningConfig(checkpointing=True), "checkpointing saves nothing; leave it out"),
    ],
)
def test_what_makes_no_sense_for_tiny_models_is_refused(tuning: TuningConfig, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        load_base("tiny", tuning)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tuning": "most"}, "tuning is 'most', but must be one of full, lora, head"),
        ({"lora_rank": 0}, "lora_rank 0 must be >= 1"),
        ({"lora_alpha": 0.0}, "lora_alpha 0.0 > 0"),
        ({"lora_alpha": float("nan")}, "lora_alpha nan > 0"),
        ({"lora_dropout": 1.0}, r"lora_dropout 1.0 in \[0, 1\)"),
    ],
)
def test_tuning_out_of_range_is_told(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TuningConfig(**settings)


class TestUnknownBases:
    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        pytest.importorskip("transformers")
        with pytest.raises(TrainingError, match=r"cannot be loaded \(.*give a GGUF file that transformers can read, a"):
            load_base(str(tmp_path / "none"))

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(TrainingError, match=r"none\.gguf' cannot be read"):
            load_base(str(tmp_path / "none.gguf"))

    @pytest.mark.parametrize("data", [b"", b"GGUF", b"no model at all" * 100])
    def test_a_file_that_is_no_model(self, tmp_path: Path, data: bytes) -> None:
        pytest.importorskip("transformers")
        (tmp_path / "bad.gguf").write_bytes(data)
        with pytest.raises(TrainingError, match=r"bad\.gguf' cannot be read"):
            load_base(str(tmp_path / "bad.gguf"))

    def test_a_file_that_ends_early(self, tmp_path: Path) -> None:
        pytest.importorskip("transformers")
        path = write_base(tmp_path / "base.gguf")
        path.write_bytes(path.read_bytes()[:-500])
        with pytest.raises(TrainingError, match=r"base\.gguf' cannot be read"):
            load_base(str(path))

    def test_an_architecture_that_cannot_be_read(self, tmp_path: Path) -> None:
        pytest.importorskip("transformers")
        write_tiny_gguf(tmp_path / "mamba.gguf", TinyModel(architecture="mamba"))
        with pytest.raises(TrainingError, match=r"mamba\.gguf' cannot be loaded"):
            load_base(str(tmp_path / "mamba.gguf"))

    def test_without_transformers_the_remedy_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "transformers", None)
        with pytest.raises(TrainingError, match=r"needs transformers, .* Run: pip install 'arts-lite\[train\]'"):
            load_base("some/model")
