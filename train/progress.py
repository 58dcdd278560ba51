"""How far a training run is, on a terminal or as lines."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

_LINE_EVERY_S = 30.0


class TrainingDisplay:
    """A bar where stderr is a terminal, else a line now and then.

    Args:
        total: of what `show` counts, such as samples or steps.
    """

    def __init__(
        self, total: int, unit: str, *, is_quiet: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._total = total
        self._unit = unit
        self._is_quiet = is_quiet
        self._clock = clock
        self._began_s: float | None = None
        self._began_at = 0
        self._told_s = clock()
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        console = Console(stderr=True, highlight=False)
        if console.is_terminal and not is_quiet:
            columns = (TextColumn("training"), BarColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
            self._bar = Progress(*columns, console=console)

    def say(self, text: str) -> None:
        """Print a line."""
        if self._is_quiet:
            return
        if self._bar is not None and self._bar.live.is_started:
            self._bar.console.print(text, markup=False)
        else:
            click.echo(text, err=True)

    def show(self, done: int, text: str) -> None:
        """Take in how much is done."""
        if self._began_s is None:  # what was done before a resumption says nothing about the speed
            self._began_s, self._began_at = self._clock(), done
        seconds = self._clock() - self._began_s
        rate = (done - self._began_at) / seconds if seconds > 0 else 0.0
        if self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task("", total=self._total)
            told = f"{text}, {_rate_text(rate)} {self._unit}/s" if rate else text
            self._bar.update(self._task, completed=min(done, self._total), description=told)
        elif self._clock() - self._told_s >= _LINE_EVERY_S:
            self._told_s = self._clock()
            left = f", {_clock_text((self._total - done) / rate)} left" if rate > 0 else ""
            self.say(f"{done:,}/{self._total:,} {self._unit}, {text}, {_rate_text(rate)} {self._unit}/s{left}")

    def __enter__(self) -> TrainingDisplay:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


def _rate_text(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def _clock_text(seconds: float) -> str:
    minutes, rest = divmod(int(max(seconds, 0)), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
