"""Runs all stages of an evaluation in a process that a test kills. Argument: the folder."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from fakes.evaluations import labelling, sampling, scoring, searching
from fakes.judging import by_answer

from arts_lite.experiments.pool import read_pool

NUM_PROBLEMS = 24


def stages(folder: Path) -> Iterator[object]:
    yield from sampling(folder, NUM_PROBLEMS).run()
    pool = read_pool(folder)
    yield from scoring(folder, pool, "flow", by_answer("1")).run()
    yield from searching(folder, pool, "best-of-n", 3, by_answer("1")).run()
    yield from labelling(folder, pool, num_prefixes=2, num_rollouts=4).run()


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # a torn last line is told
    for _ in stages(Path(sys.argv[1])):
        print("at work", flush=True)
