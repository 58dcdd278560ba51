"""What several objectives share: checks, where targets come from, and means over nodes and leaves."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from arts_lite.errors import TrainingError
from arts_lite.train.batches import TreeBatch
from arts_lite.train.objectives.segments import problem_mean


def checked(values: Tensor, batch: TreeBatch) -> Tensor:
    """Return one value per node, float32 at least.

    Raises:
        ValueError: another number of values, or of another kind.
        TrainingError: a value is not finite.
    """
    if values.shape != (batch.num_nodes,) or not values.is_floating_point():
        raise ValueError(
            f"values are {values.dtype}{list(values.shape)}, but must be one float per node, [{batch.num_nodes}]"
        )
    if not torch.isfinite(values).all():
        node = int((~torch.isfinite(values)).nonzero()[0])
        value = float(values.detach()[node])
        raise TrainingError(f"the value of node {node} is {value}: the model has diverged; lower the learning rate")
    return values if values.dtype == torch.float64 else values.float()


def target_source(values: Tensor, target: str, batch: TreeBatch, target_values: Tensor | None) -> Tensor:
    """Choose the values that targets are made of. Raises ValueError: `target_values` is missing or not asked for."""
    if (target == "ema") != (target_values is not None):
        raise ValueError(
            f"target is {target!r} and target_values are {'missing' if target_values is None else 'given'}; give the "
            "averaged model's values with target 'ema', and only then"
        )
    if target_values is not None:
        return checked(target_values, batch).detach().to(values.dtype)
    return values if target == "both" else values.detach()


def mean_over_nodes(
    terms: Tensor,
    is_leaf: Tensor,
    nodes: Tensor,
    batch: TreeBatch,
    *,
    leaf_weight: float | None,
    leaf_power: float,
    per_problem: bool,
) -> tuple[Tensor, Tensor]:
    """Average terms of inner nodes and of leaves; the loss is the sum of both.

    Args:
        terms, is_leaf: one per entry of `nodes`.
        nodes: numbers of the nodes that take part.
        leaf_weight: of the mean over leaves; None: both are parts of one mean over all entries.
    """
    weights = batch.num_leaves[nodes] ** leaf_power
    problem, num_problems = batch.problem[nodes], batch.num_problems
    if leaf_weight is None:
        inner, leaf = (
            problem_mean(torch.where(part, terms, 0.0), weights, problem, num_problems, per_problem=per_problem)
            for part in (~is_leaf, is_leaf)
        )
        return inner, leaf
    inner, leaf = (
        problem_mean(terms[part], weights[part], problem[part], num_problems, per_problem=per_problem)
        for part in (~is_leaf, is_leaf)
    )
    return inner, leaf_weight * leaf


def valued_nodes(batch: TreeBatch, *, root: bool) -> Tensor:
    """Numbers of the nodes that have a value: all, or all but the roots."""
    return torch.arange(batch.num_nodes, device=batch.parent.device) if root else (~batch.is_root).nonzero()[:, 0]


def sibling_loss(values: Tensor, batch: TreeBatch, *, per_problem: bool) -> Tensor:
    """Rank siblings: mean of -log sigmoid(v_a - v_b) over pairs whose leaves below say that a is better.

    Siblings share their prefix and so the problem's difficulty (Bradley and Terry 1952, on SDF's main step and fork).
    """
    better, worse = batch.pairs[:, 0], batch.pairs[:, 1]
    terms = F.softplus(values[worse] - values[better])
    return problem_mean(terms, batch.pair_weight, batch.problem[better], batch.num_problems, per_problem=per_problem)


def leaf_ranking(values: Tensor, batch: TreeBatch, *, leaf_power: float, per_problem: bool) -> Tensor:
    """Rank each problem's leaves: mean of -log sigmoid(v_a - v_b) over pairs of which a is right more often than b.

    Whatever all leaves of a problem share, its difficulty above all, cancels: this is the likelihood of a conditional
    logistic regression with the problem as stratum (Bradley and Terry 1952; Breslow and Day 1980, section 7.2).
    """
    leaves = (~batch.is_inner).nonzero()[:, 0]
    problem, share = batch.problem[leaves], batch.share_correct[leaves]
    is_pair = (problem[:, None] == problem[None, :]) & (share[:, None] > share[None, :])
    first, second = is_pair.nonzero(as_tuple=True)
    weights = (batch.num_leaves[leaves[first]] * batch.num_leaves[leaves[second]]) ** leaf_power
    terms = F.softplus(values[leaves[second]] - values[leaves[first]])
    return problem_mean(terms, weights, problem[first], batch.num_problems, per_problem=per_problem)
