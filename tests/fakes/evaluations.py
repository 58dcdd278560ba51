"""Small evaluations on the fake engine, whose answers are 1, 2 and 3 at 0.4, 0.3 and 0.3."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fakes.engine import FakeEngine
from fakes.judging import FakeVerifier, Value
from fakes.models import rambling
from fakes.proposer import FakeProposer

from arts_lite.experiments.live import LiveRun, LiveSearch
from arts_lite.experiments.pool import KIND, PoolProblem, read_pool
from arts_lite.experiments.prefixes import PrefixConfig, PrefixRun
from arts_lite.experiments.readers import VerifierReader
from arts_lite.experiments.scoring import ScoreRun
from arts_lite.experiments.sdf import SdfConfig, SdfRun
from arts_lite.solver import SolverConfig
from arts_lite.tasks import Problem, Task, make_task

SETTINGS: dict[str, Any] = {"sha256": "ab", "output": "log_flow", "rewards": {"correct": 10.0, "wrong": 0.1}}


def last_line(text: str) -> str | None:
    return text.rpartition("=")[2] if "=" in text else None


def task() -> Task:
    made = make_task("jsonl", grader=lambda answer, gold: answer == gold)
    return dataclasses.replace(made, extract=last_line, same=lambda a, b: a == b)


def problems(num: int) -> list[Problem]:
    """Problems whose right answers are 1, 2, 3 and 4 in turn; the last is never given."""
    return [
        Problem(f"p{number:03}", f"question {number}?", str(number % 4 + 1), {"level": number % 2})
        for number in range(num)
    ]


def config(num_samples: int, seed: int = 0) -> SdfConfig:
    return SdfConfig(num_traces=num_samples, fork_prob=0.0, max_fork_depth=0, seed=seed, max_tokens=200)


def proposer() -> FakeProposer:
    return FakeProposer(FakeEngine(rambling()))


def sampling(folder: Path, num: int = 12, num_samples: int = 6, seed: int = 0, only: Iterable[str] = ()) -> SdfRun:
    chosen = [one for one in problems(num) if not only or one.id in only]
    return SdfRun(proposer(), task(), chosen, folder, config(num_samples, seed), kind=KIND, model_sha256="cd")


def sampled(folder: Path, num: int = 12, num_samples: int = 6, seed: int = 0) -> list[PoolProblem]:
    list(sampling(folder, num, num_samples, seed).run())
    return read_pool(folder)


def scoring(folder: Path, pool: list[PoolProblem], name: str, value: Value, **changed: Any) -> ScoreRun:
    verifier = FakeVerifier(value, **{key: changed.pop(key) for key in ("aggregation",) if key in changed})
    return ScoreRun(VerifierReader(name, verifier, {**SETTINGS, **changed}), pool, folder)


def scored(folder: Path, pool: list[PoolProblem], name: str, value: Value, **changed: Any) -> None:
    list(scoring(folder, pool, name, value, **changed).run())


def searching(
    folder: Path, pool: list[PoolProblem], strategy: str, n: int, value: Value | None = None, **options: Any
) -> LiveRun:
    name = None if value is None else "flow"
    settings = {} if value is None else {**SETTINGS, "aggregation": "last"}
    search = LiveSearch(SolverConfig(strategy=strategy, n=n, max_tokens=200, **options), False, name, settings)
    verifier = None if value is None else FakeVerifier(value)
    return LiveRun(proposer(), verifier, task(), pool, folder, search, model_sha256="cd")


def labelling(folder: Path, pool: list[PoolProblem], **options: Any) -> PrefixRun:
    return PrefixRun(proposer(), task(), pool, folder, config(6), PrefixConfig(**options), model_sha256="cd")
