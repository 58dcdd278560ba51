"""`arts-lite miniature` and `arts-lite ablate`: experiments of many commands, run one after another."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from arts_lite.cli.commands import INTERRUPTED, Failure, verbose_option
from arts_lite.cli.interrupt import on_interrupt
from arts_lite.cli.options import option_group

if TYPE_CHECKING:
    from arts_lite.experiments.pipeline import Pipeline, Timing
    from arts_lite.experiments.stage import Stage

_MOST_JOBS = 4  # each takes about a gigabyte
_common = option_group(
    click.option("--out", metavar="DIR", required=True, help="Folder; the same one again goes on with it."),
    click.option("--quick", is_flag=True, help="Ten minutes: whether everything works, not what is true."),
    click.option("--threads", type=click.IntRange(1), help="CPU threads of the trainers.  [default: their cores]"),
    click.option(
        "--jobs",
        type=click.IntRange(1),
        help="Stages side by side, each on its share of the cores.  [default: one per core, at most 4]",
    ),
    click.option("--proposer", metavar="FILE", help="A tiny GGUF of ours.  [default: the embedded one]"),
    click.option("--redo", is_flag=True, help="Do stages that were made with other settings again."),
    click.option("--dry-run", is_flag=True, help="Print the stages and the minutes that they are expected to take."),
    click.option("--quiet", is_flag=True, help="Nothing on stderr but errors."),
    verbose_option,
)


@click.command()
@_common
@click.option("--seeds", type=click.IntRange(1), help="Of arithmetic.  [default: 3; 1 with --quick]")
@click.option("--from-scratch", is_flag=True, help="Train the proposer too; takes hours.")
@click.pass_context
def miniature(ctx: click.Context, /, **options: Any) -> None:
    """Do the paper in miniature: trees, verifiers, GRPO, evaluations, and a report of what was reproduced.

    Ends with DIR/report.md and DIR/report.html. Ctrl-C keeps what is done; run the same command again to go on.
    """
    from arts_lite.experiments.miniature import Miniature
    from arts_lite.experiments.miniature_report import write_report
    from arts_lite.experiments.miniature_results import measure
    from arts_lite.experiments.sizes import FULL, QUICK

    if options["from_scratch"] and options["proposer"] is not None:
        raise click.UsageError("--from-scratch trains the proposer; leave --proposer out.")
    proposer, sha256 = _proposer(options["proposer"])
    seeds = options["seeds"] or (1 if options["quick"] else 3)
    sizes = QUICK if options["quick"] else FULL
    plan = Miniature(sizes, seeds, options["threads"], proposer, sha256, options["from_scratch"])

    def report(folder: Path, timings: Sequence[Timing]) -> list[Path]:
        return write_report(folder, measure(folder, num_seeds=seeds, settings=plan.settings()), timings)

    _run(ctx, plan.stages(), options, report, needs=("torch", "trl", "matplotlib"))


@click.command()
@_common
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="Of the training.")
@click.pass_context
def ablate(ctx: click.Context, /, **options: Any) -> None:
    """Find out which of ARTS's ingredients earns its keep: bootstrapping x ranking of siblings x number of trees.

    The usual baselines learn from the same trees, and all are judged on the same samples of Countdown and arithmetic.

    Ends with DIR/report.md and DIR/report.html. Ctrl-C keeps what is done; run the same command again to go on.
    """
    from arts_lite.experiments.ablation import Ablation, measure_ablation
    from arts_lite.experiments.ablation_report import write_ablation_report
    from arts_lite.experiments.sizes import FULL_ABLATION, QUICK_ABLATION

    proposer, sha256 = _proposer(options["proposer"])
    sizes = QUICK_ABLATION if options["quick"] else FULL_ABLATION
    plan = Ablation(sizes, options["seeds"], options["threads"], proposer, sha256)

    def report(folder: Path, timings: Sequence[Timing]) -> list[Path]:
        return write_ablation_report(folder, measure_ablation(folder, sizes, options["seeds"]), timings)

    _run(ctx, plan.stages(), options, report, needs=("torch",))


def _run(
    ctx: click.Context,
    stages: Sequence[Stage],
    options: dict[str, Any],
    report: Callable[[Path, Sequence[Timing]], list[Path]],
    *,
    needs: Sequence[str],
) -> None:
    from arts_lite.engine.machine import physical_cores
    from arts_lite.experiments.pipeline import Pipeline

    say: Callable[[str], None] = (lambda _text: None) if options["quiet"] else (lambda text: click.echo(text, err=True))
    num = len(stages)
    jobs = options["jobs"] or min(physical_cores(), _MOST_JOBS)

    def begin(number: int, stage: Stage, is_done: bool) -> None:
        say(f"[{number}/{num}] {stage.name}: {'done before' if is_done else f'about {stage.minutes:.1f} minutes'}")

    pipeline = Pipeline(
        Path(options["out"]),
        stages,
        tell=lambda number, stage, line: say(f"[{number}/{num}] {stage.name}: {line}"),
        begin=begin,
        jobs=jobs,
    )
    if options["dry_run"]:
        _print_plan(pipeline, jobs)
        return
    if missing := [package for package in needs if find_spec(package) is None]:
        extra = "grpo,report" if "trl" in needs else "train"
        raise Failure(f"this needs {' and '.join(missing)}. Run: pip install 'arts-lite[{extra}]'")
    with on_interrupt(pipeline.interrupt):
        is_done = pipeline.run(redo=options["redo"])
    if not is_done:
        say("interrupted; run the same command to go on")
        ctx.exit(INTERRUPTED)
    timings = pipeline.timings()
    paths = report(pipeline.folder, timings)
    for one in timings:
        say(f"{one.seconds / 60:6.1f} minutes (expected {one.expected_s / 60:5.1f})  {one.stage}")
    say(f"{sum(one.seconds for one in timings) / 60:6.1f} minutes in all, one after another")
    for path in paths:
        click.echo(str(path))


def _print_plan(pipeline: Pipeline, jobs: int) -> None:
    """Print each stage, its expected minutes, whether it is done, and how long all of them take by the clock."""
    from arts_lite.experiments.stage import expected_minutes

    changed = {stage.name for stage in pipeline.changed()}
    left = []
    for number, stage in enumerate(pipeline.stages, 1):
        if not (is_done := pipeline.is_done(stage)):
            left.append(stage)
        state = "done" if is_done else "other settings" if stage.name in changed else ""
        click.echo(f"{number:3}  {stage.minutes:6.1f} min  {stage.name:<36} {state}".rstrip())
    whole, rest = expected_minutes(pipeline.stages, jobs), expected_minutes(left, jobs)
    how = "one after another" if jobs == 1 else f"{jobs} side by side"
    click.echo(f"{len(pipeline.stages)} stages, about {whole:.0f} minutes {how} on two CPU cores, {rest:.0f} to do")


def _proposer(path: str | None) -> tuple[str | None, str]:
    """Return the proposer's whole path, None for the embedded one, and the file's digest."""
    from arts_lite.proposer import embedded_proposer

    file = embedded_proposer() if path is None else Path(path).absolute()
    try:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise Failure(f"{file} cannot be read: {error.strerror or error}; check the path.") from error
    return (None if path is None else str(file)), digest
