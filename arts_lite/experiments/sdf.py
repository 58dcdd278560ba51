"""Datasets of Sparse Deep Fork trees: many problems over one engine, resumable at any moment."""

from __future__ import annotations

import dataclasses
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b, sha256
from importlib import metadata
from pathlib import Path
from typing import Any

from arts_lite.errors import ArtsError
from arts_lite.experiments.folder import SUFFIXES, settle
from arts_lite.experiments.order import in_path_order
from arts_lite.experiments.progress import Counters, SdfProgress
from arts_lite.search import Checked, SearchRequest, SearchResult, Strategy, make_scorer
from arts_lite.search.events import Progress, QuestionFailed, QuestionFinished
from arts_lite.solver import SolverConfig
from arts_lite.solver.loops import make_loop
from arts_lite.solver.protocols import Proposer
from arts_lite.solver.trees import tree_of_search
from arts_lite.tasks import Problem, Rewards, Task
from arts_lite.tasks.traces import plain_prompt
from arts_lite.tree import Tree, TreeWriter, read_trees
from arts_lite.tree.tree import ENDED
from arts_lite.types import SamplingParams, StepRules, StopReason

_AT_A_TIME = 4
"""Traces of a problem that run side by side where the first right one ends it: what they had drawn is lost."""


@dataclass(frozen=True)
class SdfConfig:
    """How trees are grown.

    Attributes:
        num_traces: main traces per problem, >= 1.
        fork_prob: chance of a fork at an intermediate step boundary, in [0, 1].
        max_fork_depth: how many forks may lie above a leaf; 1: forks do not fork.
        max_tokens: most tokens that one trace may generate.
        seed: >= 0; a problem's draws are a function of it and of the problem's id.
        sampling, rules, system: None: the proposer's own.
        rewards: of the leaves.
        max_open: most problems that are open at once.
        stop_when_right: draw traces a few at a time, and none after the first right one: for what is asked of problems
            that have none. Only without forks.

    Raises:
        ValueError: a value is outside its range.
    """

    num_traces: int = 16
    fork_prob: float = 0.5
    max_fork_depth: int = 1
    max_tokens: int = 1024
    seed: int = 0
    sampling: SamplingParams | None = None
    rules: StepRules | None = None
    system: str | None = None
    rewards: Rewards = field(default_factory=Rewards)
    max_open: int = 64
    stop_when_right: bool = False

    def __post_init__(self) -> None:
        if self.stop_when_right and self.fork_prob > 0:
            raise ValueError(f"fork_prob is {self.fork_prob}, but must be 0 where the first right trace ends a problem")
        self.solver_config()

    def solver_config(self) -> SolverConfig:
        """Say the same to the solver."""
        return SolverConfig(
            strategy="best-of-n" if self.stop_when_right else "sdf",
            concurrency=_AT_A_TIME if self.stop_when_right else None,
            n=self.num_traces,
            fork_prob=self.fork_prob,
            max_fork_depth=self.max_fork_depth,
            sampling=self.sampling,
            rules=self.rules,
            max_tokens=self.max_tokens,
            seed=self.seed,
            system=self.system,
            max_open=self.max_open,
        )


