"""A tiny model as transformers' twin, and back."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from fakes.policies import SHAPE, random_transformer, write_policy
from hidden_llama import hidden_states

from arts_lite.engine.gguf import read_header
from arts_lite.errors import TrainingError
from arts_lite.tasks import make_task
from arts_lite.tasks.arithmetic import arithmetic_problem
from arts_lite.train import policy
from arts_lite.train.byte_vocab import EOS

needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="transformers (extra grpo) is not installed"
)
TEXT = "17*(23-5)+412\n17*18=306; 306+412\n"
CPU = torch.device("cpu")


@needs_transformers
def test_the_twin_computes_the_tiny_models_logits() -> None:
    model = random_transformer()
    tokens = torch.tensor([list(TEXT.encode()), list(TEXT[::-1].encode())])
    with torch.no_grad():
        expected, found = model.logits(model.hidden(tokens)), policy.causal_lm(model)(tokens).logits
    assert expected.std() > 0.5
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@needs_transformers
def test_what_the_twin_learns_fits_into_the_tiny_model_weight_for_weight() -> None:
    twin = policy.causal_lm(random_transformer())
    with torch.no_grad():
        for weight in twin.parameters():
            weight.add_(torch.randn_like(weight) / 10)
    model = policy.tiny_model(twin, SHAPE)
    assert sum(weight.numel() for weight in twin.parameters()) == sum(weight.numel() for weight in model.parameters())
    tokens = torch.tensor([list(TEXT.encode())])
    with torch.no_grad():
        torch.testing.assert_close(model.logits(model.hidden(tokens)), twin(tokens).logits, atol=1e-5, rtol=1e-5)


@needs_transformers
def test_the_gguf_of_a_tuned_policy_gives_torchs_logits_and_keeps_the_bases_keys(tmp_path: Path) -> None:
    tuned = policy.read_policy(str(write_policy(tmp_path / "base.gguf")), device=CPU)
    with torch.no_grad():
        for weight in tuned.model.parameters():
            weight.add_(torch.randn_like(weight) / 50)
    path = tmp_path / "tuned.gguf"
    tuned.write_gguf(path, {"arts.grpo.num_steps": 7}, file_type="F32")
    tokens = list(TEXT.encode())
    with torch.no_grad():
        expected = tuned.model(torch.tensor([tokens])).logits[0]
    with hidden_states(path, kv_type="f32") as compute:
        _, found = compute(tokens)
    torch.testing.assert_close(torch.from_numpy(found.copy()), expected, atol=1e-4, rtol=1e-4)
    metadata = read_header(path).metadata
    assert (metadata["general.name"], metadata["arts.sampling.temperature"]) == ("small", 1.0)
    assert metadata["arts.tasks"] == [b"countdown", b"arithmetic"]
    assert metadata["arts.grpo.num_steps"] == 7


@needs_transformers
@pytest.mark.parametrize(
    "text", [TEXT, " a, b . c !", "é\u2581\U0001f600\n\n", "<|endoftext|><|bos|>", "\x00\x7f", "'s n't"]
)
def test_the_tokenizer_reads_bytes_and_nothing_else(text: str) -> None:
    tokenizer = policy.byte_tokenizer()
    assert tokenizer(text)["input_ids"] == list(text.encode())
    assert tokenizer.decode(list(text.encode())) == text
    assert tokenizer.batch_decode([[*text.encode(), EOS]], skip_special_tokens=True) == [text]


@needs_transformers
def test_a_tiny_policy_is_asked_in_plain_form_and_ends_where_the_base_does(tmp_path: Path) -> None:
    read = policy.read_policy(str(write_policy(tmp_path / "base.gguf")), device=CPU)
    prompt = read.prompt(make_task("arithmetic"), arithmetic_problem("1 + 2*3"))
    assert prompt == "1+2*3\n"
    assert read.encode("1+2*3\n") == list(b"1+2*3\n")
    assert read.end_tokens == {EOS}
    with pytest.raises(TrainingError, match="reads countdown and arithmetic problems only, not gsm8k"):
        read.check_task(make_task("gsm8k"))


@needs_transformers
@pytest.mark.parametrize("name", ["missing.gguf", "damaged.gguf", "no-such-folder"])
def test_a_base_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "damaged.gguf").write_bytes(b"GGUF\x03\x00\x00\x00 nothing more")
    with pytest.raises(TrainingError, match=name):
        policy.read_policy(str(tmp_path / name), device=CPU)


def test_a_missing_package_is_named_with_its_remedy() -> None:
    with pytest.raises(ImportError, match=r"needs no_such_package. Run: pip install 'arts-lite\[grpo\]'"):
        policy.need("no_such_package")
