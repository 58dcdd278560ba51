"""Problems that our own tiny models read: a person's question in, the plain form out.

A model's file names these tasks in `arts.tasks`; it was trained on their plain forms and on nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from arts_lite.errors import UnsupportedQuestionError
from arts_lite.tasks.arithmetic import read_arithmetic
from arts_lite.tasks.countdown import read_countdown
from arts_lite.tasks.problem import Problem
from arts_lite.tasks.task import Task, make_task
from arts_lite.tasks.traces import plain_prompt

_READERS: Mapping[str, tuple[Callable[[str], Problem | None], str]] = {
    "countdown": (read_countdown, '"make 24 from 3, 5, 7, 8" (or 24: 3 5 7 8)'),
    "arithmetic": (read_arithmetic, '"what is 17 * (23 - 5) + 412?" (or 17*(23-5)+412)'),
}
PLAIN_TASKS = tuple(_READERS)
"""Names of the tasks that have a plain form."""


@dataclass(frozen=True, slots=True)
class PlainProblem:
    """A question that was understood.

    Attributes:
        prompt: what the model is asked.
        checks: whether the task's own checker can tell a right answer from the question alone; elsewhere that would be
            working the problem out.
    """

    task: Task
    problem: Problem
    prompt: str
    checks: bool

    def same(self, a: str, b: str) -> bool:
        """Whether two answers are equal; with a checker also that they are equally right."""
        return self.task.same(a, b) and (not self.checks or self.accepts(a) == self.accepts(b))

    def accepts(self, answer: str) -> bool:
        """Whether an answer solves the problem."""
        return self.task.grade(self.problem, answer)


def read_plain(question: str, tasks: Sequence[str]) -> PlainProblem:
    """Read a question as a problem of one of these tasks.

    Raises:
        UnsupportedQuestionError: it is none; the message says what can be asked.
    """
    known = [name for name in tasks if name in _READERS]
    for name in known:
        if (problem := _READERS[name][0](question)) is not None:
            return PlainProblem(make_task(name), problem, plain_prompt(problem), name == "countdown")
    can = " and ".join(_READERS[name][1] for name in known) or "nothing that this version knows"
    shown = question if len(question) <= 80 else question[:77] + "..."
    raise UnsupportedQuestionError(
        f"{shown!r} is no question for this small model: it answers {can}. Ask that, or give a model of your own with "
        "--proposer FILE.gguf (in Python: proposer=...)"
    )
