"""A body with a head: parts of any size give the same values, and the head stays float32."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from fakes.sdf_trees import lines, sdf_tree
from fakes.verifier_training import write_base

from arts_lite.train.base import TuningConfig, load_base
from arts_lite.train.encoding import EncodedTree, encode_tree
from arts_lite.train.trees import training_tree, usable_traces
from arts_lite.train.values import ValueModel, parts_of, values_of


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ValueModel:
    base = load_base(str(write_base(tmp_path_factory.mktemp("base") / "base.gguf")))
    made = ValueModel(base, bias=0.25)
    torch.nn.init.normal_(made.head.weight)
    return made


@pytest.fixture(scope="module")
def trees(model: ValueModel) -> list[EncodedTree]:
    drawn = [
        sdf_tree(Random(seed), question=f"{seed} + 1", policy=lines(), num_mains=1 + seed % 4) for seed in range(9)
    ]
    kept = [training_tree(tree, usable_traces(tree)[0]) for tree in drawn]
    return [encode_tree(tree, model.base.rules, model.base.tokenise, row_tokens=24) for tree in kept]


@pytest.mark.parametrize("max_tokens", [1, 100, 300, 1_000_000])
def test_parts_of_any_size_give_the_same_values(model: ValueModel, trees: list[EncodedTree], max_tokens: int) -> None:
    found = values_of(model, trees, max_tokens=max_tokens)
    assert [one.shape for one in found] == [(tree.tree.num_nodes,) for tree in trees]
    alone = [values_of(model, [tree], max_tokens=1)[0] for tree in trees]
    np.testing.assert_allclose(np.concatenate(found), np.concatenate(alone), atol=1e-5)
    assert np.concatenate(alone).std() > 0.05


@pytest.mark.parametrize("max_tokens", [1, 100, 300, 1_000_000])
def test_parts_hold_each_tree_once_and_no_more_than_fits(trees: list[EncodedTree], max_tokens: int) -> None:
    parts = list(parts_of(trees, max_tokens))
    assert sorted(number for part, _ in parts for number in part) == list(range(len(trees)))
    assert all(rows.tokens.size <= max_tokens or len(part) == 1 for part, rows in parts)
    assert len(parts) == {1: len(trees), 1_000_000: 1}.get(max_tokens, len(parts))


def test_reading_values_leaves_the_model_as_it_was(model: ValueModel, trees: list[EncodedTree]) -> None:
    model.train()
    values_of(model, trees[:1], max_tokens=100)
    assert model.training
    model.eval()
    values_of(model, trees[:1], max_tokens=100)
    assert not model.training


def test_the_head_is_float32_under_bf16(model: ValueModel, trees: list[EncodedTree]) -> None:
    _, rows = next(parts_of(trees, 1_000_000))
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        hidden = model.base.compute(
            torch.from_numpy(rows.tokens), torch.from_numpy(rows.visible), torch.from_numpy(rows.positions)
        )
        values = model(rows)
    assert values.dtype == torch.float32
    at = hidden[torch.from_numpy(rows.value_row), torch.from_numpy(rows.value_column)].float()
    expected = at @ model.head.weight.detach()[0] + model.head.bias.detach()
    torch.testing.assert_close(values, expected, atol=1e-5, rtol=0)


def test_the_files_head_is_the_models(model: ValueModel) -> None:
    head = model.numpy_head()
    assert head.bias == 0.25
    np.testing.assert_array_equal(head.weight, model.head.weight.detach().numpy()[0])


@pytest.mark.parametrize("tuning", ["full", "head"])
def test_what_learns_is_named(tuning: str, tmp_path: Path) -> None:
    base = load_base(str(write_base(tmp_path / "base.gguf")), TuningConfig(tuning))
    names = set(ValueModel(base).learning())
    assert {"head.weight", "head.bias"} <= names
    assert any(name.startswith("body.") for name in names) == (tuning == "full")
