"""How far a dataset of trees is, on a terminal or as lines."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

if TYPE_CHECKING:
    from arts_lite.experiments import SdfProgress

_LINE_EVERY_S = 30.0


class ProgressDisplay:
    """A bar where stderr is a terminal, else a line now and then."""

    def __init__(self, *, is_quiet: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._is_quiet = is_quiet
        self._clock = clock
        self._told_s = clock()
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        console = Console(stderr=True, highlight=False)
        if console.is_terminal and not is_quiet:
            columns = (TextColumn("trees"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
            self._bar = Progress(*columns, console=console)

    def say(self, text: str) -> None:
        """Print a line."""
        if not self._is_quiet:
            click.echo(text, err=True)

    def show(self, progress: SdfProgress) -> None:
        """Take the counters in."""
        if self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task("", total=progress.num_problems)
            self._bar.update(self._task, completed=progress.num_done, description=counters(progress))
        elif self._clock() - self._told_s >= _LINE_EVERY_S:
            self._told_s = self._clock()
            self.say(f"{progress.num_done}/{progress.num_problems} trees, {counters(progress)}")

    def end(self, progress: SdfProgress, path: Path) -> None:
        """Say what has come of the run."""
        before = f" ({progress.num_before} of them before)" if progress.num_before else ""
        self.say(
            f"{progress.num_done} of {progress.num_problems} trees in {path}{before}, {counters(progress, at_end=True)}"
        )
        if progress.num_failed:
            click.echo(f"{progress.num_failed} problems failed; the last one: {progress.why}", err=True)

    def __enter__(self) -> ProgressDisplay:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


def counters(progress: SdfProgress, *, at_end: bool = False) -> str:
    """Speed, share correct and time left, in a line."""
    seconds = max(progress.seconds, 1e-9)
    parts = [f"{progress.trees_per_second:.2f} trees/s", f"{progress.num_tokens / seconds:,.0f} tokens/s"]
    if progress.num_leaves:
        parts.append(f"{progress.num_correct / progress.num_leaves:.1%} of {progress.num_leaves:,} leaves correct")
    if progress.seconds_left is not None and not at_end:
        minutes, rest = divmod(int(progress.seconds_left), 60)
        parts.append(f"{minutes // 60}:{minutes % 60:02}:{rest:02} left")
    return ", ".join(parts)
