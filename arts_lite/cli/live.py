"""The tree, growing on a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text
from rich.tree import Tree

from arts_lite.cli.show import Display, summary
from arts_lite.cli.texts import one_line, printable
from arts_lite.cli.watch import Watch, WatchedBranch, WatchedQuestion
from arts_lite.solver import Solved, SolverEvent

_STYLES = {"running": "cyan", "ended": "green", "pruned": "dim"}
_ROWS_BESIDE = 5  # of the terminal: question, votes, counters, and a margin
_MIN_ROWS = 4
_REFRESH_S = 0.2


class LiveDisplay(Display):
    """Draws the tree of the first open question, with votes, tokens/s and time left below."""

    def __init__(self, watch: Watch, console: Console | None = None) -> None:
        self._watch = watch
        self._console = console or Console(stderr=True, highlight=False)
        self._live: Live | None = None
        self._drawn_s = 0.0

    def show(self, event: SolverEvent) -> None:
        """Take an event in, and draw a few times a second."""
        self._watch.note(event)
        if self._live is not None and time.monotonic() - self._drawn_s > _REFRESH_S:
            self._live.refresh()
            self._drawn_s = time.monotonic()
        if isinstance(event, Solved) and event.solution.error is None:
            for line in summary(event.solution):
                self.say(line)

    def say(self, text: str) -> None:
        """Print a line above the tree."""
        style = "dim" if text.startswith(" ") else ""
        self._console.print(Text(printable(text), style=style))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Take the tree off the terminal meanwhile: stdout may be the same one."""
        if self._live is None:
            yield
            return
        self._stop()
        yield
        if self._watch.current is not None or len(self._watch.questions) < len(self._watch.texts):
            self._start()

    def __enter__(self) -> LiveDisplay:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    def _start(self) -> None:
        self._live = Live(
            console=self._console,
            get_renderable=self._draw,
            transient=True,
            auto_refresh=False,  # a thread of its own would see the watch change while it draws
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _draw(self) -> RenderableType:
        """Draw the current state."""
        current = self._watch.current
        if current is None:
            return Text(self._counters())
        number, question = current
        title = one_line(question.text)
        if len(self._watch.texts) > 1:
            title = f"{number + 1}/{len(self._watch.texts)} {title}"
        tree = Tree(Text(title, style="bold", no_wrap=True, overflow="ellipsis"), guide_style="dim")
        _add_branches(tree, question, max(_MIN_ROWS, self._console.height - _ROWS_BESIDE))
        votes = ", ".join(f"{one_line(answer)} x{count}" for answer, count in question.votes().most_common(5))
        lines = [Text(f"answers: {votes}", no_wrap=True, overflow="ellipsis")] if votes else []
        return Group(tree, *lines, Text(self._counters(), no_wrap=True, overflow="ellipsis"))

    def _counters(self) -> str:
        watch, progress = self._watch, self._watch.progress
        if progress.num_tokens_decoded == 0:
            return "reading the question ..." if watch.questions else "loading the model ..."
        parts = [
            f"{progress.num_tokens_decoded:,} tokens",
            f"{watch.tokens_per_second:.1f} tokens/s",
            f"{progress.num_running} running",
        ]
        if len(watch.texts) > 1:
            parts.append(f"{progress.num_finished} of {len(watch.texts)} questions done")
        left = watch.seconds_left()
        if left is not None:
            parts.append(f"{'at most' if left[1] else 'about'} {_duration(left[0])} left")
        return " | ".join(parts)


def _add_branches(tree: Tree, question: WatchedQuestion, max_rows: int) -> None:
    """Add as many branches as there are rows: those at work, and the latest of the others."""
    branches = list(question.branches)
    kept = sorted(branches, key=lambda branch: (branch.state != "running", -branch.index))[:max_rows]
    nodes: dict[int, Tree] = {}
    for branch in sorted(kept, key=lambda branch: branch.index):
        above = tree if branch.parent is None else nodes.get(branch.parent, tree)
        nodes[branch.index] = above.add(_label(branch))
    if len(kept) < len(branches):
        tree.add(Text(f"and {len(branches) - len(kept)} more", style="dim"))


def _label(branch: WatchedBranch) -> Text:
    label = Text(no_wrap=True, overflow="ellipsis")
    label.append(f"{branch.index:>3} ", style=_STYLES[branch.state])
    if branch.state == "ended":
        label.append("no answer" if branch.answer is None else f"= {one_line(branch.answer)}", style="bold")
        label.append("" if branch.score is None else f"  {branch.score:.3g}", style="dim")
    elif branch.state == "pruned":
        label.append(one_line(branch.note), style="dim")
    else:
        label.append(f"step {branch.num_steps + 1} ", style="dim")
        label.append(one_line(branch.last_step))
    return label


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
