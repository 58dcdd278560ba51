"""The pool of an evaluation: independent traces of every problem, sampled once, read back as arrays."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arts_lite.experiments.folder import SETTINGS, DatasetError, read_folder
from arts_lite.tasks import Problem, make_task
from arts_lite.tree import Tree

KIND = "eval"
GROUPS = ("level", "subject", "type", "difficulty")
"""Metadata of a problem by which accuracies are told apart."""


@dataclass(frozen=True, eq=False)
class PoolProblem:
    """A problem with its traces.

    Attributes:
        tree: all of them, graded.
        classes: int[n], number of the class of equal answers; -1: no answer. Answers with different verdicts are in
            different classes.
    """

    tree: Tree
    classes: NDArray[np.int64]

    @cached_property
    def problem(self) -> Problem:
        """The problem itself."""
        told = self.tree.origin.problem
        assert told is not None  # `read_pool` sees to it
        return Problem(str(told["id"]), told["question"], told["answer"], told.get("metadata") or {})

    @property
    def id(self) -> str:
        """The problem's id."""
        return self.problem.id

    @cached_property
    def asked(self) -> str:
        """Stands for the question and its right answer."""
        return blake2b(repr((self.problem.question, self.problem.answer)).encode(), digest_size=8).hexdigest()

    @property
    def num_samples(self) -> int:
        """Traces."""
        return self.tree.num_traces

    @cached_property
    def correct(self) -> NDArray[np.float64]:
        """float[n]: 1 for traces with a right answer, else 0."""
        return np.array([end.correct is True for end in self.tree.ends], np.float64)

    @cached_property
    def paths(self) -> list[list[int]]:
        """The nodes of each trace, without the root."""
        return [self.tree.path(int(node))[1:] for node in self.tree.trace_node]

    @cached_property
    def steps(self) -> list[list[str]]:
        """The texts of each trace's steps."""
        return [[self.tree.texts[node] for node in path] for path in self.paths]

    @cached_property
    def num_tokens(self) -> NDArray[np.int64]:
        """int[n]: generated tokens of each trace."""
        return np.array([ends[-1] if len(ends) else 0 for ends in self.step_ends], np.int64)

    @cached_property
    def mean_num_tokens(self) -> float:
        """Of a trace."""
        return float(self.num_tokens.mean())

    def num_distinct_tokens(self, k: int) -> float:
        """Tokens of k traces of which equal beginnings count once, in expectation over which k."""
        if k not in self._num_distinct:
            n = self.num_samples
            chances = [1 - math.comb(n - shared, k) / math.comb(n, k) for shared in range(n + 1)]
            self._num_distinct[k] = float(self._sharers @ np.array(chances))
        return self._num_distinct[k]

    @cached_property
    def _num_distinct(self) -> dict[int, float]:
        return {}

    @cached_property
    def _sharers(self) -> NDArray[np.int64]:
        """int[n + 1]: how many tokens of the prefix tree lie on so many traces."""
        traces = sorted(
            tuple(token for node in path for token in self.tree.tokens(node).tolist()) for path in self.paths
        )
        found = np.zeros(self.num_samples + 1, np.int64)
        open_since: list[int] = []  # per position, the first of the neighbours that share the path up to there
        for number, trace in enumerate([*traces, ()]):
            before = traces[number - 1] if number else ()
            shared = next(
                (at for at, (a, b) in enumerate(zip(before, trace, strict=False)) if a != b),
                min(len(before), len(trace)),
            )
            for first in open_since[shared:]:
                found[number - first] += 1
            open_since = open_since[:shared] + [number] * (len(trace) - shared)
        return found

    @cached_property
    def step_ends(self) -> list[NDArray[np.int64]]:
        """Generated tokens of each trace up to the end of each step."""
        lengths = np.diff(self.tree.step_offsets)
        return [np.cumsum(lengths[path]) for path in self.paths]

    @cached_property
    def log_probs(self) -> list[list[float]]:
        """Mean log-prob per token under the proposer of each trace's prefixes, one value per step."""
        sums = [np.cumsum(self.tree.log_pf_model[path]) for path in self.paths]
        return [[float(one) for one in total / ends] for total, ends in zip(sums, self.step_ends, strict=True)]

    def log_prob(self, trace: int, num_steps: int) -> float:
        """Log-prob of a trace's first steps under the proposer."""
        return float(self.tree.log_pf_model[self.paths[trace][:num_steps]].sum())

    @cached_property
    def total_log_probs(self) -> NDArray[np.float64]:
        """float[n]: log-prob of each whole trace under the proposer."""
        return np.array([self.tree.log_pf_model[path].sum() for path in self.paths], np.float64)

    @property
    def groups(self) -> dict[str, str]:
        """What the problem's metadata has of `GROUPS`."""
        metadata = self.problem.metadata
        return {name: str(metadata[name]) for name in GROUPS if metadata.get(name) not in (None, "")}

    @cached_property
    def digest(self) -> str:
        """Stands for the tokens of all traces."""
        hashed = blake2b(digest_size=8)
        for path in self.paths:
            for node in path:
                hashed.update(self.tree.tokens(node).astype("<i4").tobytes() + b".")
            hashed.update(b"|")
        return hashed.hexdigest()


def pool_settings(folder: Path) -> dict[str, Any]:
    """Read the settings of a pool. Raises DatasetError: there is none."""
    path = folder / SETTINGS
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{folder} is no evaluation: {path} cannot be read; make one with `arts-lite eval`"
        ) from error
    if not isinstance(found, dict) or found.get("kind") != KIND:
        raise DatasetError(f"{folder} is no evaluation (its {SETTINGS} says otherwise); make one with `arts-lite eval`")
    return found


def read_pool(folder: Path) -> list[PoolProblem]:
    """Read a folder's pool, ordered by id.

    Raises:
        DatasetError: it is no evaluation, or holds no problem yet.
        TraceFormatError: a file is damaged.
    """
    settings = pool_settings(folder)
    same = make_task(settings["task"]).same
    found = [PoolProblem(tree, _classes(tree, same)) for tree in read_folder(folder) if tree.origin.problem]
    if not found:
        raise DatasetError(f"{folder} holds no problem yet; run `arts-lite eval` again to go on")
    return sorted(found, key=lambda one: one.id)


def extinct(pool: Iterable[PoolProblem]) -> list[str]:
    """Name the problems of which no trace is right."""
    return [one.id for one in pool if not one.correct.any()]


def _classes(tree: Tree, same: Callable[[str, str], bool]) -> NDArray[np.int64]:
    known: list[tuple[str, bool]] = []
    found = []
    for end in tree.ends:
        if end.answer is None:
            found.append(-1)
            continue
        is_right = end.correct is True
        for number, (answer, verdict) in enumerate(known):
            if verdict == is_right and (answer == end.answer or same(answer, end.answer)):
                found.append(number)
                break
        else:
            found.append(len(known))
            known.append((end.answer, is_right))
    return np.array(found, np.int64)


def aggregated(values: list[float], aggregate: Callable[[list[float]], float]) -> float:
    """Make one score of a trace's step values; -inf for a trace without a step or with a value that is none."""
    if not values or any(value != value for value in values):
        return -math.inf
    return aggregate(values)
