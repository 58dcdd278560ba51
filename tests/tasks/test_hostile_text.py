"""Model output and questions are hostile input: whatever reads them ends soon and raises nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tasks.grading_pairs import HOSTILE

from arts_lite.tasks.arithmetic import (
    arithmetic_problem,
    check_arithmetic,
    extract_arithmetic,
    grade_arithmetic,
)
from arts_lite.tasks.countdown import (
    check_countdown,
    countdown_problem,
    extract_countdown,
    grade_countdown,
)
from arts_lite.tasks.grading import quick_verdict
from arts_lite.tasks.phrasings import find_expression, read_arithmetic, read_countdown
from arts_lite.tasks.stated import stated_answer

NUMBERS = countdown_problem([3, 5, 7, 8], 24)
SUM = arithmetic_problem("17*(23-5)+412")
PARTS = ["(", ")", "-", "1", "=", ";", "\n", " ", "9" * 20, "+", "*", "/", "\\boxed{", "}", "$", "a", "\x00", "; 3 7"]


def read_in_every_way(text: str) -> None:
    for extract, grade, problem in (
        (extract_countdown, grade_countdown, NUMBERS),
        (extract_arithmetic, grade_arithmetic, SUM),
    ):
        answer = extract(text)
        assert answer is None or not grade(problem, answer)
        assert not grade(problem, text)
    assert not check_countdown(NUMBERS, text).is_solved
    assert not check_arithmetic(SUM, text).is_correct
    read_countdown(text)
    read_arithmetic(text)
    find_expression(text)
    stated = stated_answer(text)
    assert stated is None or quick_verdict(stated, "\\frac{1}{2}") is not True


@pytest.mark.parametrize(
    "text",
    [
        *HOSTILE,
        "(" * 299,
        "-" * 299,
        "(" * 100_000,
        "1-" * 50_000,
        "5=" * 50_000,
        "8-5=3;" * 20_000,
        "\n" * 100_000,
        "1+1=2; " + " " * 100_000,
        "make " * 20_000,
        "make 1" + " 2" * 50_000,
        "\\(" * 10_000,
        "$a" * 50_000,
    ],
)
def test_long_and_deep_texts(text: str) -> None:
    read_in_every_way(text)


@given(st.lists(st.sampled_from(PARTS), max_size=60).map("".join))
def test_texts_made_of_the_parts_of_traces(text: str) -> None:
    if "24" not in text and "718" not in text:
        read_in_every_way(text)
