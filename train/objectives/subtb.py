"""Sub-trajectory balance on a tree (Madan et al. 2023, arXiv 2209.12782)."""

from __future__ import annotations

import torch
from torch import Tensor

from arts_lite.train.batches import TreeBatch
from arts_lite.train.objectives.detailed_balance import leaf_loss, with_rewards
from arts_lite.train.objectives.nodes import checked, target_source
from arts_lite.train.objectives.options import SubTBOptions
from arts_lite.train.objectives.segments import problem_mean, segment_sum


def subtb_loss(
    values: Tensor, batch: TreeBatch, options: SubTBOptions, target_values: Tensor | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Balance every stretch of every trace s_0, ..., s_T (Madan et al. 2023, SubTB(lambda)).

        L(trace) = sum over i < j of decay^(j - i) (l(s_i) + log_pf(s_j | s_i) - l(s_j))^2 / sum of decay^(j - i)
        L = mean over problems of [ mean over traces of L(trace) + alpha x mean over leaves of (l(x) - log R(x))^2 ]

    with l(s_T) = log R. Estimators as in `detailed_balance_loss`. A trace that ends in a node which others pass is
    left out.

    Args:
        values: float[num_nodes], l.
        target_values: float[num_nodes], with target "ema".

    Returns:
        The loss and its parts: "stretch" and "leaf" (alpha included).
    """
    values = checked(values, batch)
    source = target_source(values, options.target, batch, target_values)
    above, below, weights = _stretches(batch, options)
    residual = values[above] - with_rewards(source, batch)[below]
    if options.estimator == "sum":
        residual = residual + batch.path_log_pf[below] - batch.path_log_pf[above]
    stretch = problem_mean(
        residual**2, weights, batch.problem[above], batch.num_problems, per_problem=options.per_problem
    )
    leaf = leaf_loss(values, batch, options)
    return stretch + leaf, {"stretch": stretch.detach(), "leaf": leaf.detach()}


def _stretches(batch: TreeBatch, options: SubTBOptions) -> tuple[Tensor, Tensor, Tensor]:
    """Ancestor, descendant and weight of all stretches; each trace's weights sum to 1."""
    above, below, lengths = _ancestors(batch, root=options.root)
    decays = torch.as_tensor(options.decay, dtype=batch.num_leaves.dtype, device=above.device) ** lengths
    depth = batch.depth if options.root else batch.depth - 1
    steps = torch.arange(1, int(depth.max()) + 1, dtype=decays.dtype, device=above.device)
    totals = decays.new_zeros(len(steps) + 1)  # by number of steps: sum of decay^k over its stretches
    for num_steps in range(1, len(totals)):
        totals[num_steps] = ((num_steps + 1 - steps) * options.decay**steps)[:num_steps].sum()
    per_trace = 1 / torch.where(totals > 0, totals, 1.0)[depth.clamp_min(0)]
    mass = torch.where(batch.is_inner, 0.0, batch.num_leaves * per_trace)
    mass = mass + segment_sum(mass[below], above, batch.num_nodes)
    return above, below, decays * mass[below]


def _ancestors(batch: TreeBatch, *, root: bool) -> tuple[Tensor, Tensor, Tensor]:
    """All pairs of a node and one above it, with the number of steps between them."""
    below = torch.arange(batch.num_nodes, device=batch.parent.device)
    above, length = batch.parent, 1
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    while True:
        is_there = above >= 0
        above, below = above[is_there], below[is_there]
        if not len(above):
            break
        kept = slice(None) if root else ~batch.is_root[above]
        found.append((above[kept], below[kept], torch.full_like(above[kept], length)))
        above, length = batch.parent[above], length + 1
    if not found:
        empty = batch.parent[:0]
        return empty, empty, empty
    joined = [torch.cat(parts) for parts in zip(*found, strict=True)]
    return joined[0], joined[1], joined[2]
