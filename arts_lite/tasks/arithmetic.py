"""Arithmetic: work out an integer expression, one operation a line.

A trace's line is `a op b=c; rest`, where `rest` is the expression with c in the operation's place; the last line has no
rest. A product may be split first: `17*18=(17*10+17*8); rest`. Correct traces come in styles (`reduction.STYLES`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from random import Random

from arts_lite.tasks.answers import extract_answer, same_answer
from arts_lite.tasks.drawing import drawn_tokens, is_wanted
from arts_lite.tasks.problem import Problem, check_split, split_of
from arts_lite.tasks.reduction import (
    STYLES,
    Choice,
    Token,
    can_split,
    lines_of,
    partial_products,
    read_tokens,
    reduced,
    reducible,
    split,
    value_at,
    write_tokens,
)

STYLE_RATES: Mapping[str, float] = {"left": 0.9, "inner": 0.09, "partial": 0.01}
"""How often each style occurs in generated traces: common, rare and endangered."""
_MAX_TRIES = 100_000
_LAST_LINE = re.compile(r"[^=;]+=\s*(-?\d{1,15})\s*")
_RUNAWAY = re.compile(r"[-+*/()\d\s]+=[-\d\s]*|[-+*/()\d\s]*\d{16}[-+*/()\d\s=;]*")
"""A last line that breaks off, or in which a number grew without end."""


@dataclass(frozen=True, slots=True)
class ArithmeticDifficulty:
    """How hard generated problems are.

    Attributes:
        num_operators: in [1, 12]; at least 3 for different styles: with fewer there is no choice of what comes first.
        max_number: numbers are drawn from 1 to it, by number of digits first.
        max_value: no value on the way exceeds it in size.
        operators: of which expressions are made; each quotient is exact.
        styles: whether the styles must give different traces, so that a trace's style can be told; needs a `*`.

    Raises:
        ValueError: a value is outside its range.
    """

    num_operators: int = 6
    max_number: int = 99
    max_value: int = 9999
    operators: str = "+-*"
    styles: bool = True

    def __post_init__(self) -> None:
        if not 1 + 2 * self.styles <= self.num_operators <= 12:
            raise ValueError(
                f"num_operators is {self.num_operators}, but must be in [1, 12], and at least 3 for different styles"
            )
        if not 9 <= self.max_number <= 999:
            raise ValueError(f"max_number is {self.max_number}, but must be in [9, 999]")
        if not self.operators or set(self.operators) - set("+-*/"):
            raise ValueError(f"operators is {self.operators!r}, but must be some of + - * /")
        if self.styles and ("*" not in self.operators or self.max_number < 20):
            raise ValueError("styles need products of two-digit numbers: allow * and a max_number >= 20")


@dataclass(frozen=True, slots=True)
class ArithmeticCheck:
    """What is to be said about a trace.

    Attributes:
        first_wrong: index of the first line that is no correct step; None if all are.
        why: what is wrong with it; "" if nothing is.
        style: the style, by the choice of operations alone (also of wrong traces); None if it is a mixture.
        is_complete: whether the last line ends with a number.
        is_correct: complete, and without a wrong line.
    """

    first_wrong: int | None
    why: str
    style: str | None
    is_complete: bool
    is_correct: bool


def arithmetic_problem(expression: str) -> Problem:
    """Make the problem of an expression. Raises ValueError: it is none, or a quotient is not exact."""
    tokens = read_tokens(expression)
    text = write_tokens(tokens)
    metadata = {"expression": text, "split": split_of(f"arithmetic {text}")}
    return Problem(f"arithmetic-{text}", f"what is {text}?", str(_value(tokens)), metadata)


def arithmetic_problems(
    seed: int, split: str = "train", difficulty: ArithmeticDifficulty | None = None
) -> Iterator[Problem]:
    """Generate different problems of a split without end; a function of the arguments.

    Raises:
        ValueError: no such split, or the difficulty has no further problem.
    """
    check_split(split)
    difficulty = difficulty or ArithmeticDifficulty()
    rng = Random(f"arithmetic {split} {seed}")
    seen: set[str] = set()
    num_tries = 0
    while True:
        problem = drawn_arithmetic(rng, difficulty)
        num_tries += 1
        if problem.metadata["split"] == split and problem.id not in seen:
            seen.add(problem.id)
            num_tries = 0
            yield problem
        elif num_tries > _MAX_TRIES:
            raise ValueError(f"after {len(seen)} different {split} problems no further one was found at {difficulty}")


def drawn_arithmetic(rng: Random, difficulty: ArithmeticDifficulty) -> Problem:
    """Draw one problem."""
    for _ in range(_MAX_TRIES):
        tokens = drawn_tokens(rng, difficulty, difficulty.num_operators, with_product=difficulty.styles)
        if is_wanted(tokens, difficulty):
            return arithmetic_problem(write_tokens(tokens))
    raise ValueError(f"no expression was found at {difficulty}; make max_value larger")


def arithmetic_trace(problem: Problem, style: str) -> str:
    """Work a problem out in a style. Raises ValueError: there is no such style."""
    if style not in STYLES:
        raise ValueError(f"style is {style!r}, but must be one of {', '.join(STYLES)}")
    tokens = read_tokens(problem.metadata["expression"])
    return "\n".join(lines_of(tokens, style))


def check_arithmetic(problem: Problem, trace: str) -> ArithmeticCheck:
    """Find a trace's style and its first wrong step."""
    tokens = read_tokens(problem.metadata["expression"])
    followed = _Followed(tokens)
    lines = [line for line in trace.split("\n") if line.strip()]
    for index, line in enumerate(lines):
        why = followed.take(line)
        if why and followed.first_wrong is None:
            followed.first_wrong, followed.why = index, why
        if followed.is_lost:
            break
    style = None if followed.is_lost or not lines else next(iter(followed.styles), None)
    is_correct = followed.is_complete and followed.first_wrong is None
    return ArithmeticCheck(followed.first_wrong, followed.why, style, followed.is_complete, is_correct)


