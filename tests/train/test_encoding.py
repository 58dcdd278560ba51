"""Rows of tokens: sharing prefixes changes what is computed twice, never a value."""

from __future__ import annotations

import dataclasses
from random import Random

import numpy as np
import pytest
import torch
from fakes.sdf_trees import lines, rambling, sdf_tree
from numpy.typing import NDArray

from arts_lite.train.encoding import EncodedTree, Rows, encode_tree, lay_out
from arts_lite.train.transformer import Shape, Transformer
from arts_lite.train.trees import TrainingTree, training_tree, usable_traces
from arts_lite.verifier.text import InputRules

RULES = InputRules("Q: {question}\n", "\n\n", bos=256)
SHAPE = Shape(dim=32, num_layers=2, num_heads=2, num_kv_heads=1, ff_dim=64, max_positions=128)
SEEDS = range(6)
SHARING = (0, 20, 256, 1_000_000)


def tokenise(text: str) -> list[int]:
    return list(text.encode())


def made(seed: int, num_mains: int = 4) -> TrainingTree:
    policy = rambling() if seed % 2 else lines()
    tree = sdf_tree(Random(seed), question=f"{seed} + {seed}", policy=policy, num_mains=num_mains)
    return training_tree(tree, usable_traces(tree)[0])


def encoded(tree: TrainingTree, row_tokens: int) -> EncodedTree:
    return encode_tree(tree, RULES, tokenise, row_tokens=row_tokens)


@pytest.fixture(scope="module")
def model() -> Transformer:
    torch.manual_seed(0)
    return Transformer(SHAPE).eval()


def read(model: Transformer, rows: Rows) -> NDArray[np.float32]:
    """Hidden states where values are read."""
    visible = None if rows.visible is None else torch.from_numpy(rows.visible)
    with torch.no_grad():
        hidden = model.hidden(torch.from_numpy(rows.tokens), mask=visible, positions=torch.from_numpy(rows.positions))
    states: NDArray[np.float32] = hidden[torch.from_numpy(rows.value_row), torch.from_numpy(rows.value_column)].numpy()
    return states


def alone(model: Transformer, tree: TrainingTree) -> NDArray[np.float32]:
    """The same, each prefix encoded by the rules that inference goes by, one at a time."""
    states = []
    for node in range(tree.num_nodes):
        steps = [tree.texts[one] for one in tree.path(node)[1:]]
        tokens = RULES.encode(tree.question, steps, tokenise).tokens
        with torch.no_grad():
            states.append(model.hidden(torch.tensor([tokens]))[0, -1].numpy())
    return np.stack(states)


@pytest.mark.parametrize("row_tokens", SHARING)
def test_every_layout_gives_the_values_of_reading_each_prefix_alone(model: Transformer, row_tokens: int) -> None:
    trees = [made(seed) for seed in SEEDS]
    expected = np.concatenate([alone(model, tree) for tree in trees])
    rows = lay_out([encoded(tree, row_tokens) for tree in trees])
    assert expected.std(0).min() > 0.01
    np.testing.assert_allclose(read(model, rows), expected, atol=1e-5)


@pytest.mark.parametrize("row_tokens", SHARING)
def test_the_tokens_and_positions_of_each_path_are_those_of_inference(row_tokens: int) -> None:
    for seed in SEEDS:
        tree = made(seed)
        one = encoded(tree, row_tokens)
        rows = lay_out([one], padding=7)
        ends = dict(enumerate(zip(rows.value_row.tolist(), rows.value_column.tolist(), strict=True)))
        for node in range(tree.num_nodes):
            path = tree.path(node)
            trace = RULES.encode(tree.question, [tree.texts[step] for step in path[1:]], tokenise)
            assert np.concatenate([one.tokens[step] for step in path]).tolist() == trace.tokens
            row, column = ends[node]
            assert rows.positions[row, column] == trace.ends[-1]
            assert rows.tokens[row, column] == trace.tokens[-1]
            seen = np.arange(column + 1) if rows.visible is None else np.flatnonzero(rows.visible[row, 0, column])
            assert rows.tokens[row, seen].tolist() == trace.tokens
            assert rows.positions[row, seen].tolist() == list(range(len(trace.tokens)))


@pytest.mark.parametrize("row_tokens", SHARING)
def test_each_node_is_read_once_and_lies_in_a_row_with_all_its_ancestors(row_tokens: int) -> None:
    for seed in SEEDS:
        tree = made(seed)
        one = encoded(tree, row_tokens)
        assert set().union(*one.rows) == set(range(tree.num_nodes))
        for row in one.rows:
            assert row[0] == 0
            assert len(set(row)) == len(row)
            assert all(tree.parent[node] in row[:place] for place, node in enumerate(row) if place)
        rows = lay_out([one])
        places = set(zip(rows.value_row.tolist(), rows.value_column.tolist(), strict=True))
        assert len(places) == tree.num_nodes
        assert all(0 <= column < rows.lengths[row] for row, column in places)


def test_row_tokens_says_how_much_is_shared() -> None:
    tree = made(0, num_mains=6)
    leaves = int((~tree.is_inner).sum())
    by_path, shared, whole = (encoded(tree, size) for size in (0, 40, 1_000_000))
    assert len(by_path.rows) == leaves
    assert lay_out([by_path]).visible is None
    assert all(tree.path(row[-1]) == list(row) for row in by_path.rows)
    assert len(whole.rows) == 1
    assert whole.num_tokens == sum(map(len, whole.tokens))
    assert 1 < len(shared.rows) < leaves
    assert whole.num_tokens < shared.num_tokens < by_path.num_tokens
    assert all(sum(len(shared.tokens[node]) for node in row) <= 40 for row in shared.rows)


def test_a_path_longer_than_a_row_has_a_row_of_its_own() -> None:
    tree = made(2)
    one = encoded(tree, 12)
    long = [row for row in one.rows if sum(len(one.tokens[node]) for node in row) > 12]
    assert long
    assert all(tree.path(row[-1]) == list(row) for row in long)


def test_no_token_sees_padding_or_another_branch() -> None:
    tree = made(0)
    rows = lay_out([encoded(tree, 1_000_000), encoded(made(3, num_mains=1), 0)])
    assert rows.visible is not None
    for row, length in enumerate(rows.lengths):
        visible = rows.visible[row, 0]
        assert not visible[:length, length:].any()
        assert visible.any(1).all()  # a softmax over nothing would be nan
        assert not np.triu(visible, 1).any()


def test_a_step_loses_the_delimiter_of_its_tree() -> None:
    tree = sdf_tree(Random(1), policy=lines())
    told = dataclasses.replace(tree, origin=dataclasses.replace(tree.origin, rules={"delimiters": ["b", "\n"]}))
    one = training_tree(told, usable_traces(told)[0])
    assert one.delimiters == ("b", "\n")
    tokens = encoded(one, 0).tokens
    assert "b" in one.texts
    for node in range(1, one.num_nodes):
        expected = RULES.step_tokens(one.texts[node], tokenise, ("b", "\n"))
        assert tokens[node].tolist() == expected
        assert expected == tokenise({"b": ""}.get(one.texts[node], one.texts[node]) + "\n\n")
