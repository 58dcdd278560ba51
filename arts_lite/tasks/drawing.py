"""Drawing arithmetic expressions, and turning down those that are too easy, too hard or not wanted."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from arts_lite.tasks.reduction import (
    MIN_FACTOR,
    STYLES,
    Choice,
    Token,
    lines_of,
    reduced,
    reducible,
    split,
    value_at,
)

if TYPE_CHECKING:
    from arts_lite.tasks.arithmetic import ArithmeticDifficulty


def drawn_tokens(
    rng: Random, difficulty: ArithmeticDifficulty, num_operators: int, *, with_product: bool = False
) -> list[Token]:
    """Draw an expression; `with_product`: one of its operations multiplies two numbers that are worth splitting."""
    if num_operators == 0:
        num_digits = rng.randint(1, len(str(difficulty.max_number)))
        return [rng.randint(10 ** (num_digits - 1), min(10**num_digits - 1, difficulty.max_number))]
    if with_product and num_operators == 1:
        return _drawn_product(rng, difficulty)
    num_left = rng.randrange(num_operators)
    nums = (num_left, num_operators - 1 - num_left)
    chosen = rng.choice([side for side in (0, 1) if nums[side]]) if with_product else None
    sides = [drawn_tokens(rng, difficulty, num, with_product=side == chosen) for side, num in enumerate(nums)]
    left, right = (["(", *side, ")"] if len(side) > 1 and rng.random() < 0.4 else side for side in sides)
    return [*left, rng.choice(difficulty.operators), *right]


def _drawn_product(rng: Random, difficulty: ArithmeticDifficulty) -> list[Token]:
    """Draw two factors of which the second can be split by its digits; their product is in range where that can be."""
    low = MIN_FACTOR
    a = rng.randint(low, max(low, min(difficulty.max_number, difficulty.max_value // low)))
    highest = max(low, min(difficulty.max_number, difficulty.max_value // a))
    b = rng.choice([b for b in range(low, highest + 1) if b % 10])
    return [a, "*", b]


def is_wanted(tokens: list[Token], difficulty: ArithmeticDifficulty) -> bool:
    """Whether all values are in range and the styles give different traces.

    Most expressions are turned down, so the cheap looks come first: at the operations that every style begins with, at
    the choices of each style (the one that fails most often before the others), and only then at the traces' texts.
    """
    try:
        if any(abs(value_at(tokens, place)) > difficulty.max_value for place in reducible(tokens)):
            return False
        names = ("partial", "left", "inner") if difficulty.styles else ("left",)
        seen: set[tuple[Choice, ...]] = set()
        for name in names:
            choices = _choices(tokens, name, difficulty.max_value)
            is_split = len(choices) > difficulty.num_operators
            if not choices or choices in seen or (name == "partial" and not is_split):
                return False
            seen.add(choices)
    except ValueError:
        return False
    return len({tuple(lines_of(tokens, name)) for name in names}) == len(names)


def _choices(tokens: list[Token], style: str, max_value: int) -> tuple[Choice, ...]:
    """A style's choices in their order; none if a value on the way exceeds the largest one."""
    choices = []
    while len(tokens) > 1:
        place, is_split = STYLES[style](tokens)
        choices.append((place, is_split))
        if is_split:
            tokens = split(tokens, place)
            continue
        value = value_at(tokens, place)
        if abs(value) > max_value:
            return ()
        tokens = reduced(tokens, place, value)
    return tuple(choices)
