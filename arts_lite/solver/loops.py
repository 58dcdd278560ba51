"""The search loop that suits an engine."""

from __future__ import annotations

import time
from collections.abc import Callable

from arts_lite.search import SearchLoop
from arts_lite.solver.protocols import CountingEngine


def make_loop(
    engine: CountingEngine,
    *,
    max_open: int,
    follow_steps: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> SearchLoop:
    """Make a loop that opens as many questions as fill the engine's batch and fit into its KV cells.

    A reproducible engine searches one question at a time: what is open beside it changes its bits.
    """
    stats = engine.stats()
    return SearchLoop(
        engine,
        num_rows=max(stats.num_rows_max, 1),
        num_cells=stats.num_cells_capacity,
        max_open=1 if engine.is_reproducible else max_open,
        follow_steps=follow_steps,
        clock=clock,
    )
