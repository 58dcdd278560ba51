"""Grows the trees of a fixed set of problems on the fake engine, in a process that a test kills. Argument: folder."""

from __future__ import annotations

import sys
from pathlib import Path

from fakes.engine import FakeEngine
from fakes.models import rambling
from fakes.proposer import FakeProposer

from arts_lite.experiments import SdfConfig, SdfRun
from arts_lite.tasks import Problem, make_task

NUM_PROBLEMS = 60


def make_run(folder: Path, **options: object) -> SdfRun:
    problems = [Problem(f"p{number}", f"question {number}?", str(number % 4)) for number in range(NUM_PROBLEMS)]
    task = make_task("jsonl", grader=lambda answer, gold: answer.strip() == gold)
    return SdfRun(
        FakeProposer(FakeEngine(rambling())),
        task,
        problems,
        folder,
        SdfConfig(num_traces=4),
        **options,  # type: ignore[arg-type]
    )


if __name__ == "__main__":
    for progress in make_run(Path(sys.argv[1])).run():
        print(progress.num_done, flush=True)
