"""Given trees are read as each prefix alone is, and every shared prefix is decoded once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hidden_llama import hidden_states

from arts_lite.engine import Engine
from arts_lite.engine.config import KVType
from arts_lite.engine.forced import TokenTree, read_states, read_values, token_trie
from arts_lite.errors import ContextOverflowError

PROMPT = list(b"2+3=")


@pytest.fixture
def engine(make_engine: Callable[..., Engine]) -> Engine:
    return make_engine(ctx_size=128, num_cells=512, kv_type=KVType.F32, tunes_rows=False, flash_attention=False)


def drawn(seed: int, num_nodes: int = 12, shortest: int = 0) -> TokenTree:
    rng = Random(seed)
    tokens = [np.array(PROMPT, np.int32)]
    parents = [-1]
    for node in range(1, num_nodes):
        parents.append(rng.randrange(node))
        tokens.append(np.array([rng.randrange(33, 120) for _ in range(rng.randint(shortest, 5))], np.int32))
    return TokenTree(tokens, parents)


def path_of(tree: TokenTree, node: int) -> list[int]:
    own = [] if node == 0 else path_of(tree, tree.parent[node])
    return [*own, *tree.tokens[node].tolist()]


def states_by_hand(path: Path, tree: TokenTree) -> np.ndarray:
    with hidden_states(path, kv_type="f32") as decode:
        return np.stack([decode(path_of(tree, node))[0][-1] for node in range(len(tree.parent))])


@pytest.mark.parametrize("seed", range(4))
def test_states_of_a_tree_are_those_of_each_prefix_alone(engine: Engine, tiny_model_path: Path, seed: int) -> None:
    trees = [drawn(seed), drawn(seed + 100, 5)]
    for tree, found in zip(trees, read_states(engine, trees), strict=True):
        expected = states_by_hand(tiny_model_path, tree)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=2e-4 * np.abs(expected).max())
    assert engine.stats().num_branches == 0
    engine.check()


def test_values_are_the_heads_of_the_states(engine: Engine) -> None:
    trees = [drawn(1), drawn(2)]
    states = read_states(engine, trees)
    weight = np.random.default_rng(0).normal(size=engine.num_embd).astype(np.float32)
    engine.set_head(weight, 0.5)
    for found, own in zip(read_values(engine, trees), states, strict=True):
        np.testing.assert_allclose(found, own.astype(np.float64) @ weight + 0.5, atol=1e-3)


def test_every_token_is_decoded_once(engine: Engine) -> None:
    tree = drawn(3, 20, shortest=1)
    distinct = {tuple(path_of(tree, node)[:length]) for node in range(20) for length in range(1, 100)}
    read_states(engine, [tree])
    stats = engine.stats()
    assert stats.num_tokens_decoded + stats.num_tokens_prefilled == len(distinct)


def test_more_tokens_than_the_cache_holds_are_read_all_the_same(
    make_engine: Callable[..., Engine], tiny_model_path: Path
) -> None:
    small = make_engine(ctx_size=128, num_cells=256, kv_type=KVType.F32, tunes_rows=False, flash_attention=False)
    rng = Random(5)
    tokens = [np.array(PROMPT, np.int32)]
    tokens += [np.array([rng.randrange(33, 120) for _ in range(40)], np.int32) for _ in range(20)]
    tree = TokenTree(tokens, [-1, *[0] * 20])
    [found] = read_states(small, [tree])
    expected = states_by_hand(tiny_model_path, tree)
    np.testing.assert_allclose(found, expected, atol=2e-4 * np.abs(expected).max())


def test_a_path_beyond_the_context_is_told_and_leaves_nothing(engine: Engine) -> None:
    tree = TokenTree([np.array(PROMPT, np.int32), np.full(200, 50, np.int32)], [-1, 0])
    with pytest.raises(ContextOverflowError):
        read_states(engine, [drawn(0), tree])
    assert engine.stats().num_branches == 0


def test_traces_that_share_steps_share_nodes() -> None:
    traces: Sequence[Sequence[Sequence[int]]] = [[[1, 2], [3]], [[1, 2], [4]], [[1, 2], [3], [5]], []]
    tree, paths = token_trie(PROMPT, traces)
    assert [list(map(int, tokens)) for tokens in tree.tokens] == [PROMPT, [1, 2], [3], [4], [5]]
    assert list(tree.parent) == [-1, 0, 1, 1, 2]
    assert paths == [[1, 2], [1, 3], [1, 2, 4], []]
    assert tree.num_tokens == len(PROMPT) + 5


def test_a_tree_without_a_root_or_with_a_later_parent_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one token"):
        TokenTree([np.zeros(0, np.int32)], [-1])
    with pytest.raises(ValueError, match="must precede"):
        TokenTree([np.ones(1, np.int32)] * 3, [-1, 2, 0])
