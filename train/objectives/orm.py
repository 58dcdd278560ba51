"""Outcome models: a verdict on complete traces, pointwise or between pairs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from arts_lite.train.batches import TreeBatch
from arts_lite.train.objectives.nodes import checked, leaf_ranking, mean_over_nodes
from arts_lite.train.objectives.options import LeafOptions


def orm_loss(values: Tensor, batch: TreeBatch, options: LeafOptions) -> tuple[Tensor, dict[str, Tensor]]:
    """Learn whether a complete trace is correct (Cobbe et al. 2021, arXiv 2110.14168).

        L = mean over problems of the mean over leaves of -y log sigmoid(v) - (1 - y) log(1 - sigmoid(v))

    Args:
        values: float[num_nodes], logits of P(correct); inner nodes' are not used.

    Returns:
        The loss and its one part, "leaf".
    """
    values = checked(values, batch)
    leaves = (~batch.is_inner).nonzero()[:, 0]
    _, leaf = mean_over_nodes(
        F.binary_cross_entropy_with_logits(values[leaves], batch.share_correct[leaves], reduction="none"),
        torch.ones_like(leaves, dtype=torch.bool),
        leaves,
        batch,
        leaf_weight=1.0,
        leaf_power=options.leaf_power,
        per_problem=options.per_problem,
    )
    return leaf, {"leaf": leaf.detach()}


def rm_loss(values: Tensor, batch: TreeBatch, options: LeafOptions) -> tuple[Tensor, dict[str, Tensor]]:
    """Rank the leaves of each problem (Bradley and Terry 1952; Ouyang et al. 2022, arXiv 2203.02155).

        L = mean over problems of the mean over pairs (a, b), a correct and b wrong, of -log sigmoid(v_a - v_b)

    A problem without such a pair gives 0.

    Args:
        values: float[num_nodes], scores without a scale; inner nodes' are not used.

    Returns:
        The loss and its one part, "pair".
    """
    pair = leaf_ranking(checked(values, batch), batch, leaf_power=options.leaf_power, per_problem=options.per_problem)
    return pair, {"pair": pair.detach()}
