"""Reducing an integer expression step by step: which operations may come next, and in what order styles take them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

Token = int | str
"""A number (its sign included), an operator or a parenthesis."""
Choice = tuple[int, bool]
"""Place of an operator in the tokens, and whether its product is split into partial products."""

_TOKEN = re.compile(r"\s*(\d{1,15}|[-+*/()])")
_LEVELS = {"+": 1, "-": 1, "*": 2, "/": 2}
MAX_TOKENS = 200
MIN_FACTOR = 11
"""Products of smaller factors are not worth splitting."""


def read_tokens(text: str) -> list[Token]:
    """Read an expression; `(-2)`, and a sign at the start, make negative numbers.

    Raises:
        ValueError: it is no expression of integers, + - * / and parentheses.
    """
    tokens: list[Token] = []
    text, position = text.rstrip(), 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or len(tokens) >= MAX_TOKENS:
            raise ValueError(f"{text[:60]!r} is no short expression of integers, + - * / and parentheses")
        token = match[1]
        if token.isdigit():
            negative = tokens[-1:] == ["-"] and (len(tokens) == 1 or tokens[-2] == "(")
            if negative:
                tokens.pop()
            tokens.append(-int(token) if negative else int(token))
        else:
            tokens.append(token)
        position = match.end()
    tokens = _without_idle_parentheses(tokens)
    if not _is_expression(tokens):
        raise ValueError(f"{text[:60]!r} is no expression of integers, + - * / and parentheses")
    return tokens


def write_tokens(tokens: Sequence[Token]) -> str:
    """Write tokens as text: no spaces, negative numbers in parentheses unless they begin the expression or a group."""
    texts = []
    for place, token in enumerate(tokens):
        is_first = place == 0 or tokens[place - 1] == "("
        texts.append(f"({token})" if isinstance(token, int) and token < 0 and not is_first else str(token))
    return "".join(texts)


def reducible(tokens: Sequence[Token]) -> list[int]:
    """Places of the operators that may be worked out next, from left to right."""
    return [place for place, token in enumerate(tokens) if token in _LEVELS and _may_reduce(tokens, place)]


def value_at(tokens: Sequence[Token], place: int) -> int:
    """Work one operator out. Raises ValueError: a quotient is not exact."""
    a, op, b = tokens[place - 1 : place + 2]
    assert isinstance(a, int)
    assert isinstance(b, int)
    if op == "/":
        if b == 0 or a % b:
            raise ValueError(f"{a}/{b} is no integer")
        return a // b
    return a + b if op == "+" else a - b if op == "-" else a * b


def reduced(tokens: Sequence[Token], place: int, value: int) -> list[Token]:
    """Put a value in an operation's place."""
    return _without_idle_parentheses([*tokens[: place - 1], value, *tokens[place + 2 :]])


def split(tokens: Sequence[Token], place: int) -> list[Token]:
    """Put partial products, one for each digit of the second factor, in a product's place."""
    partial = partial_products(tokens, place)
    return _without_idle_parentheses([*tokens[: place - 1], *partial, *tokens[place + 2 :]])


def partial_products(tokens: Sequence[Token], place: int) -> list[Token]:
    """Make 17*18 into (17*10+17*8)."""
    a, b = tokens[place - 1], str(tokens[place + 1])
    parts: list[Token] = ["("]
    for index, digit in enumerate(b):
        if digit != "0":
            parts += [a, "*", int(digit) * 10 ** (len(b) - 1 - index), "+"]
    return [*parts[:-1], ")"]


def can_split(tokens: Sequence[Token], place: int) -> bool:
    """Whether an operation is a product that is worth splitting: a two-digit factor times several digits."""
    a, op, b = tokens[place - 1 : place + 2]
    if op != "*" or not isinstance(a, int) or not isinstance(b, int):
        return False
    return a >= MIN_FACTOR and b >= MIN_FACTOR and len(str(b).replace("0", "")) > 1


def _left(tokens: Sequence[Token]) -> Choice:
    return reducible(tokens)[0], False


def _inner(tokens: Sequence[Token]) -> Choice:
    """Deepest parentheses first, there products before sums, then from the left."""
    depths, depth = [], 0
    for token in tokens:
        depth += (token == "(") - (token == ")")
        depths.append(depth)
    return min(reducible(tokens), key=lambda place: (-depths[place], -_LEVELS[str(tokens[place])], place)), False


def _partial(tokens: Sequence[Token]) -> Choice:
    place = reducible(tokens)[0]
    return place, can_split(tokens, place)


STYLES: Mapping[str, Callable[[Sequence[Token]], Choice]] = {"left": _left, "inner": _inner, "partial": _partial}
"""Style -> what it does next: leftmost first; innermost first; leftmost first with products split by digits."""


def lines_of(tokens: Sequence[Token], style: str) -> Iterator[str]:
    """Yield the lines of a style's trace."""
    while len(tokens) > 1:
        place, is_split = STYLES[style](tokens)
        operation = write_tokens(tokens[place - 1 : place + 2])
        if is_split:
            result, tokens = write_tokens(partial_products(tokens, place)), split(tokens, place)
        else:
            value = value_at(tokens, place)
            result, tokens = str(value), reduced(tokens, place, value)
        yield f"{operation}={result}" + (f"; {write_tokens(tokens)}" if len(tokens) > 1 else "")


def _may_reduce(tokens: Sequence[Token], place: int) -> bool:
    if not (0 < place < len(tokens) - 1 and isinstance(tokens[place - 1], int) and isinstance(tokens[place + 1], int)):
        return False
    level = _LEVELS[str(tokens[place])]
    before = tokens[place - 2] if place > 1 else ""
    after = tokens[place + 2] if place + 2 < len(tokens) else ""
    return _LEVELS.get(str(before), 0) < level and _LEVELS.get(str(after), 0) <= level


def _without_idle_parentheses(tokens: list[Token]) -> list[Token]:
    """Take parentheses off single numbers."""
    kept: list[Token] = []
    for token in tokens:
        kept.append(token)
        while len(kept) > 2 and kept[-1] == ")" and kept[-3] == "(" and isinstance(kept[-2], int):
            kept[-3:] = [kept[-2]]
    return kept


def _is_expression(tokens: Sequence[Token]) -> bool:
    """Whether numbers and operators alternate and the parentheses match."""
    depth, wants_number = 0, True
    for token in tokens:
        if token == "(":
            depth += 1
        elif token == ")":
            depth -= 1
        if wants_number != (isinstance(token, int) or token == "(") or depth < 0:
            return False
        wants_number = not isinstance(token, int) and token != ")"
    return depth == 0 and not wants_number
