"""`arts-lite sdf`: datasets of Sparse Deep Fork trees."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from arts_lite.cli.commands import INTERRUPTED
from arts_lite.cli.interrupt import InThread, on_interrupt
from arts_lite.cli.problems import DRAWN, ENGINE, read_problems, read_task, with_models_defaults
from arts_lite.cli.sdf_options import problem_options, sdf_options, sdf_output_options
from arts_lite.cli.sdf_progress import ProgressDisplay

if TYPE_CHECKING:
    from arts_lite.experiments import SdfConfig, SdfProgress, SdfRun


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
    for name in ("verifier", "probe"):
        if options[name] is not None:
            raise click.UsageError(f"--{name} has nothing to do here: the trees are what a {name} learns from.")
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
        self._task = read_task(options)
        self.problems = read_problems(self._task, options, split="train")
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
        engine = {name: options[name] for name in ENGINE if options[name] is not None}
        try:
            config = EngineConfig(
                num_traces=self._config.num_traces,
                num_questions=len(self.problems),
                verbose=options["verbose"],
                **engine,
            )
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
                    with_models_defaults(self._config, model, options),
                    shard=self._shard,
                    suffix={"none": ".jsonl", "gzip": ".jsonl.gz", "zstd": ".jsonl.zst"}[options["compress"]],
                    model_sha256=model.engine.model.sha256,
                    engine_options={name: options[name] for name in DRAWN if options[name] is not None},
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
