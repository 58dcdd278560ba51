"""Several trees as flat tensors: nothing is padded, numbers say what belongs together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from arts_lite.tasks import Rewards
from arts_lite.train.trees import TrainingTree


@dataclass(frozen=True, eq=False)
class TreeBatch:
    """Nodes of all trees, tree after tree, each tree's in its own order. Counts are kept as floats.

    An edge is a child of a node. Its flow is known where the child is a leaf: the reward. A leaf that ends in a node
    which other traces pass is an edge from that node to itself.

    Attributes:
        rewards: of a correct and a wrong leaf.
        num_problems: trees with one key are one problem.
        offsets: int64[num_trees + 1], where each tree's nodes begin.
        parent: int64[num_nodes], the number of the parent in the batch, -1 for roots.
        problem, depth: int64[num_nodes].
        is_inner: bool[num_nodes], whether a node has a child (or is passed by other traces).
        num_leaves, num_correct, share_correct: float[num_nodes], of the leaves at or below.
        log_mean_reward, log_sum_reward: float[num_nodes], see `TrainingTree`; of a leaf, both are its log-reward.
        path_log_pf: float[num_nodes], log-prob of a node given its root, under the sampling distribution.
        edge_parent, edge_child: int64[num_edges].
        edge_draws: float[num_edges], how often the child was drawn at the parent, > 0.
        edge_is_leaf: bool[num_edges].
        edge_log_reward, edge_share: float[num_edges], log of the mean reward of leaf edges and their share of correct
            ones; 0 elsewhere.
        pairs, pair_weight: int64[num_pairs, 2] and float[num_pairs], see `TrainingTree`.
    """

    rewards: Rewards
    num_problems: int
    offsets: Tensor
    parent: Tensor
    problem: Tensor
    depth: Tensor
    is_inner: Tensor
    num_leaves: Tensor
    num_correct: Tensor
    share_correct: Tensor
    log_mean_reward: Tensor
    log_sum_reward: Tensor
    path_log_pf: Tensor
    edge_parent: Tensor
    edge_child: Tensor
    edge_draws: Tensor
    edge_is_leaf: Tensor
    edge_log_reward: Tensor
    edge_share: Tensor
    pairs: Tensor
    pair_weight: Tensor

    @classmethod
    def of(cls, trees: Sequence[TrainingTree], rewards: Rewards, *, dtype: torch.dtype = torch.float32) -> TreeBatch:
        """Put trees into a batch. Raises ValueError: there is none."""
        if not trees:
            raise ValueError("a batch needs at least one tree")
        offsets = np.cumsum([0, *(tree.num_nodes for tree in trees)])
        numbers = {key: number for number, key in enumerate(dict.fromkeys(tree.key for tree in trees))}
        arrays = [_arrays(tree, int(start), numbers[tree.key]) for tree, start in zip(trees, offsets, strict=False)]
        tensors: dict[str, Tensor] = {}
        for name in arrays[0]:
            joined = torch.from_numpy(np.concatenate([one[name] for one in arrays]))
            tensors[name] = joined.to(dtype) if joined.is_floating_point() else joined
        return cls(rewards=rewards, num_problems=len(numbers), offsets=torch.from_numpy(offsets), **tensors)

    @property
    def num_nodes(self) -> int:
        """Of all trees."""
        return len(self.parent)

    @property
    def is_root(self) -> Tensor:
        """bool[num_nodes]."""
        return self.parent < 0

    def to(self, device: torch.device) -> TreeBatch:
        """Move to a device."""
        moved = {
            one.name: value.to(device)
            for one in dataclasses.fields(self)
            if isinstance(value := getattr(self, one.name), Tensor)
        }
        return dataclasses.replace(self, **moved)


def _arrays(tree: TrainingTree, start: int, problem: int) -> dict[str, Any]:
    inner = tree.is_inner
    child = np.arange(1, tree.num_nodes)
    ending = np.flatnonzero(inner & (tree.num_ended > 0))  # leaves in nodes that others pass: edges to themselves
    leaf = ~inner[child]
    reward = np.where(leaf, np.nan_to_num(tree.ended_reward[child]), 1.0)
    share = tree.num_correct / tree.num_leaves
    path_log_pf = tree.log_pf_sampling.copy()
    for node in child:
        path_log_pf[node] += path_log_pf[tree.parent[node]]
    return {
        "parent": np.where(tree.parent < 0, -1, tree.parent + np.int64(start)),
        "problem": np.full(tree.num_nodes, problem),
        "depth": tree.depth.astype(np.int64),
        "is_inner": inner,
        "num_leaves": tree.num_leaves.astype(np.float64),
        "num_correct": tree.num_correct.astype(np.float64),
        "share_correct": share,
        "log_mean_reward": tree.log_mean_reward,
        "log_sum_reward": tree.log_sum_reward,
        "path_log_pf": path_log_pf,
        "edge_parent": np.concatenate([tree.parent[child], ending]) + np.int64(start),
        "edge_child": np.concatenate([child, ending]) + np.int64(start),
        "edge_draws": np.concatenate([tree.draws[child], tree.num_ended[ending]]).astype(np.float64),
        "edge_is_leaf": np.concatenate([leaf, np.ones(len(ending), np.bool_)]),
        "edge_log_reward": np.log(np.concatenate([reward, tree.ended_reward[ending]])),
        "edge_share": np.concatenate(
            [np.where(leaf, share[child], 0.0), tree.ended_correct[ending] / tree.num_ended[ending]]
        ),
        "pairs": tree.pairs.astype(np.int64) + start,
        "pair_weight": tree.pair_weight,
    }


def batch_plan(sizes: Sequence[int], max_size: int, *, seed: int, epoch: int) -> list[list[int]]:
    """Shuffle trees and cut the order into batches of at most `max_size` nodes or tokens: lists of their numbers.

    A function of the arguments alone, so that a resumed run goes on with the batches that it would have had. A tree
    that is larger than `max_size` has a batch to itself.
    """
    order = list(range(len(sizes)))
    Random(f"batches {seed} {epoch}").shuffle(order)
    batches: list[list[int]] = []
    size = 0
    for number in order:
        if not batches or size + sizes[number] > max_size:
            batches.append([])
            size = 0
        batches[-1].append(number)
        size += sizes[number]
    return batches
