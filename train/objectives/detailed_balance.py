"""Detailed balance on a tree (Bengio et al. 2023, GFlowNet Foundations, arXiv 2111.09266)."""

from __future__ import annotations

import torch
from torch import Tensor

from arts_lite.train.batches import TreeBatch
from arts_lite.train.objectives.nodes import checked, mean_over_nodes, target_source
from arts_lite.train.objectives.options import DetailedBalanceOptions, SubTBOptions
from arts_lite.train.objectives.segments import problem_mean


def detailed_balance_loss(
    values: Tensor, batch: TreeBatch, options: DetailedBalanceOptions, target_values: Tensor | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Balance each edge from s to its child c, with l = log F and log_pb = 0 on a tree.

        L = mean over problems of [ mean over draws of edges of (l(s) + log_pf(c | s) - l(c))^2
            + alpha x mean over leaves of (l(x) - log R(x))^2 ]

    with l(c) = log R at leaves and log_pf under the distribution that was sampled from. That is estimator "sum", whose
    F(root) is the sum of R over all texts. With "expected" the target is pi(x) R(x) and values are l - log pi, so that
    log_pf cancels: (l(s) - l(c))^2. The forward policy is the proposer's and cannot learn, so that no F balances all
    edges; what is learnt is the mean of the right side over draws, in log space.

    Args:
        values: float[num_nodes], l.
        target_values: float[num_nodes], with target "ema".

    Returns:
        The loss and its parts: "edge" and "leaf" (alpha included).
    """
    values = checked(values, batch)
    source = target_source(values, options.target, batch, target_values)
    is_step = batch.edge_parent != batch.edge_child
    if not options.root:
        is_step &= ~batch.is_root[batch.edge_parent]
    parent, child = batch.edge_parent[is_step], batch.edge_child[is_step]
    residual = values[parent] - with_rewards(source, batch)[child]
    if options.estimator == "sum":
        residual = residual + batch.path_log_pf[child] - batch.path_log_pf[parent]
    edge = problem_mean(
        residual**2,
        batch.edge_draws[is_step],
        batch.problem[parent],
        batch.num_problems,
        per_problem=options.per_problem,
    )
    leaf = leaf_loss(values, batch, options)
    return edge + leaf, {"edge": edge.detach(), "leaf": leaf.detach()}


def with_rewards(values: Tensor, batch: TreeBatch) -> Tensor:
    """Put log R in the place of leaves' values."""
    return torch.where(batch.is_inner, values, batch.log_mean_reward)


def leaf_loss(values: Tensor, batch: TreeBatch, options: DetailedBalanceOptions | SubTBOptions) -> Tensor:
    """Alpha x mean over leaves of (l(x) - log R(x))^2."""
    leaves = (~batch.is_inner).nonzero()[:, 0]
    _, leaf = mean_over_nodes(
        (values[leaves] - batch.log_mean_reward[leaves]) ** 2,
        torch.ones_like(leaves, dtype=torch.bool),
        leaves,
        batch,
        leaf_weight=options.leaf_weight,
        leaf_power=0.0,
        per_problem=options.per_problem,
    )
    return leaf
