"""Weights from transformers and back into a GGUF."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hidden_llama import hidden_states
from tiny_gguf import TinyModel, write_tiny_gguf

from arts_lite.engine.gguf import read_header
from arts_lite.errors import TrainingError
from arts_lite.train.gguf_files import Template, rewrite
from arts_lite.train.hf_weights import check_exportable, gguf_weights
from arts_lite.train.verifier_file import write_verifier_from
from arts_lite.verifier import Head, InputRules, VerifierFormat, read_verifier

TEXT = "Use 2, 9, 4 and 1 to make 22.\n2 * 9 = 18; 4 1\n18 + 4 = 22; 1\n"
TINY = ["qwen2", "llama", "gemma3"]


def tiny(folder: Path, architecture: str) -> Path:
    model = TinyModel(architecture=architecture, num_heads=4, num_kv_heads=2, float_type="f32")
    return write_tiny_gguf(folder / "base.gguf", model)


def load(path: Path) -> Any:
    """The model as transformers reads it from its GGUF, in float32."""
    pytest.importorskip("accelerate", reason="transformers reads GGUF files with accelerate")
    transformers = pytest.importorskip("transformers")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, attn_implementation="eager"
    ).eval()


def train(model: Any, names: tuple[str, ...]) -> None:
    """Change some weights by a fifth of their size, as training would."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if any(part in name for part in names):
                weight += 0.2 * weight.std() * torch.randn_like(weight)


def torch_states(model: Any, tokens: list[int]) -> np.ndarray:
    with torch.no_grad():
        return model.model(torch.tensor([tokens])).last_hidden_state[0].numpy()


def llama_states(path: Path, tokens: list[int] | None = None, kv_type: str = "f32") -> tuple[np.ndarray, list[int]]:
    with hidden_states(path, kv_type=kv_type) as decode:
        tokens = tokens or decode.tokenise(TEXT)
        return decode(tokens)[0], tokens


def bodies(path: Path) -> Mapping[str, np.ndarray]:
    template = Template(path)
    return {name: template.weight(name) for name in template.tensors}


class TestTinyModels:
    @pytest.mark.parametrize("architecture", TINY)
    def test_weights_that_were_loaded_and_not_trained_are_the_templates_own(self, tmp_path, architecture):
        path = tiny(tmp_path, architecture)
        template = Template(path)
        weights = gguf_weights(template, load(path).state_dict())
        assert set(weights) == set(template.tensors)
        for name, weight in weights.items():
            np.testing.assert_allclose(weight.numpy(), template.weight(name), atol=1e-6, err_msg=name)

    @pytest.mark.parametrize("architecture", ["qwen2", "llama"])
    def test_a_trained_model_computes_the_same_in_llama_cpp(self, tmp_path, architecture):
        path = tiny(tmp_path, architecture)
        model = load(path)
        train(model, ("proj", "norm", "embed"))
        template = Template(path)
        rewrite(
            template, tmp_path / "out.gguf", {}, weights=gguf_weights(template, model.state_dict()), file_type="F32"
        )
        states, tokens = llama_states(tmp_path / "out.gguf")
        np.testing.assert_allclose(states, torch_states(model, tokens), atol=1e-3)
        before, _ = llama_states(path, tokens)
        assert abs(before - states).max() > 0.5

    def test_gemmas_norms_are_stored_with_one_added(self, tmp_path):
        path = tiny(tmp_path, "gemma3")
        model = load(path)
        train(model, ("norm",))
        with torch.no_grad():
            model.model.norm.weight += 0.25
        weights = gguf_weights(Template(path), model.state_dict())
        torch.testing.assert_close(weights["output_norm.weight"], model.model.norm.weight.detach() + 1)

    def test_a_body_without_its_output_layer_has_the_same_names(self, tmp_path):
        path = tiny(tmp_path, "llama")
        model = load(path)
        weights = gguf_weights(Template(path), model.model.state_dict())
        assert set(weights) == set(Template(path).tensors) - {"output.weight"}

    def test_half_precision_that_was_not_trained_stays_as_it_was(self, tmp_path):
        path = tiny(tmp_path, "llama")
        state = {name: weight.to(torch.bfloat16) for name, weight in load(path).state_dict().items()}
        template = Template(path)
        rewrite(template, tmp_path / "out.gguf", {}, weights=gguf_weights(template, state), file_type="F32")
        for name, weight in bodies(path).items():
            assert (bodies(tmp_path / "out.gguf")[name] == weight).all(), name


class TestRefusals:
    def test_an_architecture_that_cannot_be_written_back(self, tmp_path):
        path = write_tiny_gguf(tmp_path / "base.gguf", TinyModel(architecture="mamba"))
        with pytest.raises(TrainingError, match="'mamba' cannot be exported, only those of gemma2, gemma3, llama"):
            gguf_weights(Template(path), {})
        with pytest.raises(TrainingError, match="choose another base"):
            check_exportable("phi3")

    @pytest.mark.parametrize(
        "name", ["score.weight", "model.layers.0.self_attn.q_proj.bias", "model.layers.9.mlp.up_proj.weight"]
    )
    def test_a_tensor_without_a_place(self, tmp_path, name):
        template = Template(write_tiny_gguf(tmp_path / "base.gguf"))
        with pytest.raises(TrainingError, match=f"{name} has no place"):
            gguf_weights(template, {name: torch.ones(64)})

    def test_biases_of_zero_that_the_base_lacks_are_left_out(self, tmp_path):
        template = Template(write_tiny_gguf(tmp_path / "base.gguf"))
        assert gguf_weights(template, {"model.layers.0.self_attn.q_proj.bias": torch.zeros(64)}) == {}


@pytest.mark.model
@pytest.mark.timeout(1200)  # transformers dequantises 135 M weights with numpy
def test_a_trained_smollm2_computes_the_same_in_llama_cpp(real_model, tmp_path):
    """It is a llama: queries and keys lie permuted in its GGUF."""
    template = Template(real_model("smollm2-135m"))
    model = load(template.path)
    train(model, ("layers.0.self_attn.q_proj", "layers.7.self_attn.k_proj", "layers.20.mlp.up_proj"))
    weights = gguf_weights(template, model.state_dict())
    # all of it in F16: llama.cpp rounds the activations of quantised layers, torch does not
    rewrite(template, tmp_path / "f16.gguf", {}, weights=weights, file_type="F16", keep_unchanged=False)
    states, tokens = llama_states(tmp_path / "f16.gguf")
    head = Head(np.random.default_rng(0).normal(0, 0.05, 576), 0.0)
    wanted = head(torch_states(model, tokens))
    assert wanted.std() > 0.5
    np.testing.assert_allclose(head(states), wanted, atol=1e-2)


@pytest.mark.model
def test_a_verifier_from_smollm2_has_its_tokenizer_and_no_slot(real_model, tmp_path):
    base = real_model("smollm2-135m")
    rules = InputRules("Question: {question}\n\n", "\n\n")
    verifier = VerifierFormat(objective="flow", rules=rules, head=Head(np.ones(576), 0.0))
    written = write_verifier_from(base, tmp_path / "v.gguf", verifier)
    assert read_verifier(read_header(tmp_path / "v.gguf")).keys() == written.keys()
    assert written.tokenizer_sha256 == read_header(base).tokenizer_sha256
    assert written.slot is None  # its vocabulary has no unused token
