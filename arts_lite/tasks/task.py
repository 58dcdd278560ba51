"""A task: what the problems are, how they are asked, what counts as their answer."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from arts_lite.tasks.answers import extract_answer, same_answer
from arts_lite.tasks.arithmetic import arithmetic_problems, extract_arithmetic, grade_arithmetic
from arts_lite.tasks.countdown import countdown_problems, extract_countdown, grade_countdown, same_countdown
from arts_lite.tasks.grading import Grader, MathGrader
from arts_lite.tasks.problem import Problem
from arts_lite.tasks.rows import Columns, gsm8k_answer, read_rows, row_problems

_COUNTDOWN = """Use the numbers of this puzzle, each at most once, with + - * / and parentheses: {question}.
Put one expression that equals the target within \\boxed{{}}, without an equals sign."""


@dataclass(frozen=True)
class Task:
    """One kind of problem.

    Attributes:
        name: of the task.
        prompt_template: text with ``{question}`` (literal braces doubled).
        extract: finds the answer in a trace's text; None: there is none.
        same: whether two answers are equal.
        grade: whether an answer solves the problem.
        columns: of the task's published files; None for generated problems.
        generate: problems of (seed, split); None for tasks that are read from files.
        answer_of: turns a file's answer column into the answer.
    """

    name: str
    prompt_template: str
    extract: Callable[[str], str | None]
    same: Callable[[str, str], bool]
    grade: Callable[[Problem, str], bool]
    columns: Columns | None = None
    generate: Callable[[int, str], Iterator[Problem]] | None = None
    answer_of: Callable[[str], str] | None = None

    def prompt(self, problem: Problem) -> str:
        """Write what the proposer is asked."""
        return self.prompt_template.format(question=problem.question)

    def read(self, source: str | os.PathLike[str], split: str = "test") -> Iterator[Problem]:
        """Read the problems of a file or hub name. Raises DataError; ValueError: the task makes its own problems."""
        if self.columns is None:
            raise ValueError(f"task {self.name!r} generates its problems; it reads no file")
        return row_problems(read_rows(source, split), self.columns, self.answer_of)


def make_task(
    name: str,
    *,
    prompt: str | os.PathLike[str] | None = None,
    grader: Grader | None = None,
    columns: Columns | None = None,
) -> Task:
    """Make a task.

    Args:
        name: one of `TASKS`.
        prompt: a template, or a file with one, instead of the task's own.
        grader: instead of math-verify, or of the generated tasks' checkers.
        columns: instead of the published files' ones.

    Raises:
        ValueError: no such task, or a template that cannot be used.
    """
    if name not in _MAKERS:
        raise ValueError(f"task is {name!r}, but must be one of {', '.join(_MAKERS)}")
    task = _MAKERS[name]()
    if grader is not None:
        task = replace(task, grade=_by(grader))
    elif task.generate is None:
        task = replace(task, grade=_by(MathGrader()))
    if columns is not None and task.columns is not None:
        task = replace(task, columns=columns)
    return task if prompt is None else replace(task, prompt_template=read_prompt(prompt))


def read_prompt(prompt: str | os.PathLike[str]) -> str:
    """Return a template: the text itself if it holds ``{question}``, else the file's content.

    Raises:
        ValueError: the file cannot be read, or the template lacks ``{question}`` or does not format.
    """
    text = str(prompt)
    if "{question}" not in text:
        try:
            text = Path(prompt).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise ValueError(
                f"prompt {str(prompt)!r} is neither a text with {{question}} nor a file that can be read ({error})"
            ) from error
    try:
        is_usable = "?!" in text.format(question="?!")
    except (ValueError, KeyError, IndexError, AttributeError) as error:
        raise ValueError(f"prompt {str(prompt)!r} does not format ({error}); double every other brace") from error
    if not is_usable:
        raise ValueError(f"prompt {str(prompt)!r} does not hold {{question}}; say where the question goes")
    return text


def load_grader(name: str) -> Grader:
    """Import a grader, a callable of (answer, gold) -> bool, by ``module:function``; the working directory counts.

    Raises:
        ValueError: there is no such callable.
    """
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise ValueError(f"grader is {name!r}, but must be module:function")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        grader = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"grader {name!r} cannot be imported: {error}; check the name and PYTHONPATH") from error
    try:
        inspect.signature(grader).bind("answer", "gold")
    except (TypeError, ValueError) as error:
        raise ValueError(f"grader {name!r} is no callable of (answer, gold): {error}") from error
    return lambda answer, gold: bool(grader(answer, gold))


def _by(grader: Grader) -> Callable[[Problem, str], bool]:
    return lambda problem, answer: grader(answer, problem.answer)


def _countdown() -> Task:
    return Task(
        "countdown", _COUNTDOWN, extract_countdown, same_countdown, grade_countdown, generate=countdown_problems
    )


def _arithmetic() -> Task:
    return Task(
        "arithmetic", "{question}", extract_arithmetic, same_answer, grade_arithmetic, generate=arithmetic_problems
    )


def _from_files(name: str, columns: Columns, answer_of: Callable[[str], str] | None = None) -> Callable[[], Task]:
    never: Callable[[Problem, str], bool] = lambda _problem, _answer: False  # noqa: E731 - replaced by `make_task`
    return lambda: Task(name, "{question}", extract_answer, same_answer, never, columns, answer_of=answer_of)


_MAKERS: dict[str, Callable[[], Task]] = {
    "countdown": _countdown,
    "arithmetic": _arithmetic,
    "gsm8k": _from_files("gsm8k", Columns("question"), gsm8k_answer),
    "math": _from_files("math", Columns("problem", "answer", "unique_id")),
    "jsonl": _from_files("jsonl", Columns("problem")),
}
TASKS = tuple(_MAKERS)
"""Names of the tasks."""