class SdfRun:
    """Grows the trees that a folder still lacks.

    Args:
        problems: of all shards, in a fixed order, with different ids.
        folder: gets settings.json and one tree file per shard.
        shard: (i, n): this run grows problems i, i + n, ... (from 1).
        suffix: ".jsonl", ".jsonl.gz" or ".jsonl.zst".
        model_sha256: of the proposer's file; None: not known, and then not checked when the run goes on.
        engine_options: those that change what is drawn; JSON-ready.
        kind: what the settings call the folder.
        clock: seconds, monotonic.

    Raises:
        ValueError: no such shard or suffix, or the proposer was made for other tasks.
    """

    def __init__(
        self,
        proposer: Proposer,
        task: Task,
        problems: Sequence[Problem],
        folder: Path,
        config: SdfConfig,
        *,
        shard: tuple[int, int] = (1, 1),
        suffix: str = ".jsonl.gz",
        model_sha256: str | None = None,
        engine_options: Mapping[str, Any] | None = None,
        kind: str = "sdf",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 1 <= shard[0] <= shard[1]:
            raise ValueError(f"shard is {shard[0]}/{shard[1]}, but must be i/n with 1 <= i <= n")
        if proposer.tasks and task.name not in proposer.tasks:
            raise ValueError(
                f"this proposer was made for {' and '.join(proposer.tasks)} only, not for {task.name}; give another one"
            )
        if suffix not in SUFFIXES:
            raise ValueError(f"suffix is {suffix!r}, but must be one of {', '.join(SUFFIXES)}")
        self._proposer = proposer
        self._task = task
        self._config = config
        self._shard = shard
        self._problems = [one for place, one in enumerate(problems) if place % shard[1] == shard[0] - 1]
        self._all_problems = problems
        self._folder = folder
        name = "trees" if shard[1] == 1 else f"trees-{shard[0]:05d}-of-{shard[1]:05d}"
        self.path = folder / f"{name}{suffix}"
        self._suffix = suffix
        self._model_sha256 = model_sha256
        self._engine_options = dict(engine_options or {})
        self._kind = kind
        self._clock = clock
        self._loop = make_loop(proposer.engine, max_open=config.max_open, clock=clock)
        self._scorer = make_scorer("logprob")
        self._failures: list[ArtsError | ValueError] = []

    def cancel(self) -> None:
        """End soon; trees that are not complete are dropped. Callable from any thread and signal handlers."""
        self._loop.cancel()

    def run(self) -> Iterator[SdfProgress]:
        """Grow trees and append each to the file when it is complete; yields counters now and then, once at the end.

        Raises:
            DatasetError: the folder holds trees of other settings.
            TraceFormatError: the tree file is damaged, or another process writes it.
        """
        settle(self._folder, self.settings)
        with TreeWriter(self.path) as writer:
            done = _ids(self.path)
            todo = [problem for problem in self._problems if problem.id not in done]
            state = Counters(len(self._problems), len(self._problems) - len(todo), self._clock)
            yield state.told()
            with closing(self._loop.run(self._requests(todo))) as events:
                for event in events:
                    if isinstance(event, QuestionFinished):
                        if event.result.stopped_by is StopReason.INTERRUPTED:
                            continue
                        tree = self._tree(todo[event.question], event.result)
                        writer.write(tree)
                        state.add(tree, event.result.num_tokens_decoded)
                    elif isinstance(event, QuestionFailed):
                        self._failures.append(event.error)
                    elif isinstance(event, Progress):
                        state.note_tokens(event.num_tokens_decoded)
                    else:
                        continue
                    state.note_failures(self._failures)
                    yield state.told()
            state.note_failures(self._failures)
            yield state.told()

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Everything that trees of one folder share."""
        plain = self._resolved.to_dict()
        kept = ("n", "fork_prob", "max_fork_depth", "max_tokens", "seed", "system", "sampling", "rules")
        return {
            "kind": self._kind,
            "task": self._task.name,
            "prompt": "plain form" if self._proposer.tasks else self._task.prompt_template,
            "prompt_tokens": self._prompt_digest,
            "problems": {"num": len(self._all_problems), "sha256": _digest(self._all_problems)},
            "proposer": {name: self._model.get(name) for name in ("name", "sha256")},
            "engine": {**self._engine_options, **self._proposer.engine.conditions},
            "search": {name: plain[name] for name in kept},
            "rewards": self._config.rewards.to_dict(),
            "num_shards": self._shard[1],
            "suffix": self._suffix,
        }

    @cached_property
    def _prompt_digest(self) -> str:
        """Stands for the model's chat template and system prompt, by what they make of one question."""
        return sha256(repr(self._proposer.encode_prompt("1 + 1 = ?", self._config.system)).encode()).hexdigest()

    @cached_property
    def _resolved(self) -> SolverConfig:
        proposer = self._proposer
        return self._config.solver_config().with_defaults(proposer.default_sampling, proposer.default_rules)

    @cached_property
    def _model(self) -> dict[str, Any]:
        plain = self._proposer.info.to_dict()
        kept = {name: value for name, value in plain.items() if name not in ("chat_template", "arts")}
        return {**kept, "sha256": self._model_sha256}

    @cached_property
    def _origin(self) -> tuple[dict[str, Any], Mapping[str, str]]:
        return {**self._resolved.to_dict(), **self._own}, _versions()

    @property
    def _own(self) -> dict[str, Any]:
        return {"proposer": self._model, "engine": self._engine_options, "task": self._task.name}

    def _requests(self, problems: list[Problem]) -> Iterator[SearchRequest]:
        config = self._resolved
        assert config.sampling is not None
        assert config.rules is not None
        for number, problem in enumerate(problems):
            try:
                tokens = self._proposer.encode_prompt(self._prompt(problem), config.system)
            except (ArtsError, ValueError) as error:
                self._failures.append(error)
                continue
            yield SearchRequest(
                number,
                tokens,
                self._strategy(problem),
                self._scorer,
                extract=self._task.extract,
                same=self._task.same,
                sampling=config.sampling,
                rules=config.rules,
                seed=problem_seed(self._config.seed, problem.id),
                max_tokens=config.max_tokens,
            )

    def _strategy(self, problem: Problem) -> Strategy:
        strategy = self._resolved.make_strategy()
        if not self._config.stop_when_right:
            return strategy
        return Checked(strategy, lambda answer: self._task.grade(problem, answer))

    def _prompt(self, problem: Problem) -> str:
        return plain_prompt(problem) if self._proposer.tasks else self._task.prompt(problem)

    def _tree(self, problem: Problem, result: SearchResult) -> Tree:
        settings, versions = self._origin
        result = in_path_order(result, self._resolved.make_strategy())
        tree = tree_of_search(self._prompt(problem), result, settings=settings, versions=versions)
        origin = dataclasses.replace(
            tree.origin, problem={**problem.to_dict(), "task": self._task.name}, rewards=self._config.rewards.to_dict()
        )
        ends = []
        for end in tree.ends:
            if end.state == ENDED:
                is_correct = end.answer is not None and self._task.grade(problem, end.answer)
                end = dataclasses.replace(end, correct=is_correct, reward=self._config.rewards.of(is_correct))
            ends.append(end)
        return dataclasses.replace(tree, origin=origin, ends=tuple(ends))


def problem_seed(seed: int, problem_id: str) -> int:
    """Derive the seed of a problem's search, in [0, 2**63): its draws do not depend on what is searched beside it."""
    return int.from_bytes(blake2b(f"{seed} {problem_id}".encode(), digest_size=8).digest(), "big") >> 1


def _ids(path: Path) -> set[str]:
    return {str(tree.origin.problem["id"]) for tree in read_trees(path) if tree.origin.problem is not None}


def _digest(problems: Sequence[Problem]) -> str:
    hashed = sha256()
    for problem in problems:
        hashed.update(repr((problem.id, problem.question, problem.answer)).encode())
    return hashed.hexdigest()


def _versions() -> Mapping[str, str]:
    versions = {"python": platform.python_version()}
    for package in ("arts-lite", "llama-cpp-python", "math-verify"):
        with suppress(metadata.PackageNotFoundError):  # a checkout that is not installed; another proposer
            versions[package] = metadata.version(package)
    return versions
