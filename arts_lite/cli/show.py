"""What a user sees on stderr while a search runs: nothing, plain lines, or the growing tree."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

import click

from arts_lite.cli.texts import one_line, printable
from arts_lite.cli.watch import Watch
from arts_lite.search import Candidate
from arts_lite.search.events import BranchPruned, QuestionStarted, TraceEnded
from arts_lite.solver import Solution, Solved, SolverConfig, SolverEvent

_MAX_CANDIDATES = 5
_CHOOSERS = {"checker": "the task's own checker, which accepts it"}  # others go by their names


class Display:
    """Shows nothing but errors."""

    def show(self, event: SolverEvent) -> None:
        """Take an event in."""

    def say(self, text: str) -> None:
        """Show a line."""

    def complain(self, text: str) -> None:
        """Show a line that may not be left out."""
        with self.paused():
            click.echo(one_line(text), err=True)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the terminal to others meanwhile."""
        yield

    def __enter__(self) -> Display:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None


class PlainDisplay(Display):
    """Prints a line per trace and a summary per question."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def show(self, event: SolverEvent) -> None:
        """Take an event in."""
        self.watch.note(event)
        match event:
            case QuestionStarted():
                self.say(f"{self._name(event.question)}{event.num_prompt_tokens} prompt tokens")
            case TraceEnded():
                question = self.watch.questions[event.question]
                score = "" if event.score is None else f", score {event.score:.3g}"
                answer = "no answer" if event.answer is None else f"answer {event.answer}"
                self.say(
                    f"{self._name(event.question)}trace {event.branch} ended ({event.reason.value}): {answer}{score} "
                    f"[{question.num_ended} of {max(self.watch.config.n, question.num_kept)}]"
                )
            case BranchPruned():
                self.say(f"{self._name(event.question)}trace {event.branch} pruned: {event.why}")
            case Solved() if event.solution.error is None:
                for line in summary(event.solution):
                    self.say(self._name(event.question) + line)

    def say(self, text: str) -> None:
        """Print a line."""
        click.echo(one_line(text) if not text.startswith(" ") else "  " + one_line(text), err=True)

    def _name(self, question: int) -> str:
        return f"question {question + 1}: " if len(self.watch.texts) > 1 else ""


def summary(solution: Solution) -> list[str]:
    """Tell in a few lines what a search came to: the chosen trace, what chose it, the costs."""
    lines = [f"  {line}" for line in printable(solution.text).splitlines() if line.strip()]
    others = list(solution.candidates)
    if solution.answer is not None:
        others = others[1:]
        score = "" if solution.score is None else f", score {solution.score:.3g}"
        chooser = _CHOOSERS.get(solution.chosen_by, solution.chosen_by)
        votes = f"{_count(solution.votes, 'vote')} of {solution.num_traces}"
        lines.append(f"{solution.answer}: {votes}{_listed(others)}{score}; chosen by {chooser}")
    elif solution.chosen_by == "checker" and solution.num_traces:
        lines.append(f"the task's own checker accepts no answer of {solution.num_traces} traces{_listed(others)}")
    reason = "" if solution.stopped_by is None else f"; stopped by: {solution.stopped_by.value}"
    lines.append(
        f"{_count(solution.num_traces, 'trace')}, {_count(solution.num_nodes, 'node')}, "
        f"{_count(solution.num_tokens_decoded, 'token')} decoded and {solution.num_tokens_shared:,} shared "
        f"in {solution.seconds:.1f} s ({solution.tokens_per_second:.1f} tokens/s){reason}"
    )
    return lines


def make_display(questions: list[str], config: SolverConfig, *, is_quiet: bool) -> Display:
    """Choose by what stderr is."""
    if is_quiet:
        return Display()
    watch = Watch(questions, config)
    if not sys.stderr.isatty():
        return PlainDisplay(watch)
    from arts_lite.cli.live import LiveDisplay  # rich takes a while to import

    return LiveDisplay(watch)


def _listed(others: Sequence[Candidate]) -> str:
    """Name answers that were not chosen, the first few."""
    shown = [f"{one.answer}: {one.count}" for one in others[:_MAX_CANDIDATES]]
    shown += ["..."] if len(others) > _MAX_CANDIDATES else []
    return f" ({', '.join(shown)})" if shown else ""


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
