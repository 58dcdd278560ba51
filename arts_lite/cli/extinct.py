"""`arts-lite extinct`: problems that a model never solves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from arts_lite.cli.commands import INTERRUPTED, verbose_option
from arts_lite.cli.interrupt import InThread, on_interrupt
from arts_lite.cli.sdf_progress import ProgressDisplay
from arts_lite.tasks import TASKS
from arts_lite.tasks.problem import SPLITS

if TYPE_CHECKING:
    from arts_lite.experiments import ExtinctProgress, ExtinctRun
    from arts_lite.tasks import Task


@click.command()
@click.option("--task", type=click.Choice(TASKS), required=True, help="What the problems are; one that generates them.")
@click.option("--difficulty", metavar="NAME=VALUE,...", help="Of generated problems.")
@click.option("--split", type=click.Choice(list(SPLITS)), default="test", show_default=True)
@click.option("--problem-seed", type=int, default=0, show_default=True, help="Of generated problems.")
@click.option("--proposer", metavar="FILE", required=True, help="The model (GGUF) that does not solve them.")
@click.option("--num-traces", type=click.IntRange(1), default=16, show_default=True, help="Per problem, none right.")
@click.option("--num-wanted", type=click.IntRange(1), default=300, show_default=True, help="Such problems.")
@click.option("--max-problems", type=click.IntRange(1), default=20_000, show_default=True, help="Asked at most.")
@click.option("--max-tokens", type=click.IntRange(1), default=320, show_default=True, help="Of one trace.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the draws.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads.  [default: as of solve]")
@click.option("--out", metavar="DIR", required=True, help="Folder; the same one again goes on with it.")
@click.option("--quiet", is_flag=True, help="Nothing on stderr but errors.")
@verbose_option
@click.pass_context
def extinct(ctx: click.Context, /, **options: Any) -> None:
    """Find problems that none of a model's traces solves, and write their ids to DIR/extinct.txt.

    What is measured on them needs fresh samples: `arts-lite eval --only DIR/extinct.txt` with another --seed.
    """
    work = _Work(options)
    with ExitStack() as stack:
        display = stack.enter_context(ProgressDisplay(is_quiet=options["quiet"]))
        events = stack.enter_context(InThread(work.events, work.stop))
        stack.enter_context(on_interrupt(work.interrupt))
        last: ExtinctProgress | None = None
        for now in events:
            if last is None or now.num_asked != last.num_asked:
                display.say(f"{now.num_found} of {options['num_wanted']} found, {now.num_asked:,} problems asked")
            if now.current is not None:
                display.show(now.current)
            last = now
    if work.was_interrupted:
        ctx.exit(INTERRUPTED)


class _Work:
    """Loads the model and asks it; in a thread of its own."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._task = _task(options)
        self._run: ExtinctRun | None = None
        self.was_interrupted = False

    def events(self) -> Iterator[ExtinctProgress]:
        """Draw traces and count."""
        from arts_lite.engine import EngineConfig
        from arts_lite.experiments import ExtinctRun, SdfConfig
        from arts_lite.proposer import Proposer

        options = self._options
        assert self._task.generate is not None
        num_traces, max_tokens = options["num_traces"], options["max_tokens"]
        engine = EngineConfig(
            num_traces=num_traces,
            num_questions=options["max_problems"],
            threads=options["threads"],
            verbose=options["verbose"],
        )
        with Proposer.from_gguf(options["proposer"], config=engine) as model:
            try:
                self._run = ExtinctRun(
                    model,
                    self._task,
                    self._task.generate(options["problem_seed"], options["split"]),
                    Path(options["out"]),
                    SdfConfig(num_traces=num_traces, max_tokens=max_tokens, seed=options["seed"]),
                    num_wanted=options["num_wanted"],
                    max_problems=options["max_problems"],
                    model_sha256=model.engine.model.sha256,
                )
            except ValueError as error:
                raise click.UsageError(str(error)) from error
            if self.was_interrupted:
                self._run.cancel()
            yield from self._run.run()

    def stop(self) -> None:
        """Make the events end soon."""
        if self._run is not None:
            self._run.cancel()

    def interrupt(self) -> bool:
        """End with the traces that are complete; called by a signal handler."""
        self.was_interrupted = True
        self.stop()
        return self._run is not None


def _task(options: dict[str, Any]) -> Task:
    from arts_lite.tasks import make_task, with_difficulty

    task = make_task(options["task"])
    if task.generate is None:
        raise click.UsageError(f"task {task.name!r} reads its problems; name one that generates them.")
    try:
        return task if options["difficulty"] is None else with_difficulty(task, options["difficulty"])
    except ValueError as error:
        raise click.UsageError(str(error)) from error
