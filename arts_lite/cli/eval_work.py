"""The stages of `arts-lite eval`: pool, scores, live searches, prefixes, figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from arts_lite.cli.eval_options import NEED_FLOWS, STOP, live_config, read_ids, read_ks, read_strategies
from arts_lite.cli.judges import Judge, load_judge, probe_states
from arts_lite.cli.problems import DRAWN, ENGINE, read_problems, read_task, with_models_defaults
from arts_lite.cli.sdf_progress import counters
from arts_lite.experiments.folder import SETTINGS
from arts_lite.experiments.pool import KIND, pool_settings, read_pool
from arts_lite.experiments.readers import named_files
from arts_lite.experiments.scoring import ScoreRun, StageProgress
from arts_lite.experiments.sdf import SdfConfig, SdfRun

if TYPE_CHECKING:
    from arts_lite.engine import EngineConfig
    from arts_lite.experiments.live import LiveSearch
    from arts_lite.experiments.pool import PoolProblem
    from arts_lite.proposer import Proposer
    from arts_lite.tasks import Problem


class _Cancellable(Protocol):
    def cancel(self) -> None: ...


class EvalWork:
    """Reads the problems, then runs all stages that the folder lacks; these in a thread of its own.

    Raises:
        ValueError: an option is wrong.
        DatasetError: the folder is of another kind.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self.folder = Path(options["out"])
        self._ks = read_ks(options["ks"])
        self._pooled, self._live = read_strategies(options["strategies"])
        self._files = {name: _file(path) for name, path in named_files(options["verifiers"]).items()}
        from arts_lite.engine.gguf import read_header  # binds the native library, which `--help` does without

        for path in self._files.values():
            read_header(path)  # better refused now than when the pool is sampled
        for name in self._live:
            if name in NEED_FLOWS and not self._files:
                raise ValueError(f"strategy {name!r} needs a verifier's flows; give --verifier FILE, or embedded")
            live_config(name, self._ks[-1], options).require_step_scores(has_verifier=bool(self._files))
        self._task = read_task(options)
        self.problems = self._chosen(read_problems(self._task, options, split="test"))
        self._config = SdfConfig(
            num_traces=self._num_samples(),
            fork_prob=0.0,
            max_fork_depth=0,
            max_tokens=options["max_tokens"],
            seed=options["seed"],
            system=options["system"],
        )
        self._current: _Cancellable | None = None
        self.was_interrupted = False
        self.results: dict[str, Any] | None = None

    def stop(self) -> None:
        """Make the events end soon."""
        self.was_interrupted = True
        if self._current is not None:
            self._current.cancel()

    def interrupt(self) -> bool:
        """End with what is complete; called by a signal handler."""
        self.stop()
        return self._current is not None

    def events(self) -> Iterator[StageProgress]:
        """Run the stages; `results` holds the figures at the end, unless it was interrupted."""
        from arts_lite.experiments.evaluation import evaluate
        from arts_lite.proposer import Proposer, embedded_proposer

        options = self._options
        source = options["proposer"] or embedded_proposer()
        with Proposer.from_gguf(
            source, prompt_template=options["prompt_template"], config=self._engine(for_proposer=True)
        ) as model:
            self._check_only(model)
            if model.tasks and options["prompt"] is not None:
                raise click.UsageError("--prompt has nothing to do here: this model reads problems in plain form.")
            try:
                self._config = with_models_defaults(self._config, model, options)
                yield from self._sample(model)
                if not self.was_interrupted:
                    yield from self._judge(model, read_pool(self.folder))
                if self.was_interrupted:
                    return
                self.results = evaluate(
                    self.folder,
                    ks=self._ks,
                    strategies=self._pooled,
                    order=list(self._files),
                    references=options["references"],
                    split=options["split"] or ("test" if options["data"] is None else None),
                )
            except ValueError as error:
                raise click.UsageError(str(error)) from error

    def _sample(self, model: Proposer) -> Iterator[StageProgress]:
        options = self._options
        run = SdfRun(
            model,
            self._task,
            self.problems,
            self.folder,
            self._config,
            model_sha256=model.engine.model.sha256,
            engine_options={name: options[name] for name in DRAWN if options[name] is not None},
            kind=KIND,
        )
        self._set(run)
        for now in run.run():
            yield StageProgress("pool", now.num_done, now.num_before, now.num_problems, now.seconds, counters(now))
            if now.num_failed:
                yield StageProgress("failed", now.num_failed, 0, now.num_problems, now.seconds, now.why)

    def _judge(self, model: Proposer, pool: Sequence[PoolProblem]) -> Iterator[StageProgress]:
        states = probe_states(self._files, model, self._config)
        for name, path in self._files.items():
            with ExitStack() as stack:
                judge = load_judge(stack, name, path, model, states, self._engine(for_proposer=False))
                run = ScoreRun(judge.reader, pool, self.folder)
                self._set(run)
                yield from run.run()
                for strategy, search in self._searches(name, dict(judge.reader.settings)):
                    if strategy in NEED_FLOWS and not judge.gives_flows:
                        why = f"left out: {name} gives no flows, but an order"
                        yield StageProgress(search.name, 0, 0, len(pool), note=why)
                    else:
                        yield from self._search(model, judge, pool, search)
            if self.was_interrupted:
                return
        for _, search in self._searches(None, {}):
            yield from self._search(model, None, pool, search)
        if self._options["prefixes"] and not self.was_interrupted:
            yield from self._label(model, pool)

    def _searches(self, judge: str | None, told: dict[str, Any]) -> Iterator[tuple[str, LiveSearch]]:
        """Yield the live searches with this verifier; without one, those that vote or have none at all."""
        from arts_lite.experiments.live import LiveSearch

        for name in self._live:
            votes = name.removesuffix(STOP) == "vote"
            if votes == (judge is None) or (not self._files and judge is None):
                for n in self._ks:
                    config = live_config(name, n, self._options)
                    config = dataclasses.replace(config, sampling=self._config.sampling, rules=self._config.rules)
                    yield name, LiveSearch(config, name.endswith(STOP), judge, told)

    def _search(
        self, model: Proposer, judge: Judge | None, pool: Sequence[PoolProblem], search: LiveSearch
    ) -> Iterator[StageProgress]:
        from arts_lite.experiments.live import LiveRun

        if not self.was_interrupted:
            run = LiveRun(
                model,
                None if judge is None else judge.verifier,
                self._task,
                pool,
                self.folder,
                search,
                probe=None if judge is None else judge.probe,
                model_sha256=model.engine.model.sha256,
            )
            self._set(run)
            yield from run.run()

    def _label(self, model: Proposer, pool: Sequence[PoolProblem]) -> Iterator[StageProgress]:
        from arts_lite.experiments.prefixes import PrefixConfig, PrefixRun

        options = self._options
        own = PrefixConfig(options["num_prefixes"], options["num_rollouts"], options["seed"])
        sha256 = model.engine.model.sha256
        run = PrefixRun(model, self._task, pool, self.folder, self._config, own, model_sha256=sha256)
        self._set(run)
        yield from run.run()

    def _set(self, run: _Cancellable) -> None:
        self._current = run
        if self.was_interrupted:
            run.cancel()

    def _engine(self, *, for_proposer: bool) -> EngineConfig:
        from arts_lite.engine import EngineConfig

        options = self._options
        names = ENGINE if for_proposer else [name for name in ENGINE if name != "ctx_size"]
        told = {name: options[name] for name in names if options[name] is not None}
        try:
            return EngineConfig(
                num_traces=self._config.num_traces,
                num_questions=len(self.problems),
                verbose=options["verbose"],
                **told,
            )
        except ValueError as error:
            raise click.UsageError(str(error)) from error

    def _num_samples(self) -> int:
        """Traces per problem: as asked for, else those of the pool that is there, else the largest k."""
        asked = self._options["num_samples"]
        if asked is not None:
            return int(asked)
        there = int(pool_settings(self.folder)["search"]["n"]) if (self.folder / SETTINGS).exists() else 0
        return max(there, self._ks[-1])

    def _chosen(self, problems: Sequence[Problem]) -> Sequence[Problem]:
        """Keep the problems that --only names."""
        path = self._options["only"]
        if path is None:
            return problems
        ids, _ = read_ids(path)
        by_id = {problem.id: problem for problem in problems}
        unknown = [name for name in ids if name not in by_id]
        if unknown:
            raise ValueError(
                f"--only names {len(unknown)} problems that there are not, such as {unknown[0]!r}; give the same "
                "--data (or --split, --problem-seed, --difficulty, and a --num-problems that reaches as far) as where "
                "they were chosen"
            )
        return [by_id[name] for name in dict.fromkeys(ids)]

    def _check_only(self, model: Proposer) -> None:
        """Refuse to judge problems by the samples that they were chosen by."""
        path = self._options["only"]
        told = {} if path is None else read_ids(path)[1]
        is_same_model = told.get("proposer") == model.engine.model.sha256
        if is_same_model and told.get("seed") == str(self._options["seed"]):
            raise click.UsageError(
                f"the problems of {path} were chosen on this model's samples with --seed {told['seed']}; give another "
                "--seed, so that they are judged by fresh ones."
            )


def _file(path: Path) -> Path:
    """Take `embedded` for the verifier that comes with the embedded proposer, unless there is a file of that name."""
    from arts_lite.verifier import embedded_verifier

    return embedded_verifier() if path == Path("embedded") and not path.exists() else path
