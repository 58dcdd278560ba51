"""Problems that our own tiny models read: a person's question in, the plain form out.

A model's file names these tasks in `arts.tasks`; it was trained on their plain forms and on nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from arts_lite.errors import UnsupportedQuestionError
from arts_lite.tasks.arithmetic import arithmetic_problem
from arts_lite.tasks.countdown import OPERATORS
from arts_lite.tasks.phrasings import find_expression, read_countdown
from arts_lite.tasks.problem import Problem
from arts_lite.tasks.reduction import Token, read_tokens, reduced, reducible, value_at
from arts_lite.tasks.task import Task, make_task
from arts_lite.tasks.traces import plain_prompt

NUM_NUMBERS, NUMBERS, TARGETS = (3, 5), (1, 50), (10, 200)
"""What Countdown's training covers, both ends included: the extremes of `train/mixture.py` (a test sees to it)."""
NUM_OPERATORS, OPERANDS, LARGEST_VALUE = (1, 6), (1, 999), 9999
"""What arithmetic's training covers; the largest value is that of any result on the way."""


@dataclass(frozen=True, slots=True)
class PlainProblem:
    """A question that was understood.

    Attributes:
        prompt: what the model is asked.
        checks: whether the task's own checker can tell a right answer from the question alone; elsewhere that would be
            working the problem out.
        beyond: in what the problem exceeds the model's training; "" if in nothing.
    """

    task: Task
    problem: Problem
    prompt: str
    checks: bool
    beyond: str

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
    known = [name for name in tasks if name in _KINDS]
    for name in known:
        kind = _KINDS[name]
        if (problem := kind.read(question)) is not None:
            return PlainProblem(make_task(name), problem, plain_prompt(problem), kind.checks, kind.beyond(problem))
    can = " and ".join(_KINDS[name].examples for name in known) or "nothing that this version knows"
    raise UnsupportedQuestionError(
        f"{_shown(question)} is no question for this small model: it answers {can}. Ask that, or give a model of your "
        "own with --proposer FILE.gguf (in Python: proposer=...)"
    )


def _arithmetic(question: str) -> Problem | None:
    """Read an expression. Raises UnsupportedQuestionError: it has no value among the integers."""
    expression = find_expression(question)
    if expression is None:
        return None
    try:
        return arithmetic_problem(expression)
    except ValueError as error:
        raise UnsupportedQuestionError(
            f"{_shown(question)} cannot be asked here ({error}): this small model works with integers, so every "
            "division must come out even. Ask something else, or give a model of your own with --proposer FILE.gguf"
        ) from error


def _beyond_countdown(problem: Problem) -> str:
    numbers, target = problem.metadata["numbers"], problem.metadata["target"]
    found = []
    if not _is_within(len(numbers), NUM_NUMBERS):
        found.append(f"{len(numbers)} numbers instead of {NUM_NUMBERS[0]} to {NUM_NUMBERS[1]}")
    if not all(_is_within(number, NUMBERS) for number in numbers):
        found.append(f"numbers outside {NUMBERS[0]} to {NUMBERS[1]}")
    if not _is_within(target, TARGETS):
        found.append(f"a target outside {TARGETS[0]} to {TARGETS[1]}")
    return ", ".join(found)


def _beyond_arithmetic(problem: Problem) -> str:
    tokens = read_tokens(problem.metadata["expression"])
    num_operators = sum(isinstance(token, str) and token in OPERATORS for token in tokens)
    found = []
    if not _is_within(num_operators, NUM_OPERATORS):
        found.append(f"{num_operators} operators instead of {NUM_OPERATORS[0]} to {NUM_OPERATORS[1]}")
    if not all(_is_within(token, OPERANDS) for token in tokens if isinstance(token, int)):
        found.append(f"numbers outside {OPERANDS[0]} to {OPERANDS[1]}")
    if _largest_value(tokens) > LARGEST_VALUE:
        found.append(f"results beyond {LARGEST_VALUE}")
    return ", ".join(found)


def _largest_value(tokens: list[Token]) -> int:
    largest = 0
    while len(tokens) > 1:
        place = reducible(tokens)[0]
        value = value_at(tokens, place)
        largest, tokens = max(largest, abs(value)), reduced(tokens, place, value)
    return largest


def _is_within(number: int, ends: tuple[int, int]) -> bool:
    return ends[0] <= number <= ends[1]


def _shown(question: str) -> str:
    return repr(question if len(question) <= 80 else question[:77] + "...")


@dataclass(frozen=True, slots=True)
class _Kind:
    read: Callable[[str], Problem | None]
    examples: str
    checks: bool
    beyond: Callable[[Problem], str]


_KINDS: Mapping[str, _Kind] = {
    "countdown": _Kind(read_countdown, '"make 24 from 3, 5, 7, 8" (or 24: 3 5 7 8)', True, _beyond_countdown),
    "arithmetic": _Kind(_arithmetic, '"what is 17 * (23 - 5) + 412?" (or 17*(23-5)+412)', False, _beyond_arithmetic),
}
PLAIN_TASKS = tuple(_KINDS)
"""Names of the tasks that have a plain form."""
