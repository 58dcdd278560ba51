"""How far the stages of a long run are, on a terminal or as lines."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

_LINE_EVERY_S = 30.0


class StageDisplay:
    """A bar for each stage where stderr is a terminal, else a line now and then and at a stage's end."""

    def __init__(self, *, is_quiet: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._is_quiet = is_quiet
        self._clock = clock
        self._told_s = clock()
        self._bar: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._current: tuple[str, str] | None = None
        self._last_told = ""
        console = Console(stderr=True, highlight=False)
        if console.is_terminal and not is_quiet:
            columns = (TextColumn("{task.fields[stage]}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bar = Progress(*columns, TextColumn("{task.description}"), console=console)

    def say(self, text: str) -> None:
        """Print a line."""
        if not self._is_quiet:
            click.echo(text, err=True)

    def show(self, stage: str, num_done: int, num_all: int, note: str = "") -> None:
        """Take in how far a stage is."""
        if self._bar is not None:
            if stage not in self._tasks:
                self._tasks[stage] = self._bar.add_task("", total=num_all, stage=stage)
            self._bar.update(self._tasks[stage], completed=num_done, description=note)
            return
        if self._current is not None and self._current[0] != stage:
            self._tell()
        self._current = (stage, f"{stage}: {num_done}/{num_all}" + (f", {note}" if note else ""))
        if self._clock() - self._told_s >= _LINE_EVERY_S:
            self._tell()

    def __enter__(self) -> StageDisplay:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        else:
            self._tell()

    def _tell(self) -> None:
        if self._current is not None and self._current[1] != self._last_told:
            self.say(self._current[1])
            self._last_told = self._current[1]
        self._told_s = self._clock()
