"""How well a scorer's values order prefixes of one problem: labels by fresh rollouts of the proposer."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arts_lite.errors import ArtsError
from arts_lite.experiments.folder import settle
from arts_lite.experiments.lines import LineWriter, read_lines
from arts_lite.experiments.pool import PoolProblem
from arts_lite.experiments.scoring import StageProgress
from arts_lite.experiments.sdf import SdfConfig, problem_seed
from arts_lite.search import SearchRequest, SearchResult, StrategySettings, make_scorer, make_strategy
from arts_lite.search.events import Progress, QuestionFailed, QuestionFinished
from arts_lite.solver.loops import make_loop
from arts_lite.solver.protocols import Proposer
from arts_lite.tasks import Task
from arts_lite.types import StopReason

PREFIXES = "prefixes"
LINES = "prefixes.jsonl"


@dataclass(frozen=True, slots=True)
class PrefixConfig:
    """Which prefixes are labelled.

    Attributes:
        num_prefixes: per problem, at most, >= 1: different ones, each at half of the steps of a trace.
        num_rollouts: of each, >= 2.
        seed: >= 0.
    """

    num_prefixes: int = 4
    num_rollouts: int = 16
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Prefix:
    """The first `num_steps` steps of a trace of a problem."""

    problem: PoolProblem
    trace: int
    num_steps: int

    @property
    def key(self) -> tuple[str, int]:
        """Names it within the pool."""
        return self.problem.id, self.trace


class PrefixRun:
    """Labels the prefixes that a folder still lacks.

    Args:
        config: of the pool: sampling, rules, longest trace.
        folder: of the evaluation.
        model_sha256: of the proposer's file.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        proposer: Proposer,
        task: Task,
        pool: Sequence[PoolProblem],
        folder: Path,
        config: SdfConfig,
        prefixes: PrefixConfig,
        *,
        model_sha256: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._proposer = proposer
        self._task = task
        self._folder = folder / PREFIXES
        self._config = config.solver_config().with_defaults(proposer.default_sampling, proposer.default_rules)
        self._own = prefixes
        self._prefixes = [one for problem in pool for one in chosen_prefixes(problem, prefixes)]
        self._model_sha256 = model_sha256
        self._clock = clock
        self._loop = make_loop(proposer.engine, max_open=config.max_open)
        self._scorer = make_scorer("logprob")

    def cancel(self) -> None:
        """End soon. Callable from any thread and signal handlers."""
        self._loop.cancel()

    def run(self) -> Iterator[StageProgress]:
        """Roll out and append; yields counters now and then. Raises what `LiveRun.run` raises."""
        settle(self._folder, self.settings, "prefixes")
        began_s = self._clock()
        with LineWriter(self._folder / LINES) as writer:
            done = {(str(line["problem"]), int(line["trace"])) for line in read_lines(self._folder / LINES)}
            todo = [one for one in self._prefixes if one.key not in done]
            num_done, why = len(self._prefixes) - len(todo), ""
            num_before = num_done
            with closing(self._loop.run(self._requests(todo))) as events:
                for event in events:
                    if isinstance(event, QuestionFinished):
                        if event.result.stopped_by is StopReason.INTERRUPTED:
                            continue
                        writer.write(self._line(todo[event.question], event.result))
                        num_done += 1
                    elif isinstance(event, QuestionFailed):
                        why = str(event.error)
                    elif not isinstance(event, Progress):
                        continue
                    yield self._progress(num_done, num_before, began_s, why)
            yield self._progress(num_done, num_before, began_s, why)

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that the labels of one folder share."""
        own = self._config.to_dict()
        return {
            "kind": PREFIXES,
            "num_prefixes": self._own.num_prefixes,
            "num_rollouts": self._own.num_rollouts,
            "seed": self._own.seed,
            "proposer": {"sha256": self._model_sha256},
            "engine": dict(self._proposer.engine.conditions),
            "search": {name: own[name] for name in ("max_tokens", "sampling", "rules", "system")},
        }

    def _progress(self, num_done: int, num_before: int, began_s: float, why: str) -> StageProgress:
        return StageProgress(PREFIXES, num_done, num_before, len(self._prefixes), self._clock() - began_s, why)

    def _requests(self, prefixes: Sequence[Prefix]) -> Iterator[SearchRequest]:
        config, task = self._config, self._task
        assert config.sampling is not None
        assert config.rules is not None
        for number, prefix in enumerate(prefixes):
            problem = prefix.problem
            path = problem.paths[prefix.trace][: prefix.num_steps]
            head = "".join(problem.tree.texts[node] for node in path)
            drawn = [int(token) for node in path for token in problem.tree.tokens(node)]
            try:
                prompt = self._proposer.encode_prompt(problem.tree.origin.question, config.system)
            except (ArtsError, ValueError):  # it was asked before, so this is another file or a smaller context
                continue

            def extract(text: str, head: str = head) -> str | None:
                return task.extract(head + text)

            yield SearchRequest(
                number,
                [*prompt, *drawn],
                make_strategy("best-of-n", StrategySettings(n=self._own.num_rollouts)),
                self._scorer,
                extract=extract,
                same=lambda a, b: a == b,
                sampling=config.sampling,
                rules=config.rules,
                seed=problem_seed(self._own.seed, f"prefix {prefix.trace} {prefix.num_steps} {problem.id}"),
                max_tokens=max(config.max_tokens - len(drawn), 1),
            )

    def _line(self, prefix: Prefix, result: SearchResult) -> dict[str, Any]:
        leaves = [branch for branch in result.tree.branches if branch.has_ended]
        verdicts: dict[str | None, bool] = {None: False}
        for answer in {leaf.answer for leaf in leaves} - {None}:
            verdicts[answer] = answer is not None and self._task.grade(prefix.problem.problem, answer)
        return {
            "problem": prefix.problem.id,
            "trace": prefix.trace,
            "num_steps": prefix.num_steps,
            "num_correct": sum(verdicts[leaf.answer] for leaf in leaves),
            "num_rollouts": len(leaves),
            "num_tokens": result.num_tokens_decoded,
        }


def chosen_prefixes(problem: PoolProblem, config: PrefixConfig) -> list[Prefix]:
    """Choose different prefixes of a problem: half of the steps of traces with two steps or more."""
    found: dict[int, Prefix] = {}
    order = list(range(problem.num_samples))
    random.Random(f"{config.seed} {problem.id}").shuffle(order)
    for trace in order:
        num_steps = len(problem.paths[trace]) // 2
        if num_steps and len(found) < config.num_prefixes:
            found.setdefault(problem.paths[trace][num_steps - 1], Prefix(problem, trace, num_steps))
    return list(found.values())
