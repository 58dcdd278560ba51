"""Process reward models: Monte-Carlo labels of steps (Math-Shepherd, Wang et al. 2024, arXiv 2312.08935)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from arts_lite.train.batches import TreeBatch
from arts_lite.train.objectives.nodes import checked, mean_over_nodes, valued_nodes
from arts_lite.train.objectives.options import PRMOptions


def prm_loss(values: Tensor, batch: TreeBatch, options: PRMOptions) -> tuple[Tensor, dict[str, Tensor]]:
    """Learn each prefix's label y from the leaves at or below it.

        y = share of correct ones ("soft"), or 1 if any is correct ("hard")
        L = mean over problems of the mean over nodes of -y log sigmoid(v) - (1 - y) log(1 - sigmoid(v))

    Args:
        values: float[num_nodes], logits of P(correct).

    Returns:
        The loss and its parts: "inner" and "leaf" (leaf_weight included).
    """
    values = checked(values, batch)
    labels = batch.share_correct if options.labels == "soft" else (batch.num_correct > 0).to(values.dtype)
    nodes = valued_nodes(batch, root=options.root)
    inner, leaf = mean_over_nodes(
        F.binary_cross_entropy_with_logits(values[nodes], labels[nodes], reduction="none"),
        ~batch.is_inner[nodes],
        nodes,
        batch,
        leaf_weight=options.leaf_weight,
        leaf_power=options.leaf_power,
        per_problem=options.per_problem,
    )
    return inner + leaf, {"inner": inner.detach(), "leaf": leaf.detach()}