def extract_arithmetic(text: str) -> str | None:
    """Return the number in which a trace ends, or the answer that running text states; None for a cut-off trace."""
    lines = [line for line in text.split("\n") if line.strip()]
    if lines and (last := _LAST_LINE.fullmatch(lines[-1])):
        return last[1]
    if lines and ((";" in lines[-1] and "=" in lines[-1]) or _RUNAWAY.fullmatch(lines[-1])):
        return None
    return extract_answer(text)


def grade_arithmetic(problem: Problem, answer: str) -> bool:
    """Whether an answer is the problem's value."""
    return same_answer(answer, problem.answer)


@dataclass
class _Followed:
    """A trace being followed, line by line."""

    tokens: list[Token]
    styles: list[str] = field(default_factory=lambda: list(STYLES))
    first_wrong: int | None = None
    why: str = ""
    is_lost: bool = False
    is_complete: bool = False

    def take(self, line: str) -> str:
        """Follow one line; "" or what is wrong with it."""
        head, _, rest = line.partition(";")
        operation, _, result = head.partition("=")
        if self.is_complete:
            self.is_lost, self.is_complete = True, False
            return "it goes on after the result"
        try:
            made, wanted = read_tokens(result), read_tokens(rest) if rest.strip() else None
            operation = write_tokens(read_tokens(operation))
        except ValueError:
            self.is_lost = True
            return "it is no step of the form a op b=c; rest"
        choices = [choice for choice in self._choices(made) if write_tokens(self._operation(choice[0])) == operation]
        if not choices:
            self.is_lost = True
            return f"{operation} is no operation that may be worked out next in {write_tokens(self.tokens)}"
        return self._follow(choices, made, wanted)

    def _follow(self, choices: list[Choice], made: list[Token], wanted: list[Token] | None) -> str:
        results = [self._result(choice, made) for choice in choices]
        expected = [[made] if len(result) == 1 else [result] for result in results]
        fits = [index for index, forms in enumerate(expected) if (wanted or made) in forms]
        chosen = fits or range(len(choices))
        self.styles = [style for style in self.styles if STYLES[style](self.tokens) in [choices[n] for n in chosen]]
        why = self._fault(choices[chosen[0]], made)
        if not fits:
            why = why or f"the rest is not {write_tokens(results[0])}"
        self.tokens = results[chosen[0]] if wanted is None or fits else wanted
        self.is_complete = len(self.tokens) == 1
        return why

    def _choices(self, made: list[Token]) -> list[Choice]:
        is_split = len(made) > 1
        return [(place, is_split) for place in reducible(self.tokens) if not is_split or can_split(self.tokens, place)]

    def _operation(self, place: int) -> list[Token]:
        return self.tokens[place - 1 : place + 2]

    def _result(self, choice: Choice, made: list[Token]) -> list[Token]:
        place, is_split = choice
        if is_split:
            return split(self.tokens, place)
        assert isinstance(made[0], int)
        return reduced(self.tokens, place, made[0])

    def _fault(self, choice: Choice, made: list[Token]) -> str:
        place, is_split = choice
        operation = write_tokens(self._operation(place))
        if is_split:
            is_right = made == partial_products(self.tokens, place)
            return "" if is_right else f"{operation} is not {write_tokens(made)}"
        try:
            value = value_at(self.tokens, place)
        except ValueError as error:
            return str(error)
        return "" if made == [value] else f"{operation} is not {write_tokens(made)}"


def _value(tokens: list[Token]) -> int:
    while len(tokens) > 1:
        place = reducible(tokens)[0]
        tokens = reduced(tokens, place, value_at(tokens, place))
    assert isinstance(tokens[0], int)
    return tokens[0]
