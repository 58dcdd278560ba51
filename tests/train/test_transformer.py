"""The trainer's transformer against llama.cpp, and its shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from raw_llama import raw_context

from arts_lite.engine import EngineConfig, Model
from arts_lite.train.export import write_gguf
from arts_lite.train.transformer import Shape, Transformer

SHAPES = [
    Shape(dim=64, num_layers=2, num_heads=2, num_kv_heads=1, ff_dim=96, max_positions=128),
    Shape(dim=96, num_layers=1, num_heads=3, num_kv_heads=3, ff_dim=64, max_positions=128, rope_base=500.0),
]
TOKENS = [*b"17*(23-5)+412\n23-5=18; 17*18+412\n17*18=306; 306+412\n", 257, 0, 255, 256]


def random_model(shape: Shape, seed: int = 0) -> Transformer:
    """A model whose every weight matters: norms differ from 1, and logits are several units apart."""
    torch.manual_seed(seed)
    model = Transformer(shape)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.uniform_(0.5, 1.5)
            elif name == "embedding.weight":
                weight.normal_(std=0.5)
            else:
                weight.normal_(std=1.0 / weight.shape[1] ** 0.5)
    return model


@pytest.mark.parametrize("shape", SHAPES)
def test_logits_are_llama_cpps(shape: Shape, tmp_path: Path) -> None:
    model = random_model(shape)
    write_gguf(tmp_path / "model.gguf", model, {}, file_type="F32")
    with torch.no_grad():
        ours = model.logits(model.hidden(torch.tensor([TOKENS])))[0].numpy()
    config = EngineConfig(threads=1, kv_type="f32", flash_attention=False, ctx_size=128)
    with Model(tmp_path / "model.gguf", config) as loaded, raw_context(loaded, config) as context:
        rows = [(token, position, 0) for position, token in enumerate(TOKENS)]
        theirs = np.stack(context.decode(rows))
    assert ours.std() > 1
    assert np.abs(ours - theirs).max() < 1e-3
    assert (ours.argmax(1) == theirs.argmax(1)).all()


def test_a_token_is_not_seen_by_those_before_it() -> None:
    model = random_model(SHAPES[0])
    changed = [*TOKENS[:30], 65, *TOKENS[31:]]
    with torch.no_grad():
        before, after = (model.hidden(torch.tensor([tokens]))[0] for tokens in (TOKENS, changed))
    assert torch.equal(before[:30], after[:30])
    assert not torch.isclose(before[31:], after[31:]).all(1).any()


def test_positions_count_by_their_distance() -> None:
    model = random_model(SHAPES[0])
    tokens = torch.tensor([TOKENS])
    with torch.no_grad():
        near = model.hidden(tokens)
        far = model.hidden(tokens, positions=torch.arange(len(TOKENS))[None] + 50)
    assert torch.allclose(near, far, atol=1e-4)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"dim": 190}, "dim 190, num_heads 3"),
        ({"num_kv_heads": 2}, "must each divide"),
        ({"ff_dim": 500}, "multiples of 32"),
        ({"dim": 96, "num_heads": 32, "num_kv_heads": 1}, "head_dim an even number"),
    ],
)
def test_sizes_that_do_not_fit_are_told(sizes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Shape(**sizes)  # type: ignore[arg-type]
