"""Strategies searched live on a pool's problems: what they answer, and how many tokens that takes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from arts_lite.experiments.folder import SETTINGS, settle
from arts_lite.experiments.lines import LineWriter, read_lines
from arts_lite.experiments.methods import Method, Outcome
from arts_lite.experiments.pool import PoolProblem
from arts_lite.experiments.readers import num_read
from arts_lite.experiments.scoring import StageProgress
from arts_lite.experiments.sdf import problem_seed
from arts_lite.search import SearchRequest
from arts_lite.search.events import Progress, QuestionFailed, QuestionFinished
from arts_lite.solver import SolverConfig
from arts_lite.solver.asking import Asking, Understood
from arts_lite.solver.loops import make_loop
from arts_lite.solver.protocols import JudgedTree, Probe, Proposer, Verifier
from arts_lite.tasks import Problem, Task
from arts_lite.types import StopReason

LIVE = "live"
_LINES = "outcomes.jsonl"


@dataclass(frozen=True)
class LiveSearch:
    """One strategy at one n.

    Attributes:
        config: of the search; its seed is that of the evaluation.
        stops: the strategy is one that the pool covers too, here with its early stop.
        verifier: its name; None: there is none.
        verifier_settings: of its file, see docs/eval-format.md.
    """

    config: SolverConfig
    stops: bool = False
    verifier: str | None = None
    verifier_settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Names its folder."""
        stop = "+stop" if self.stops else ""
        return f"{self.config.strategy}{stop}-n{self.config.n}-{self.verifier or 'none'}"


