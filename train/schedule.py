"""Learning rates over a run."""

from __future__ import annotations


def warmup_then_linear(done: float, *, warmup: float) -> float:
    """Factor on the peak learning rate after a share of the run: up to 1 in the first `warmup`, then down to 0.

    Args:
        done: share of the run that is behind, in [0, 1].
        warmup: share of the run, in [0, 1).
    """
    if done < warmup:
        return done / warmup
    return max(0.0, (1.0 - done) / (1.0 - warmup))
