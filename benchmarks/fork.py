"""What a fork costs, against decoding its prefix again; and what a tree's KV cache holds, against its paths.

A fork is timed from `Engine.fork` to its first own token in the batch, less the time inside llama_decode: the draw, the
sequence copy and all bookkeeping are in it. Re-prefilling is the time to decode the same prefix anew.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from harness import PROMPT, median, parser, report, settings, whole_numbers

from arts_lite.engine import Engine, EngineConfig
from arts_lite.types import BranchId, SamplingParams, StepRules

SAMPLING = SamplingParams()
RULES = StepRules()


def fork_row(engine: Engine, num_cells: int, repeats: int) -> dict[str, Any]:
    """Fork a branch of num_cells tokens at its end and in its middle."""
    prompt = np.random.default_rng(num_cells).integers(40, min(20000, engine.model.vocab.num_tokens), num_cells)
    start = time.perf_counter()
    parent = engine.open(prompt.astype(np.int32), sampling=SAMPLING, rules=RULES, seed=0, stream=0, max_tokens=3)
    engine.run(parent)
    engine.advance()
    prefill_s = time.perf_counter() - start
    at_end = [_time_fork(engine, parent, num_cells) for _ in range(repeats)]
    in_middle = [_time_fork(engine, parent, num_cells // 2) for _ in range(repeats)]
    engine.close(parent)
    return {
        "cells": num_cells,
        "fork_ms": 1e3 * median(at_end),
        "fork_in_middle_ms": 1e3 * median(in_middle),
        "prefill_ms": 1e3 * prefill_s,
        "times_cheaper": prefill_s / median(at_end),
    }


def _time_fork(engine: Engine, parent: BranchId, position: int) -> float:
    before, start = engine.stats(), time.perf_counter()
    child = engine.fork(parent, position)
    engine.run(child)
    engine.advance(1e-9)  # one decode, then out
    while engine.num_tokens(child) <= position + 1 and engine.advance(1e-9):
        pass
    seconds = time.perf_counter() - start
    decode_s = engine.stats().decode_s - before.decode_s
    engine.close(child)
    return seconds - decode_s


def tree_row(engine: Engine, num_traces: int, max_tokens: int, seed: int) -> dict[str, Any]:
    """Grow a Sparse Deep Fork tree: fork each main trace at each intermediate boundary with probability 0.5."""
    prompt = engine.model.vocab.tokenise(PROMPT + " Think step by step.\n\n")
    coin = np.random.default_rng(seed)
    mains = [
        engine.open(prompt, sampling=SAMPLING, rules=RULES, seed=seed, stream=i, max_tokens=max_tokens)
        for i in range(num_traces)
    ]
    _finish(engine, mains)
    forks = [
        engine.fork(main, position) for main in mains for position in engine.boundaries(main) if coin.random() < 0.5
    ]
    _finish(engine, forks)
    branches = [*mains, *forks]
    stats = engine.stats()
    path_tokens = sum(engine.num_tokens(branch) for branch in branches)
    for branch in branches:
        engine.close(branch)
    return {
        "traces": num_traces,
        "forks": len(forks),
        "path_tokens": path_tokens,
        "cells": stats.num_cells_used,
        "times_smaller": path_tokens / stats.num_cells_used,
        "redecoded": stats.num_tokens_redecoded,
    }


def _finish(engine: Engine, branches: list[BranchId]) -> None:
    for branch in branches:
        engine.run(branch)
    while engine.advance():
        pass


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--cells", type=whole_numbers, default=[1024, 8192, 32768])
    options.add_argument("--tree-tokens", type=int, default=200, help="longest trace of the SDF tree")
    chosen = options.parse_args()
    if chosen.quick:
        chosen.cells, chosen.tree_tokens = [1024], 60
    repeats = max(chosen.repeats, 5)
    largest = max(chosen.cells)
    config = EngineConfig(
        threads=chosen.threads,
        gpu_layers=chosen.gpu_layers,
        ctx_size=largest + 256,
        num_cells=max(largest + 2048, 16384),
    )
    rows: list[dict[str, Any]] = []
    with Engine.from_gguf(chosen.model, config) as engine:
        used = settings(
            chosen.model,
            threads=engine.plan.threads,
            gpu_layers=chosen.gpu_layers,
            cache_cells=engine.plan.num_cells,
            repeats=repeats,
        )
        for num_cells in chosen.cells:
            rows.append(fork_row(engine, num_cells, repeats))
    with Engine.from_gguf(chosen.model, EngineConfig(threads=chosen.threads, gpu_layers=chosen.gpu_layers)) as engine:
        rows.append(tree_row(engine, 4 if chosen.quick else 8, chosen.tree_tokens, seed=1))
    report("fork", used, rows, chosen.json)


if __name__ == "__main__":
    main()
