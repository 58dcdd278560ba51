"""A solver that lives long: ten thousand questions leave nothing behind."""

from __future__ import annotations

import gc
from pathlib import Path

from resident import resident_bytes

from arts_lite.solver import Solver, SolverConfig

NUM_SOLVES = 10_000


def test_memory_is_flat_over_ten_thousand_solves(tiny_model_path: Path) -> None:
    config = SolverConfig(n=2, max_tokens=2, system="")
    with Solver.from_gguf(tiny_model_path, config=config, threads=1, ctx_size=128, num_cells=512) as solver:
        for i in range(500):  # caches and arenas reach their size
            solver.solve(f"{i}?")
        gc.collect()
        before = resident_bytes()
        for i in range(NUM_SOLVES):
            solver.solve(f"{i % 977}?")
        gc.collect()
        grown = resident_bytes() - before
        stats = solver.proposer.engine.stats()
    assert (stats.num_branches, stats.num_cells_used, stats.num_sequences_used) == (0, 0, 0)
    assert grown < 4 * 2**20, f"{grown} bytes grown over {NUM_SOLVES} solves"
