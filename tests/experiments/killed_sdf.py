"""Grows the trees of a fixed set of problems in a process that a test kills. Arguments: folder, and a model or none.

Without a model on the fake engine; with a GGUF on that one, reproducibly.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fakes.engine import FakeEngine
from fakes.models import rambling
from fakes.proposer import FakeProposer

from arts_lite.experiments import SdfConfig, SdfRun
from arts_lite.tasks import Problem, make_task
from arts_lite.types import SamplingParams, StepRules

NUM_PROBLEMS = 60


def problems_of(numbers: Iterable[int]) -> list[Problem]:
    return [Problem(f"p{number}", f"question {number}?", str(number % 4)) for number in numbers]


def make_run(folder: Path, **options: object) -> SdfRun:
    task = make_task("jsonl", grader=lambda answer, gold: answer.strip() == gold)
    return SdfRun(
        FakeProposer(FakeEngine(rambling())),
        task,
        problems_of(range(NUM_PROBLEMS)),
        folder,
        SdfConfig(num_traces=4),
        **options,  # type: ignore[arg-type]
    )


@contextmanager
def model_run(
    folder: Path, model: Path, numbers: Iterable[int] = range(NUM_PROBLEMS), **options: object
) -> Iterator[SdfRun]:
    """Make a reproducible run on a real engine; `numbers` are the problems, in their order."""
    from arts_lite.engine import EngineConfig  # not above: the fake engine's process begins faster without llama.cpp
    from arts_lite.proposer import Proposer

    config = SdfConfig(
        num_traces=4,
        max_tokens=40,
        sampling=SamplingParams(temperature=1.0, top_p=1.0),
        rules=StepRules(delimiters=("e", "\n")),
    )
    task = make_task("jsonl", grader=lambda answer, gold: answer.strip() == gold)
    engine = EngineConfig(threads=1, ctx_size=512, num_traces=4, reproducible=True)
    with Proposer.from_gguf(model, config=engine) as proposer:
        yield SdfRun(proposer, task, problems_of(numbers), folder, config, **options)  # type: ignore[arg-type]


def _tell(run: SdfRun) -> None:
    for progress in run.run():
        print(progress.num_done, flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        _tell(make_run(Path(sys.argv[1])))
    else:
        with model_run(Path(sys.argv[1]), Path(sys.argv[2])) as run_:
            _tell(run_)
