"""`arts-lite solve`."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import click

from arts_lite.cli.commands import FAILURE, INTERRUPTED, NO_ANSWER
from arts_lite.cli.interrupt import InThread, on_interrupt
from arts_lite.cli.options import (
    load_solver,
    model_options,
    output_options,
    sampling_options,
    search_options,
    search_settings,
    with_models_defaults,
)
from arts_lite.cli.picturing import PageFile
from arts_lite.cli.show import Display, make_display
from arts_lite.cli.texts import one_line, read_questions, valid_text
from arts_lite.cli.tracing import TraceFile
from arts_lite.solver import Solution, Solved, SolverConfig, SolverEvent


@click.command()
@click.argument("question", required=False, metavar="QUESTION", callback=valid_text)
@click.option("--file", metavar="FILE", help="Read questions from a file, one a line; '-': stdin.")
@model_options
@search_options
@sampling_options
@output_options
@click.option("--html", metavar="FILE.html", help="Draw the searched trees on a page for a browser.")
@click.pass_context
def solve(ctx: click.Context, /, question: str | None, file: str | None, **options: Any) -> None:
    """Answer a QUESTION by searching a model's reasoning ('-': questions from stdin, one a line).

    The answer alone goes to stdout, everything else to stderr. Ctrl-C ends with the best answer so far, a second one at
    once. Put -- before a QUESTION that begins with a dash.
    """
    questions = read_questions(question, file)
    config = search_settings(options)
    display = make_display(questions, config, is_quiet=options["quiet"])
    results = _Results(display, as_json=options["as_json"], num_questions=len(questions))
    run = _Run(questions, config, options)
    with ExitStack() as stack:
        stack.enter_context(_warnings_shown_by(display))
        trace = stack.enter_context(TraceFile(options["trace"]) if options["trace"] else nullcontext())
        stack.enter_context(display)
        page = stack.enter_context(PageFile(options["html"], display.say) if options["html"] else nullcontext())
        display.say(f"loading {options['proposer'] or 'the embedded proposer'}")
        events = InThread(run.events, run.stop)
        stack.enter_context(on_interrupt(lambda: run.interrupt(events)))
        for event in stack.enter_context(events):
            if isinstance(event, _Interrupted):
                display.say("interrupted: ending with the best answer so far (Ctrl-C again: at once)")
                continue
            display.show(event)
            if isinstance(event, Solved):
                if trace is not None and event.solution.tree is not None:
                    trace.write(event.solution.tree)
                if page is not None and event.solution.tree is not None:
                    page.add(event.question, event.solution.tree)
                results.add(event.question, event.solution)
    ctx.exit(INTERRUPTED if run.was_interrupted else results.exit_code)


@dataclass(frozen=True)
class _Interrupted:
    """The user pressed Ctrl-C."""


class _Run:
    """Loads the model and searches; its events are made in a thread of its own."""

    def __init__(self, questions: list[str], config: SolverConfig, options: Mapping[str, Any]) -> None:
        self._questions = questions
        self._config = config
        self._options = options
        self._cancel: Callable[[], None] | None = None
        self._is_stopped = False
        self.was_interrupted = False

    def events(self) -> Iterator[SolverEvent | _Interrupted]:
        """Yield what happens."""
        with load_solver(self._config, self._options, num_questions=len(self._questions)) as solver:
            call = solver.stream_many(self._questions, with_models_defaults(solver, self._options))
            self._cancel = call.cancel
            if self._is_stopped:
                call.cancel()
            yield from call

    def stop(self) -> None:
        """Make the events end soon."""
        self._is_stopped = True
        if self._cancel is not None:
            self._cancel()

    def interrupt(self, events: InThread[SolverEvent | _Interrupted]) -> bool:
        """End with the best answers so far; False while there is nothing to end yet. Called by a signal handler."""
        if self._cancel is None:
            return False
        self.was_interrupted = True
        events.put(_Interrupted())
        self.stop()
        return True


class _Results:
    """Prints results to stdout, in the order of the questions."""

    def __init__(self, display: Display, *, as_json: bool, num_questions: int) -> None:
        self._display = display
        self._as_json = as_json
        self._num_questions = num_questions
        self._waiting: dict[int, Solution] = {}
        self._next = 0
        self.exit_code = 0

    def add(self, number: int, solution: Solution) -> None:
        """Take a result; print it as soon as all before it have been printed."""
        self._waiting[number] = solution
        while self._next in self._waiting:
            self._print(self._waiting.pop(self._next))
            self._next += 1

    def _print(self, solution: Solution) -> None:
        if solution.error is not None:
            self.exit_code = FAILURE
            where = f"question {self._next + 1}: " if self._num_questions > 1 else ""
            self._display.complain(f"Error: {where}{solution.error}")
        elif solution.answer is None:
            self.exit_code = self.exit_code or NO_ANSWER
            if solution.chosen_by == "checker" and solution.candidates:
                self._display.say("no trace came to a right answer; more traces (--n) or another --seed may")
            else:
                self._display.say("no answer was found in any trace")
        if self._as_json:
            line = json.dumps(solution.to_dict(), ensure_ascii=False, allow_nan=False, default=str)
        else:
            line = one_line(solution.answer or "")
        if line or self._num_questions > 1:  # the n-th line is the n-th question's
            with self._display.paused():
                click.echo(line)
                sys.stdout.flush()


@contextmanager
def _warnings_shown_by(display: Display) -> Iterator[None]:
    """Show warnings as one line each."""
    with warnings.catch_warnings():
        for category in (UserWarning, RuntimeWarning):
            warnings.simplefilter("always", category)
        warnings.showwarning = lambda message, *_: display.say(f"warning: {message}")
        yield
