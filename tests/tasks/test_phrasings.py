"""Questions as people type them, and what only looks like one."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arts_lite.tasks.arithmetic import ArithmeticDifficulty, drawn_arithmetic
from arts_lite.tasks.countdown import CountdownDifficulty, solved_countdown
from arts_lite.tasks.phrasings import find_expression, read_arithmetic, read_countdown
from arts_lite.tasks.traces import plain_prompt

COUNTDOWN = [
    "make 24 from 3, 5, 7, 8",
    "Make 24 with 3 5 7 8!",
    "24: 3 5 7 8",
    "  24 : 3 5 7 8\n",
    "Using 3, 5, 7 and 8, make 24",
    "Using 3, 5, 7 and 8, reach 24.",
    "get 24 out of 3,5,7,8",
    "can you get 24 with 3 5 7 8?",
    "use the numbers 3 5 7 8 to reach 24",
    "24 from 3 5 7 8",
    "Numbers: 3 5 7 8\nTarget: 24",
    "target 24, numbers 3 5 7 8",
    "the target is 24 and the numbers are 3, 5, 7 and 8",
    "3 5 7 8 -> 24",
    "3, 5, 7, 8 = 24",
    "24 = ? with 3 5 7 8",
    "make 24: 3 5 7 8",
    "make 24 (3, 5, 7, 8)",
    "What's a way to get 24 from [3, 5, 7, 8]?",
    "How can I make 24 from 3, 5, 7, and 8 using each number once?",
    "I have 3, 5, 7 and 8. How can I get 24?",
    "use + - * / and 3, 5, 7, 8 to make 24",
    "using only +, -, * and /, make 24 from 3 5 7 8",
    "Please make exactly 24 from the numbers 3; 5; 7; 8, each used at most once, thanks",
    "combine 3, 5, 7 & 8 to get 24",
    "is it possible to make 24 from 3, 5, 7 and 8?",
    "\uff2d\uff21\uff2b\uff25 24 from 3, 5,\u00a07, 8",
]
SUMS = [
    ("what is 17 * (23 - 5) + 412?", "17*(23-5)+412"),
    ("17*(23-5)+412", "17*(23-5)+412"),
    ("17 times 18 plus 4", "17*18+4"),
    ("compute 12*12", "12*12"),
    ("(3+4)*5 = ?", "(3+4)*5"),
    ("how much is 12 x 13", "12*13"),
    ("12x13", "12*13"),
    ("what's 7 minus 9", "7-9"),
    ("What\u2019s 7 minus 9?", "7-9"),
    ("23 + 19 =", "23+19"),
    ("=23+19", "23+19"),
    ("23 + 19 = what?", "23+19"),
    ("what does 3+4 equal?", "3+4"),
    ("Hi, can you calculate 3+4 please?", "3+4"),
    ("please work out 100/4 - 30", "100/4-30"),
    ("17 multiplied by 3", "17*3"),
    ("12 divided by 4", "12/4"),
    ("the sum of 3 and 4", "3+4"),
    ("what is the product of 12 and 13?", "12*13"),
    ("subtract 3 from 10", "10-3"),
    ("the difference between 10 and 3", "10-3"),
    ("divide 12 by 4", "12/4"),
    ("Compute (-3) \u00d7 4 = ?", "-3*4"),
    ("5 \u2212 7", "5-7"),
    ("5 \u2013 7", "5-7"),
    ("12 \u00f7 4", "12/4"),
    ("2\u00b73", "2*3"),
    ("\uff12\uff0b\uff13", "2+3"),
    ("What is $3 \\times 4$?", "3*4"),
    ("1,200 + 34", "1200+34"),
    ("what is 9,999 minus 1,000,000?", "9999-1000000"),
    ("3 * -4", "3*(-4)"),
    ("7 - -9", "7-(-9)"),
    ("negative 3 plus 10", "-3+10"),
    ("-(3+4)*2", "0-(3+4)*2"),
    ("3(4+5)", "3*(4+5)"),
    ("(3+4)", "3+4"),
    ("(((3+4)))*((5))", "(3+4)*5"),
    ("((1+2)*(3+4))", "(1+2)*(3+4)"),
    ("[3+4]*{5-2}", "(3+4)*(5-2)"),
]
NEITHER = [
    "",
    " ",
    "5",
    "24",
    "2 3",
    "who was Gauss?",
    "make tea",
    "make 24",
    "get 3 4 5",
    "who makes 24 hour clocks?",
    "3, 5, 7, 8, 24",
    "make 24 and 25 from 3 5 7 8",
    "make 24 from 3 5 and 7 with 8 9",
    "use 24 and make 3, 5, 7, 8",
    "make 24 from 3.5, 7, 8",
    "make -24 from 3, 5, 7",
    "make 24 from -3, 5, 7",
    "make 24 cakes from 3 eggs, 5 apples and 7 plums",
    "make 24h from 3, 5, 7",
    "how many ways are there to make 24 from 3, 5, 7, 8?",
    "make 24 from " + " ".join(["3"] * 13),
    "make 24 from 1234567890, 5, 7",
    "is 3 + 4 more than 2 + 6?",
    "3 + 4 = 7",
    "what is 3.5 + 2",
    "2**3",
    "2^3",
    "5\u00b2 + 1",
    "10% of 50",
    "what is 3 + 4 apples",
    "x + 3 = 5",
    "solve 2x + 3 = 7",
    "What is 3 squared?",
    "1,23 + 4",
    "3 +",
    "(3 + 4",
    "()",
    "9" * 40 + " + 1",
    "What is the distance between (3, 4) and (5, 6)?",
    "Tom has 3 apples and buys 5 more. How many apples does Tom have?",
    "A baker makes 24 rolls from 3 kg of flour. How much flour do 96 rolls take?",
    "Ann reads 12 pages a day for 5 days, then 8 pages a day for 2 days. What is the total number of pages?",
    "Each of 3 boxes holds 5 + 7 pens. How many pens are there?",
]


@pytest.mark.parametrize("question", COUNTDOWN)
def test_ways_to_ask_a_countdown_problem(question: str) -> None:
    problem = read_countdown(question)
    assert problem is not None
    assert plain_prompt(problem) == "24: 3 5 7 8\n"
    assert read_arithmetic(question) is None


@pytest.mark.parametrize(("question", "expression"), SUMS)
def test_ways_to_ask_for_a_value(question: str, expression: str) -> None:
    problem = read_arithmetic(question)
    assert problem is not None
    assert plain_prompt(problem) == f"{expression}\n"
    assert find_expression(question) == expression
    assert read_countdown(question) is None


@pytest.mark.parametrize("question", NEITHER)
def test_what_is_neither(question: str) -> None:
    assert read_countdown(question) is None
    assert find_expression(question) is None
    assert read_arithmetic(question) is None


@pytest.mark.parametrize("question", ["what is 7 / 2?", "1 / 0", "5/(3-3)"])
def test_an_expression_without_an_integer_value_is_found_but_is_no_problem(question: str) -> None:
    assert find_expression(question) is not None
    assert read_arithmetic(question) is None


@pytest.mark.parametrize(
    ("question", "numbers", "target"),
    [
        ("make 1,000 from 25, 50, 75, 100", [25, 50, 75, 100], 1000),
        ("make 952 from 25,50,75,100,3,6", [25, 50, 75, 100, 3, 6], 952),
        ("make 12 from 3 and 4", [3, 4], 12),
        ("target: 1,234,567; numbers: 1,2", [1, 2], 1234567),
    ],
)
def test_commas_part_a_list_and_group_the_digits_of_a_target(question: str, numbers: list[int], target: int) -> None:
    problem = read_countdown(question)
    assert problem is not None
    assert (problem.metadata["numbers"], problem.metadata["target"]) == (numbers, target)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**9), st.integers(3, 6))
def test_generated_problems_are_read_back_from_their_question_and_their_plain_form(seed: int, size: int) -> None:
    sums = drawn_arithmetic(Random(seed), ArithmeticDifficulty(num_operators=size))
    assert read_arithmetic(sums.question) == read_arithmetic(plain_prompt(sums)) == sums
    puzzle, _ = solved_countdown(Random(seed), CountdownDifficulty(num_numbers=size))
    assert read_countdown(puzzle.question) == read_countdown(plain_prompt(puzzle)) == puzzle


@pytest.mark.parametrize(
    "text",
    [
        "make 24 from 1" + " , " * 300 + "x",
        "make 24 from 1" + " and" * 240 + " x",
        "make 1,000" + ",000" * 240,
        "make" + " the" * 240,
        "-" * 999,
        "(" * 400 + "1" + ")" * 400,
        "1+" * 490 + "1",
        "1(" * 300,
        "x" * 999,
        "3 x " * 249 + "3",
        "sum of " * 140,
        "\u0663 + \u0664",
        "make 24 from \u0663, \u0665, \u0667",
        "\x00" * 900,
        "\ud800 + 3",
        "what is 3 + 4?" * 10_000,
    ],
)
def test_hostile_questions_are_read_to_the_end_and_refused(text: str) -> None:
    assert read_countdown(text) is None
    assert read_arithmetic(text) is None