class LiveRun:
    """Searches the problems that a folder still lacks.

    Args:
        verifier: judges; None where the search has none.
        folder: of the evaluation.
        probe: scores the steps; None where the search has none.
        model_sha256: of the proposer's file.
        clock: seconds, monotonic.

    Raises:
        ValueError: the strategy needs a verifier, and there is none.
    """

    def __init__(
        self,
        proposer: Proposer,
        verifier: Verifier | None,
        task: Task,
        pool: Sequence[PoolProblem],
        folder: Path,
        search: LiveSearch,
        *,
        probe: Probe | None = None,
        model_sha256: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._proposer = proposer
        self._verifier = None if verifier is None else _Remembering(verifier)
        self._probe = probe
        self._task = task
        self._pool = pool
        self._search = search
        self._folder = folder / LIVE / search.name
        self._model_sha256 = model_sha256
        self._clock = clock
        self._loop = make_loop(proposer.engine, max_open=search.config.max_open)

    def cancel(self) -> None:
        """End soon; searches that are not complete are dropped. Callable from any thread and signal handlers."""
        self._loop.cancel()

    def run(self) -> Iterator[StageProgress]:
        """Search and append; yields counters now and then.

        Raises:
            DatasetError: the folder holds outcomes of other settings.
            LinesError: the file is damaged or another process writes it.
        """
        settle(self._folder, self.settings, "outcomes")
        began_s = self._clock()
        with LineWriter(self._folder / _LINES) as writer:
            done = {str(line["problem"]) for line in read_lines(self._folder / _LINES)}
            todo = [one for one in self._pool if one.id not in done]
            num_done, why = len(self._pool) - len(todo), ""
            num_before = num_done
            asking = self._asking([one.problem for one in todo])
            trees: dict[int, JudgedTree | None] = {}
            with closing(asking), closing(self._loop.run(self._requests(asking, todo, trees))) as events:
                for event in events:
                    if isinstance(event, QuestionFinished):
                        result, problem = event.result, todo[event.question]
                        spent = num_read(trees.pop(event.question))
                        asking.solved(result)
                        if result.stopped_by is StopReason.INTERRUPTED:
                            continue
                        answer = result.decision.answer
                        writer.write(
                            {
                                "problem": problem.id,
                                "answer": answer,
                                "correct": answer is not None and self._task.grade(problem.problem, answer),
                                "stopped_by": result.stopped_by.value,
                                "num_traces": len(result.tree.branches),
                                "num_tokens": result.tree.num_tokens,
                                "num_tokens_decoded": result.num_tokens_decoded,
                                "num_verifier_tokens": spent,
                                "num_prompt_tokens": result.tree.num_prompt_tokens,
                                "seconds": round(result.seconds, 3),
                            }
                        )
                        num_done += 1
                    elif isinstance(event, QuestionFailed):
                        asking.fail(event.question, event.error)
                    elif not isinstance(event, Progress):
                        continue
                    seconds, why = self._clock() - began_s, asking.latest_failure(why)
                    yield StageProgress(self._search.name, num_done, num_before, len(self._pool), seconds, why)
            seconds, why = self._clock() - began_s, asking.latest_failure(why)
            yield StageProgress(self._search.name, num_done, num_before, len(self._pool), seconds, why)

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that the outcomes of one folder share."""
        config = self._search.config
        own = config.with_defaults(self._proposer.default_sampling, self._proposer.default_rules).to_dict()
        ids = sha256("\n".join(one.id for one in self._pool).encode()).hexdigest()
        return {
            "kind": LIVE,
            "stops": self._search.stops,
            "scorer": self._search.verifier,
            "verifier": dict(self._search.verifier_settings),
            "proposer": {"sha256": self._model_sha256},
            "engine": dict(self._proposer.engine.conditions),
            "problems": {"num": len(self._pool), "sha256": ids},
            "search": {name: value for name, value in own.items() if name not in ("max_open", "prompt_template")},
        }

    def _asking(self, problems: Sequence[Problem]) -> _Asking:
        return _Asking(
            self._proposer,
            self._search.config,
            self._task,
            {one.problem.id: one.tree.origin.question for one in self._pool},
            problems,
            verifier=self._verifier,
            probe=self._probe,
        )

    def _requests(
        self, asking: _Asking, todo: Sequence[PoolProblem], trees: dict[int, JudgedTree | None]
    ) -> Iterator[SearchRequest]:
        for request in asking.requests(one.tree.origin.question for one in todo):
            problem = todo[request.question]
            trees[request.question] = None if self._verifier is None else self._verifier.latest
            yield replace(request, seed=problem_seed(self._search.config.seed, problem.id))


class _Asking(Asking):
    """Asks as a pool was asked: no checker chooses, since that would be the verdict itself."""

    def __init__(
        self,
        proposer: Proposer,
        config: SolverConfig,
        task: Task,
        prompts: Mapping[str, str],
        problems: Sequence[Problem],
        *,
        verifier: Verifier | None,
        probe: Probe | None,
    ) -> None:
        super().__init__(
            proposer,
            config,
            extract=task.extract,
            same=task.same,
            settings={"proposer": {}},
            versions={},
            verifier=verifier,
            probe=probe,
        )
        self._task = task
        self._problems = {prompts[problem.id]: problem for problem in problems}

    def latest_failure(self, before: str) -> str:
        """Say why a question failed, of those since the last time the latest; else what was said before."""
        failed = self.take_failed()
        return str(failed[-1].solution.error) if failed else before

    def _understand(self, question: str) -> Understood:
        problem, task = self._problems[question], self._task

        def same(a: str, b: str) -> bool:
            return task.same(a, b) and task.grade(problem, a) == task.grade(problem, b)

        return Understood(question, self._config.system, task.extract, same, self._strategy(self._config))


class _Remembering:
    """A verifier that remembers its latest mirror, whose tokens are to be counted."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier
        self.latest: JudgedTree | None = None

    def tree(self, question: str, delimiters: Sequence[str] = ()) -> JudgedTree:
        """Begin a mirror."""
        self.latest = self._verifier.tree(question, delimiters)
        return self.latest

    def __getattr__(self, name: str) -> Any:
        return getattr(self._verifier, name)


def live_methods(folder: Path, pool: Sequence[PoolProblem]) -> list[Method]:
    """Read what an evaluation's live runs came to; runs of other problems are left out."""
    known = {one.id for one in pool}
    found: dict[str, Method] = {}
    for path in sorted((folder / LIVE).glob("*")):
        if not (path / SETTINGS).exists():
            continue
        told = json.loads((path / SETTINGS).read_text(encoding="utf-8"))
        search, verifier = told["search"], told["verifier"]
        own = search["aggregation"] or verifier.get("aggregation")
        method = Method(
            search["strategy"],
            told["scorer"],
            own if told["scorer"] else None,
            own == verifier.get("aggregation"),
            live=True,
            early_stop=told["stops"],
        )
        method = found.setdefault(method.label, method)
        method.outcomes[int(search["n"])] = {
            str(line["problem"]): Outcome(
                float(line["correct"]),
                float(line["num_tokens"]),
                float(line["num_tokens_decoded"]),
                float(line["num_verifier_tokens"]),
            )
            for line in read_lines(path / _LINES)
            if line["problem"] in known
        }
    return list(found.values())
