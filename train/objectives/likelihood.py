"""A task beside the objective: to foresee how likely the proposer found each step."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from arts_lite.train.batches import TreeBatch

_LOWEST = -10.0  # nats; a step less likely than that is a slip, and how rare a one does not matter


def likelihood_loss(predicted: Tensor, batch: TreeBatch) -> Tensor:
    """Mean over nodes below the roots of huber(predicted - max(log_pf, -10)), log_pf the step's own under the model.

    A verdict is one bit at a trace's end, but a step that the proposer itself found unlikely is where it slipped: this
    target is there at every step, and asks the body to compare what is written with what was to be expected. The
    output is dropped when training ends.

    Args:
        predicted: float[num_nodes], log-probs in nats.
    """
    below = ~batch.is_root
    return F.huber_loss(predicted[below], batch.step_log_pf[below].clamp_min(_LOWEST))
