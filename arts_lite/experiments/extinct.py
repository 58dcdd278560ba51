"""The extinction set: problems that a tuned policy does not solve any more, chosen on one batch of its samples.

Every method is then to be evaluated on fresh samples: by those that chose the set, all would look worse than they
are. 0 of n right only says p < 3/n (95 %).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from threading import Event
from typing import Any

from arts_lite.experiments.folder import read_folder
from arts_lite.experiments.lines import write_whole
from arts_lite.experiments.progress import SdfProgress
from arts_lite.experiments.sdf import SdfConfig, SdfRun
from arts_lite.solver.protocols import Proposer
from arts_lite.tasks import Problem, Task
from arts_lite.tree import Tree

IDS = "extinct.txt"


@dataclass(frozen=True, slots=True)
class ExtinctProgress:
    """How far a search for extinct problems is.

    Attributes:
        num_found: problems without a right trace so far.
        num_asked: problems of which all traces were drawn, or one was right.
        current: of the batch at work.
    """

    num_found: int
    num_asked: int
    current: SdfProgress | None = None


class ExtinctRun:
    """Draws traces of problems, batch after batch, until enough problems are found that none of them solves.

    Of a problem that one solves no further ones are drawn.

    Args:
        problems: different ones, in a fixed order; read only as far as they are needed.
        folder: gets one folder of trees per batch and, at the end, `extinct.txt`: an id per line, for `eval --only`.
        num_wanted: extinct problems, >= 1.
        max_problems: asked at most; then what was found is all.
        batch: problems of one batch, >= 1.
        model_sha256: of the policy.

    Raises:
        ValueError: a number is out of range, or the policy was made for other tasks.
    """

    def __init__(
        self,
        policy: Proposer,
        task: Task,
        problems: Iterator[Problem],
        folder: Path,
        config: SdfConfig,
        *,
        num_wanted: int = 300,
        max_problems: int = 20_000,
        batch: int = 250,
        model_sha256: str | None = None,
    ) -> None:
        for name, value in (("num_wanted", num_wanted), ("max_problems", max_problems), ("batch", batch)):
            if value < 1:
                raise ValueError(f"{name} is {value}, but must be >= 1")
        if policy.tasks and task.name not in policy.tasks:
            raise ValueError(f"this policy was made for {' and '.join(policy.tasks)} only, not for {task.name}")
        self._policy = policy
        self._task = task
        self._problems = islice(problems, max_problems)
        self._folder = folder
        self._config = dataclasses.replace(config, fork_prob=0.0, stop_when_right=True)  # independent traces
        self._num_wanted = num_wanted
        self._batch = batch
        self._sha256 = model_sha256
        self._run: SdfRun | None = None
        self._stop = Event()
        self.path = folder / IDS

    def cancel(self) -> None:
        """End soon; whole trees are kept. Callable from any thread and signal handlers."""
        self._stop.set()
        if self._run is not None:
            self._run.cancel()

    def run(self) -> Iterator[ExtinctProgress]:
        """Draw and count; yields counters now and then, and once at the end.

        Raises:
            DatasetError: the folder holds traces of other settings.
            TraceFormatError: a tree file is damaged.
        """
        found: list[str] = []
        num_asked = number = 0
        while len(found) < self._num_wanted and (batch := list(islice(self._problems, self._batch))):
            folder = self._folder / f"batch-{number:04d}"
            self._run = SdfRun(
                *(self._policy, self._task, batch, folder, self._config), model_sha256=self._sha256, kind="extinct"
            )
            if self._stop.is_set():
                return
            for progress in self._run.run():
                yield ExtinctProgress(len(found), num_asked, progress)
            if self._stop.is_set():
                return
            trees = list(read_folder(folder))
            place = {problem.id: number for number, problem in enumerate(batch)}
            found += sorted(extinct(trees, self._config.num_traces), key=place.__getitem__)  # not by who ended first
            num_asked += len(trees)
            number += 1
        found = found[: self._num_wanted]
        head = [f"# seed {self._config.seed}", f"# proposer {self._sha256}"]  # `eval --only` refuses these samples
        write_whole(self.path, "".join(f"{line}\n" for line in [*head, *found]))
        yield ExtinctProgress(len(found), num_asked)


def extinct(trees: Sequence[Tree], num_traces: int) -> list[str]:
    """Name the problems of trees whose traces all ended, and none of them right.

    A trace that was cut at its greatest length counts as wrong; a tree with fewer traces says too little.
    """
    ids = []
    for tree in trees:
        problem: dict[str, Any] = dict(tree.origin.problem or {})
        if len(tree.ends) >= num_traces and not any(end.correct for end in tree.ends):
            ids.append(str(problem["id"]))
    return ids
