"""What a verifier can learn: one objective per name, all on the same batches of trees."""

from __future__ import annotations

from arts_lite.train.objectives.objective import OBJECTIVES, Link, Objective, make_objective
from arts_lite.train.objectives.options import (
    DetailedBalanceOptions,
    FlowOptions,
    LeafOptions,
    PRMOptions,
    SubTBOptions,
)

__all__ = [
    "OBJECTIVES",
    "DetailedBalanceOptions",
    "FlowOptions",
    "LeafOptions",
    "Link",
    "Objective",
    "PRMOptions",
    "SubTBOptions",
    "make_objective",
]
