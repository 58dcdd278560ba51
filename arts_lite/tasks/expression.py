"""Exact arithmetic on short expressions in plain text: Countdown answers, arithmetic questions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

MAX_CHARS = 300
MAX_DIGITS = 30
MAX_DEPTH = 60
_TOKEN = re.compile(r"\s*(\d+|[-+*/()])")
_SIGNS = str.maketrans(
    {"\u00d7": "*", "\u00b7": "*", "\u22c5": "*", "\u00f7": "/", "\u2212": "-", "\u2013": "-", "[": "(", "]": ")"}
)
_LATEX = (("\\times", "*"), ("\\cdot", "*"), ("\\div", "/"), ("\\left", ""), ("\\right", ""), ("$", ""))


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What an expression comes to, and the numbers that stand in it, in order."""

    value: Fraction
    numbers: tuple[int, ...]


def tidy(text: str) -> str:
    """Write an expression with + - * / ( ) and digits, whatever signs it came with."""
    text = text.translate(_SIGNS)
    for latex, plain in _LATEX:
        text = text.replace(latex, plain)
    return re.sub(r"\\[dt]?frac\{([^{}]+)\}\{([^{}]+)\}", r"((\1)/(\2))", text)


def evaluate(text: str) -> Evaluated:
    """Evaluate + - * / and parentheses exactly; a sign may stand before a number or a parenthesis.

    Raises:
        ValueError: it is no such expression, is too long, or divides by zero.
    """
    if len(text) > MAX_CHARS:
        raise ValueError(f"the expression has {len(text)} characters, but at most {MAX_CHARS} are read")
    tokens = _tokens(tidy(text))
    reader = _Reader(tokens)
    value = reader.sum()
    if reader.position < len(tokens):
        raise ValueError(f"{tokens[reader.position]!r} is not expected where it stands in {text!r}")
    return Evaluated(value, tuple(reader.numbers))


def _tokens(text: str) -> list[str]:
    tokens, position = [], 0
    text = text.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"{text[position]!r} in {text!r} is no part of an expression of + - * / and numbers")
        if len(match[1]) > MAX_DIGITS:
            raise ValueError(f"a number has {len(match[1])} digits, but at most {MAX_DIGITS} are read")
        tokens.append(match[1])
        position = match.end()
    return tokens


class _Reader:
    """Recursive descent, of bounded depth."""

    def __init__(self, tokens: list[str]) -> None:
        self.position = 0
        self.numbers: list[int] = []
        self._tokens = tokens
        self._depth = 0

    def sum(self) -> Fraction:
        """Read terms joined by + and -."""
        value = self._product()
        while self._next() in ("+", "-"):
            sign = self._take()
            term = self._product()
            value = value + term if sign == "+" else value - term
        return value

    def _product(self) -> Fraction:
        value = self._factor()
        while self._next() in ("*", "/"):
            if self._take() == "*":
                value *= self._factor()
                continue
            divisor = self._factor()
            if divisor == 0:
                raise ValueError("it divides by zero")
            value /= divisor
        return value

    def _factor(self) -> Fraction:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ValueError(f"the expression is nested deeper than {MAX_DEPTH}")
        value = self._nested()
        self._depth -= 1
        return value

    def _nested(self) -> Fraction:
        token = self._take()
        if token == "-":
            return -self._factor()
        if token == "(":
            value = self.sum()
            if self._take() != ")":
                raise ValueError("a parenthesis is not closed")
            return value
        if not token.isdigit():
            raise ValueError(f"a number is missing before {token!r}" if token else "a number is missing at the end")
        self.numbers.append(int(token))
        return Fraction(int(token))

    def _next(self) -> str:
        return self._tokens[self.position] if self.position < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._next()
        self.position += 1
        return token
