"""Countdown: reach a target with given numbers, each used at most once, by + - * /.

A trace has one step a line, `a op b=c; rest`, where `rest` are the numbers that are left, c the last of them; a line
that leaves one number only has no rest. Steps stay within the integers (a quotient must be exact), answers need not.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from arts_lite.tasks.answers import extract_answer
from arts_lite.tasks.expression import evaluate, tidy
from arts_lite.tasks.problem import Problem, check_split, split_of

OPERATORS = "+-*/"
_MAX_TRIES = 100_000
_STEP = re.compile(r"\s*(-?\d{1,12})\s*([-+*/])\s*(-?\d{1,12})\s*=\s*(-?\d{1,12})\s*(?:;([-\d\s]*))?")
_IN_TEXT = re.compile(r"[\d(][\d\s()+*/\u00d7\u00f7\u2212-]{2,200}")


@dataclass(frozen=True, slots=True)
class CountdownDifficulty:
    """How hard generated problems are.

    Attributes:
        num_numbers: in [2, 8].
        max_number: numbers are drawn from 1 to it.
        min_target, max_target: the target's range, both included.
        max_value: no step of the construction exceeds it.

    Raises:
        ValueError: a value is outside its range.
    """

    num_numbers: int = 4
    max_number: int = 20
    min_target: int = 10
    max_target: int = 99
    max_value: int = 400

    def __post_init__(self) -> None:
        if not 2 <= self.num_numbers <= 8:
            raise ValueError(f"num_numbers is {self.num_numbers}, but must be in [2, 8]")
        if self.max_number < 2:
            raise ValueError(f"max_number is {self.max_number}, but must be >= 2")
        if not 1 <= self.min_target <= self.max_target <= self.max_value:
            raise ValueError(
                f"targets {self.min_target} to {self.max_target} must be a range within 1 to max_value "
                f"({self.max_value})"
            )


@dataclass(frozen=True, slots=True)
class CountdownCheck:
    """What is to be said about a trace.

    Attributes:
        first_wrong: index of the first line that is no legal step; None if all are.
        why: what is wrong with it; "" if nothing is.
        num_steps: legal steps before it.
        is_solved: whether all lines are legal and the last one reaches the target.
    """

    first_wrong: int | None
    why: str
    num_steps: int
    is_solved: bool


def countdown_problem(numbers: Sequence[int], target: int) -> Problem:
    """Make the problem of these numbers (their order is kept) and this target."""
    key = f"countdown {target} from {' '.join(map(str, sorted(numbers)))}"
    question = f"make {target} from {', '.join(map(str, numbers))}"
    metadata = {"numbers": list(numbers), "target": target, "split": split_of(key)}
    return Problem(key.replace(" ", "-"), question, str(target), metadata)


def countdown_problems(
    seed: int, split: str = "train", difficulty: CountdownDifficulty | None = None
) -> Iterator[Problem]:
    """Generate different solvable problems of a split without end; a function of the arguments.

    Raises:
        ValueError: no such split, or the difficulty has no further problem.
    """
    check_split(split)
    difficulty = difficulty or CountdownDifficulty()
    rng = Random(f"countdown {split} {seed}")
    seen: set[str] = set()
    num_tries = 0
    while True:
        problem, _ = solved_countdown(rng, difficulty)
        num_tries += 1
        if problem.metadata["split"] == split and problem.id not in seen:
            seen.add(problem.id)
            num_tries = 0
            yield problem
        elif num_tries > _MAX_TRIES:
            raise ValueError(
                f"after {len(seen)} different {split} problems no further one was found at {difficulty}; "
                "ask for fewer, or make the ranges wider"
            )


def solved_countdown(rng: Random, difficulty: CountdownDifficulty) -> tuple[Problem, str]:
    """Draw a problem by random legal steps, together with the trace of these steps."""
    for _ in range(_MAX_TRIES):
        numbers = [rng.randint(1, difficulty.max_number) for _ in range(difficulty.num_numbers)]
        trace, value = random_steps(rng, numbers, difficulty.max_value)
        if difficulty.min_target <= value <= difficulty.max_target and value not in numbers:
            return countdown_problem(numbers, value), trace
    raise ValueError(f"no solvable problem was found at {difficulty}; make the range of targets wider")


def missed_countdown(rng: Random, problem: Problem, max_value: int = 400) -> str:
    """Draw a trace of legal steps that uses all numbers and ends elsewhere than at the target."""
    for _ in range(_MAX_TRIES):
        trace, value = random_steps(rng, problem.metadata["numbers"], max_value)
        if value != problem.metadata["target"]:
            return trace
    raise ValueError(f"every way through {problem.question!r} ends at the target; there is none that misses it")


def random_steps(rng: Random, numbers: Sequence[int], max_value: int) -> tuple[str, int]:
    """Combine numbers at random, larger operand first, until one is left; returns the trace and that number."""
    left = list(numbers)
    lines = []
    while len(left) > 1:
        first, second = rng.sample(range(len(left)), 2)
        a, b = max(left[first], left[second]), min(left[first], left[second])
        values = {"+": a + b, "-": a - b, "*": a * b}
        if b > 1 and a % b == 0:
            values["/"] = a // b
        legal = [op for op, value in values.items() if 0 < value <= max_value and not (op == "*" and b == 1)]
        if not legal:
            return random_steps(rng, numbers, max_value)
        op = rng.choice(legal)
        left = [number for place, number in enumerate(left) if place not in (first, second)] + [values[op]]
        lines.append(f"{a}{op}{b}={values[op]}" + (f"; {' '.join(map(str, left))}" if len(left) > 1 else ""))
    return "\n".join(lines), left[0]


def check_countdown(problem: Problem, trace: str) -> CountdownCheck:
    """Check every step of a trace exactly, and whether it reaches the target."""
    left = Counter[int](problem.metadata["numbers"])
    value: int | None = None
    lines = [line for line in trace.split("\n") if line.strip()]
    for index, line in enumerate(lines):
        match = _STEP.fullmatch(line)
        why = _fault(match, left) if match else "it is no step of the form a op b=c; rest"
        if why or match is None:
            return CountdownCheck(index, why, index, False)
        value = int(match[4])
    return CountdownCheck(None, "", len(lines), value == problem.metadata["target"])


def _fault(step: re.Match[str], left: Counter[int]) -> str:
    """Apply a step to the numbers that are left; "" or what is wrong with it."""
    a, b, value = int(step[1]), int(step[3]), int(step[4])
    for number in (a, b):
        if left[number] < 1:
            return f"{number} is not left"
        left[number] -= 1
    if not _is_exact(a, step[2], b, value):
        return f"{a}{step[2]}{b} is not {value}"
    left[value] += 1
    written = step[5]
    if written is None:
        return ""
    try:
        rest = Counter(map(int, written.split()))
    except ValueError:
        return f"the rest {written.strip()!r} is not a list of numbers"
    return "" if rest == +left else f"the rest is not {' '.join(map(str, sorted(left.elements())))}"


def _is_exact(a: int, op: str, b: int, value: int) -> bool:
    if op == "/":
        return b != 0 and b * value == a
    return value == (a + b if op == "+" else a - b if op == "-" else a * b)


def extract_countdown(text: str) -> str | None:
    r"""Return the expression that a text comes to: of a trace's steps, in a box, or the last one written out.

    A trace with a wrong sum gives the number that it claims, which is no solution.
    """
    lines = [line for line in text.split("\n") if line.strip()]
    steps = [_STEP.fullmatch(line) for line in lines]
    if steps and all(steps):
        return _expression_of([step for step in steps if step])
    boxed = extract_answer(text) if "boxed" in text or "nswer" in text else None
    candidates: list[str] = ([boxed] if boxed else []) + _IN_TEXT.findall(tidy(text[-4000:]))[::-1]
    for candidate in candidates:
        expression = candidate.split("=")[0].strip()
        try:
            if len(evaluate(expression).numbers) > 1:
                return expression
        except ValueError:
            continue
    return extract_answer(text)


def _expression_of(steps: list[re.Match[str]]) -> str:
    made: dict[int, list[str]] = {}
    for step in steps:
        a, b, value = int(step[1]), int(step[3]), int(step[4])
        if not _is_exact(a, step[2], b, value):
            return str(steps[-1][4])
        left, right = (made[number].pop() if made.get(number) else str(number) for number in (a, b))
        made.setdefault(value, []).append(f"({left}{step[2]}{right})")
    return made[int(steps[-1][4])][-1][1:-1]


def same_countdown(a: str, b: str) -> bool:
    """Tell whether two answers come to the same value."""
    try:
        return evaluate(a).value == evaluate(b).value
    except ValueError:
        return a.strip() == b.strip()


def grade_countdown(problem: Problem, answer: str) -> bool:
    """Whether an expression uses the problem's numbers, each at most once, and comes to its target, exactly."""
    try:
        evaluated = evaluate(answer.split("=")[0])
    except ValueError:
        return False
    used = Counter(evaluated.numbers)
    return evaluated.value == problem.metadata["target"] and used <= Counter(problem.metadata["numbers"])
