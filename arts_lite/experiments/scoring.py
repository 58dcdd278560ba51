"""The second stage of an evaluation: what a scorer says of every step of the pool's traces."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from arts_lite.errors import ContextOverflowError
from arts_lite.experiments.folder import SETTINGS, DatasetError, settle
from arts_lite.experiments.lines import LineWriter, read_lines
from arts_lite.experiments.pool import PoolProblem

SCORES = "scores"
_LINES = "scores.jsonl"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
RESERVED = ("logprob", "random", "majority", "oracle")


@dataclass(frozen=True, slots=True)
class Reading:
    """Values of one problem's traces: per trace one value per step; nan where none could be read.

    Attributes:
        num_tokens: that were read, those of the question included.
        num_question_tokens: of these.
    """

    values: Sequence[Sequence[float]]
    num_tokens: int = 0
    num_question_tokens: int = 0


class PoolScorer(Protocol):
    """Reads values of whole traces, step by step: a verifier, or a probe of the proposer's own hidden states."""

    @property
    def name(self) -> str:
        """Names it within the evaluation."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """What makes it what it is, JSON-ready; with `aggregation`, its own."""
        ...

    def read(self, problem: PoolProblem) -> Reading:
        """Read the traces of one problem."""
        ...


def check_name(name: str) -> str:
    """Return a scorer's name. Raises ValueError: it cannot name a folder, or means something else."""
    if not _NAME.fullmatch(name) or name in RESERVED:
        raise ValueError(
            f"the name {name!r} of a verifier must be letters, digits, '.', '_' and '-', and none of "
            f"{', '.join(RESERVED)}; say --verifier NAME=FILE"
        )
    return name


class ScoreRun:
    """Scores the problems that a folder still lacks, each a line of its own.

    Args:
        folder: of the evaluation.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        scorer: PoolScorer,
        pool: Sequence[PoolProblem],
        folder: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scorer = scorer
        self._pool = pool
        self._folder = folder / SCORES / scorer.name
        self._clock = clock
        self._is_cancelled = False

    def cancel(self) -> None:
        """End after the problem at hand. Callable from any thread and signal handlers."""
        self._is_cancelled = True

    def run(self) -> Iterator[StageProgress]:
        """Read and append; yields counters after every problem. One that the context does not hold is left out.

        Raises:
            DatasetError: the folder holds values of another scorer, or of other traces.
            LinesError: the file is damaged or another process writes it.
        """
        settle(self._folder, {"kind": SCORES, "name": self._scorer.name, **self._scorer.settings}, "values")
        began_s = self._clock()
        with LineWriter(self._folder / _LINES) as writer:
            done = read_scores(self._folder, self._pool)
            todo = [problem for problem in self._pool if problem.id not in done]
            num_skipped, why = 0, ""
            yield StageProgress(self._scorer.name, len(done), len(done), len(self._pool))
            for number, problem in enumerate(todo, len(done) + 1):
                if self._is_cancelled:
                    return
                try:
                    writer.write(_line(problem, self._scorer.read(problem)))
                except ContextOverflowError as error:
                    num_skipped, why = num_skipped + 1, f"{problem.id}: {error}"
                counts = (number - num_skipped, len(done), len(self._pool))
                yield StageProgress(self._scorer.name, *counts, self._clock() - began_s, why)


@dataclass(frozen=True, slots=True)
class StageProgress:
    """How far one stage of an evaluation is: problems done, of them before, in all."""

    stage: str
    num_done: int
    num_before: int
    num_problems: int
    seconds: float = 0.0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Scores:
    """What one scorer says of a pool: its settings, and readings by problem's id."""

    name: str
    settings: Mapping[str, Any]
    readings: Mapping[str, Reading]

    @property
    def aggregation(self) -> str:
        """How it is used unless told otherwise."""
        return str(self.settings.get("aggregation", "last"))

    @property
    def log_prob_weight(self) -> float:
        """What a nat of a trace's log-prob adds to its score, unless told otherwise."""
        return float(self.settings.get("log_prob_weight", 0.0))


def read_scores(folder: Path, pool: Sequence[PoolProblem]) -> dict[str, Reading]:
    """Read one scorer's values. Raises DatasetError: they are of other traces; LinesError: damaged."""
    by_id = {problem.id: problem for problem in pool}
    found: dict[str, Reading] = {}
    for line in read_lines(folder / _LINES):
        problem = by_id.get(str(line.get("problem")))
        if problem is None:
            continue
        values: Any = line.get("values")
        if line.get("traces") != problem.digest or not _fits(values, problem):
            raise DatasetError(
                f"{folder / _LINES} holds values of other traces than the pool's (problem {problem.id}); delete "
                f"{folder}, and the pool is scored again"
            )
        try:
            read = [[math.nan if one is None else float(one) for one in own] for own in values]
            found[problem.id] = Reading(read, int(line["num_tokens"]), int(line["num_question_tokens"]))
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(
                f"{folder / _LINES}: the line of problem {problem.id} is damaged ({error!r}); delete it, and the "
                "problem is read again"
            ) from error
    return found


def all_scores(folder: Path, pool: Sequence[PoolProblem], order: Sequence[str] = ()) -> list[Scores]:
    """Read what all scorers of an evaluation say, those of `order` first, the others by name."""

    names = sorted(path.name for path in (folder / SCORES).glob("*") if (path / SETTINGS).exists())
    ranked = [name for name in order if name in names] + [name for name in names if name not in order]
    found = []
    for name in ranked:
        settings = json.loads((folder / SCORES / name / SETTINGS).read_text(encoding="utf-8"))
        found.append(Scores(name, settings, read_scores(folder / SCORES / name, pool)))
    return found


def _fits(values: object, problem: PoolProblem) -> bool:
    if not isinstance(values, list) or not all(isinstance(own, list) for own in values):
        return False
    return [len(own) for own in values] == [len(own) for own in problem.steps]


def _line(problem: PoolProblem, reading: Reading) -> dict[str, Any]:
    values = [[float(one) if math.isfinite(one) else None for one in own] for own in reading.values]
    return {
        "problem": problem.id,
        "values": values,
        "num_tokens": reading.num_tokens,
        "num_question_tokens": reading.num_question_tokens,
        "traces": problem.digest,
    }
