"""Flow matching on a tree (Bengio et al. 2021, arXiv 2106.04399; ARTS, arXiv 2602.12846)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from arts_lite.train.batches import TreeBatch
from arts_lite.train.objectives.deviance import DEVIANCES, held
from arts_lite.train.objectives.nodes import (
    checked,
    leaf_ranking,
    mean_over_nodes,
    sibling_loss,
    target_source,
    valued_nodes,
)
from arts_lite.train.objectives.options import FlowOptions
from arts_lite.train.objectives.segments import segment_logsumexp, segment_mean, segment_sum

_SLACK = 2.0  # nats that a log-flow may lie beyond what rewards allow


def flow_loss(
    values: Tensor, batch: TreeBatch, options: FlowOptions, target_values: Tensor | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Conserve flow: what enters a prefix leaves it.

    With l = log F and children c of a node s, drawn w_c times,

        B(s) = sum_c F(c)                      (estimator "sum": Bengio et al. 2021; distinct children)
        B(s) = sum_c w_c F(c) / sum_c w_c      (estimator "expected": the target pi(x) R(x), F divided by pi)
        Y(s) = (1 - lambda) B(s) + lambda M(s)
        L = mean over problems of [ mean over inner nodes of dev(Y(s), F(s)) + alpha x mean over leaves of dev(R, F(x))
            + beta x mean over sibling pairs of -log sigmoid(v_a - v_b)
            + gamma x mean over pairs of a correct and a wrong leaf of -log sigmoid(v_a - v_b) ]

    where F(c) = R(c) at leaves, M(s) is what the recursion makes of the rewards below on their own ("sum": their sum
    over distinct leaves; "expected": their mean over draws) and v are the values as the model gives them.

    A value is l itself. With deviance "bce" it is the logit of p = (F - R_wrong) / (R_correct - R_wrong) = P(correct),
    Y is mixed on that scale, and dev = -Y log p - (1 - Y) log(1 - p).

    With "sum", F(s) grows with the number of leaves that were drawn below s; draws that coincide count once there
    (weights w_c would make it the number of draws). With lambda = 1, beta = gamma = 0 and "bce" this is the soft PRM.
    The pairs of leaves say nothing that the flows at them do not: sigmoid(v_a - v_b) is F(a) / (F(a) + F(b)), or with
    "bce" P(a is the correct one of both). They only leave out what all leaves of a problem share.

    Args:
        values: float[num_nodes].
        target_values: float[num_nodes], with target "ema".

    Returns:
        The loss and its parts: "inner", "leaf" (alpha included), "sibling" (beta included) and "pair" (gamma included).
    """
    values = checked(values, batch)
    source = target_source(values, options.target, batch, target_values)
    nodes = valued_nodes(batch, root=options.root)
    is_leaf = ~batch.is_inner
    if options.deviance == "bce":
        targets = torch.where(is_leaf, batch.share_correct, _share_targets(source, batch, options))
        terms = F.binary_cross_entropy_with_logits(values, targets, reduction="none")
    else:
        low, high = log_flow_range(batch, options)
        log_targets = torch.where(is_leaf, batch.log_mean_reward, _log_targets(held(source, low, high), batch, options))
        terms = DEVIANCES[options.deviance](log_targets, held(values, low, high))
    inner, leaf = mean_over_nodes(
        terms[nodes],
        is_leaf[nodes],
        nodes,
        batch,
        leaf_weight=options.leaf_weight,
        leaf_power=options.leaf_power,
        per_problem=options.per_problem,
    )
    sibling = options.sibling_weight * sibling_loss(values, batch, per_problem=options.per_problem)
    pair = values.new_zeros(())
    if options.ranking_weight > 0:
        ranking = leaf_ranking(values, batch, leaf_power=options.leaf_power, per_problem=options.per_problem)
        pair = options.ranking_weight * ranking
    parts = {"inner": inner.detach(), "leaf": leaf.detach(), "sibling": sibling.detach(), "pair": pair.detach()}
    return inner + leaf + sibling + pair, parts


def log_flow_range(batch: TreeBatch, options: FlowOptions) -> tuple[float, Tensor]:
    """Bounds on log-flows: a little beyond those of the rewards (times the number of leaves below, with "sum")."""
    high = torch.full_like(batch.num_leaves, math.log(batch.rewards.correct) + _SLACK)
    if options.estimator == "sum":
        high = high + torch.log(batch.num_leaves)
    return math.log(batch.rewards.wrong) - _SLACK, high


def _log_targets(source: Tensor, batch: TreeBatch, options: FlowOptions) -> Tensor:
    """Log Y of every node; leaves' are not used."""
    log_sum = options.estimator == "sum"
    monte_carlo = batch.log_sum_reward if log_sum else batch.log_mean_reward
    if options.mc_share == 1:
        return monte_carlo
    children = torch.where(batch.edge_is_leaf, batch.edge_log_reward, source[batch.edge_child])
    if not log_sum:
        draws = segment_sum(batch.edge_draws, batch.edge_parent, batch.num_nodes)
        children = children + torch.log(batch.edge_draws / draws[batch.edge_parent])
    bootstrapped = segment_logsumexp(children, batch.edge_parent, batch.num_nodes)
    if options.mc_share == 0:
        return bootstrapped
    return torch.logaddexp(bootstrapped + math.log(1 - options.mc_share), monte_carlo + math.log(options.mc_share))


def _share_targets(source: Tensor, batch: TreeBatch, options: FlowOptions) -> Tensor:
    """Y of every node on the scale of P(correct); leaves' are not used."""
    if options.mc_share == 1:
        return batch.share_correct
    children = torch.where(batch.edge_is_leaf, batch.edge_share, torch.sigmoid(source[batch.edge_child]))
    bootstrapped = segment_mean(children, batch.edge_draws, batch.edge_parent, batch.num_nodes)
    return (1 - options.mc_share) * bootstrapped + options.mc_share * batch.share_correct
