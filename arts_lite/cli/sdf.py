"""`arts-lite sdf`: datasets of Sparse Deep Fork trees."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from arts_lite.cli.commands import INTERRUPTED
from arts_lite.cli.interrupt import InThread, on_interrupt
from arts_lite.cli.sdf_options import problem_options, sdf_options, sdf_output_options
from arts_lite.cli.sdf_progress import ProgressDisplay

if TYPE_CHECKING:
    from arts_lite.experiments import SdfConfig, SdfProgress, SdfRun
    from arts_lite.proposer import Proposer
    from arts_lite.tasks import Problem, Task

_SAMPLING = ("temperature", "top_p", "top_k", "min_p")
_ENGINE = ("ctx_size", "gpu_layers", "threads", "kv_type", "reproducible")
_DRAWN = ("ctx_size", "gpu_layers", "kv_type", "reproducible")  # of these, what may change the draws


@click.group(invoke_without_command=True)
@problem_options
@sdf_options
@sdf_output_options
@click.pass_context
def sdf(ctx: click.Context, /, **options: Any) -> None:
    """Grow a dataset of trees: main traces with alternatives at some of their steps, each leaf graded.

    Trees are appended to --out as they are completed. Run the same command again to go on after an interruption.
    """
    if ctx.invoked_subcommand is not None:
        return
    for name, why in (("task", "--task NAME"), ("out", "--out DIR")):
        if options[name] is None:
            raise click.UsageError(f"missing {why}.")
    if options["verifier"] is not None:
        raise click.UsageError("--verifier has nothing to do here: the trees are what a verifier learns from.")
    work = _told_as_usage(lambda: _Work(options))
    with ExitStack() as stack:
        display = stack.enter_context(ProgressDisplay(is_quiet=options["quiet"]))
        display.say(f"{len(work.problems)} problems; loading {options['proposer'] or 'the embedded proposer'}")
        events = stack.enter_context(InThread(work.events, work.stop))
        stack.enter_context(on_interrupt(work.interrupt))
        last: SdfProgress | None = None
        for last in events:
            display.show(last)
    if last is not None:
        display.end(last, work.path)
    if work.was_interrupted:
        ctx.exit(INTERRUPTED)


@sdf.command()
@click.argument("path", metavar="DIR")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def stats(path: str, as_json: bool) -> None:
    """Tell what the trees of a folder (or file) are like."""
    from arts_lite.experiments import dataset_stats

    numbers = dataset_stats(path).to_dict()
    if as_json:
        finite = {name: None if math.isnan(value) else value for name, value in numbers.items()}
        click.echo(json.dumps(finite))
        return
    for name, value in numbers.items():
        shown = (
            f"{value:.1%}" if name.startswith("share_") else f"{value:,}" if isinstance(value, int) else f"{value:.2f}"
        )
        click.echo(f"{name.replace('num_', '').replace('_', ' '):<18}{shown}")


def _told_as_usage(make: Callable[[], _Work]) -> _Work:
    try:
        return make()
    except ValueError as error:
        raise click.UsageError(str(error)) from error


class _Work:
    """Reads the problems, loads the model and grows the trees; the last two in a thread of its own."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._task = _task(options)
        self.problems = _problems(self._task, options)
        self._shard = _shard(options["shard"])
        self._config = _config(options)
        self._run: SdfRun | None = None
        self._is_stopped = False
        self.was_interrupted = False
        self.path = Path(options["out"])

    def events(self) -> Iterator[SdfProgress]:
        """Grow the trees."""
        from arts_lite.engine import EngineConfig
        from arts_lite.experiments import SdfRun
        from arts_lite.proposer import Proposer, embedded_proposer

        options = self._options
        engine = {name: options[name] for name in _ENGINE if options[name] is not None}
        try:
            config = EngineConfig(num_traces=self._config.num_traces, verbose=options["verbose"], **engine)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        with Proposer.from_gguf(
            options["proposer"] or embedded_proposer(), prompt_template=options["prompt_template"], config=config
        ) as model:
            if model.tasks and options["prompt"] is not None:
                raise click.UsageError("--prompt has nothing to do here: this model reads problems in plain form.")
            try:
                self._run = SdfRun(
                    model,
                    self._task,
                    self.problems,
                    self.path,
                    _with_models_defaults(self._config, model, options),
                    shard=self._shard,
                    suffix={"none": ".jsonl", "gzip": ".jsonl.gz", "zstd": ".jsonl.zst"}[options["compress"]],
                    model_sha256=model.engine.model.sha256,
                    engine_options={name: options[name] for name in _DRAWN if options[name] is not None},
                )
            except ValueError as error:
                raise click.UsageError(str(error)) from error
            if self._is_stopped:
                self._run.cancel()
            yield from self._run.run()

    def stop(self) -> None:
        """Make the events end soon."""
        self._is_stopped = True
        if self._run is not None:
            self._run.cancel()

    def interrupt(self) -> bool:
        """End with the trees that are complete; called by a signal handler."""
        self.was_interrupted = True
        self.stop()
        return self._run is not None


def _task(options: dict[str, Any]) -> Task:
    from arts_lite.tasks import load_grader, make_task, with_difficulty

    task = make_task(
        options["task"],
        prompt=options["prompt"],
        grader=None if options["grader"] is None else load_grader(options["grader"]),
    )
    if options["difficulty"] is not None:
        task = with_difficulty(task, options["difficulty"])
    named = {part: options[f"{part}_column"] for part in ("question", "answer", "id") if options[f"{part}_column"]}
    if not named:
        return task
    if task.columns is None:
        raise ValueError(f"task {task.name!r} generates its problems; it has no columns to name")
    return dataclasses.replace(task, columns=dataclasses.replace(task.columns, **named))


def _problems(task: Task, options: dict[str, Any]) -> Sequence[Problem]:
    num, data = options["num_problems"], options["data"]
    if task.generate is not None:
        if data is not None:
            raise ValueError(f"task {task.name!r} generates its problems; leave --data out and say --num-problems")
        if num is None:
            raise ValueError(f"task {task.name!r} generates its problems; say how many with --num-problems")
        return list(islice(task.generate(options["problem_seed"], options["split"] or "train"), num))
    if data is None:
        raise ValueError(f"task {task.name!r} needs --data FILE or --data hf:OWNER/NAME")
    problems = list(islice(task.read(data, options["split"] or "test"), num))
    if not problems:
        raise ValueError(f"{data} holds no problem; check the file")
    return problems


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise ValueError(f"shard is {text!r}, but must be i/n with 1 <= i <= n, as in 1/4")
    return int(match[1]), int(match[2])


def _config(options: dict[str, Any]) -> SdfConfig:
    from arts_lite.experiments import SdfConfig
    from arts_lite.tasks import Rewards

    names = ("num_traces", "fork_prob", "max_fork_depth", "max_tokens", "seed", "system")
    rewards = Rewards(options["reward_correct"], options["reward_wrong"])
    return SdfConfig(rewards=rewards, **{name: options[name] for name in names})


def _with_models_defaults(config: SdfConfig, model: Proposer, options: dict[str, Any]) -> SdfConfig:
    sampling = {name: options[name] for name in _SAMPLING if options[name] is not None}
    rules = {"delimiters": options["step_delimiters"]} if options["step_delimiters"] else {}
    return dataclasses.replace(
        config,
        sampling=dataclasses.replace(model.default_sampling, **sampling),
        rules=dataclasses.replace(model.default_rules, **rules),
    )
