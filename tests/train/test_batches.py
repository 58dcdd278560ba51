from __future__ import annotations

import numpy as np
import pytest
import torch
from fakes.sdf_trees import REWARDS, sdf_trees

from arts_lite.train.batches import TreeBatch, batch_plan
from arts_lite.train.trees import training_tree


def test_a_batch_holds_its_trees_one_after_another() -> None:
    trees = [training_tree(tree, range(tree.num_traces)) for tree in sdf_trees(1, num_trees=4)]
    batch = TreeBatch.of(trees, REWARDS)
    assert batch.num_problems == 3
    assert batch.offsets.tolist() == [0, *np.cumsum([tree.num_nodes for tree in trees])]
    assert batch.is_root.nonzero()[:, 0].tolist() == batch.offsets[:-1].tolist()
    problems = [batch.problem[start].item() for start in batch.offsets[:-1]]
    assert problems == [0, 1, 2, 2]
    for tree, start, end in zip(trees, batch.offsets, batch.offsets[1:], strict=False):
        own = slice(int(start), int(end))
        assert (batch.parent[own][1:] - start).tolist() == tree.parent[1:].tolist()
        assert batch.num_leaves[own].tolist() == tree.num_leaves.tolist()
        paths = [tree.log_pf_sampling[tree.path(node)].sum() for node in range(tree.num_nodes)]
        assert batch.path_log_pf[own].numpy() == pytest.approx(paths, abs=1e-5)
        pairs = batch.pairs[(batch.pairs[:, 0] >= start) & (batch.pairs[:, 0] < end)]
        assert (pairs - start).tolist() == tree.pairs.tolist()
        held = (batch.edge_parent >= start) & (batch.edge_parent < end)
        ends = int((tree.is_inner & (tree.num_ended > 0)).sum())
        assert int(held.sum()) == tree.num_nodes - 1 + ends


def test_every_leaf_is_one_leaf_edge() -> None:
    trees = [training_tree(tree, range(tree.num_traces)) for tree in sdf_trees(2, num_trees=6)]
    batch = TreeBatch.of(trees, REWARDS, dtype=torch.float64)
    leaves = batch.edge_child[batch.edge_is_leaf].tolist()
    ended = np.flatnonzero(np.concatenate([tree.num_ended for tree in trees]))
    assert sorted(leaves) == ended.tolist()
    rewards = np.concatenate([tree.ended_reward for tree in trees])
    assert batch.edge_log_reward[batch.edge_is_leaf].numpy() == pytest.approx(np.log(rewards[leaves]))
    assert any(parent == child for parent, child in zip(batch.edge_parent, batch.edge_child, strict=True))


def test_a_batch_moves_as_a_whole() -> None:
    batch = TreeBatch.of([training_tree(tree, range(tree.num_traces)) for tree in sdf_trees(3)], REWARDS)
    moved = batch.to(torch.device("meta"))
    assert {value.device.type for value in vars(moved).values() if isinstance(value, torch.Tensor)} == {"meta"}
    assert moved.num_problems == batch.num_problems


def test_a_batch_without_a_tree_is_refused() -> None:
    with pytest.raises(ValueError, match="needs at least one tree"):
        TreeBatch.of([], REWARDS)


def test_a_plan_takes_each_tree_once_within_the_size() -> None:
    sizes = [3, 9, 4, 1, 25, 6, 2]
    plan = batch_plan(sizes, 10, seed=1, epoch=0)
    assert sorted(number for batch in plan for number in batch) == list(range(len(sizes)))
    assert all(sum(sizes[number] for number in batch) <= 10 or batch == [4] for batch in plan)
    assert plan == batch_plan(sizes, 10, seed=1, epoch=0)
    others = [batch_plan(sizes, 10, seed=1, epoch=1), batch_plan(sizes, 10, seed=2, epoch=0)]
    assert all(other != plan for other in others)
