from __future__ import annotations

import re
from collections import Counter
from fractions import Fraction
from itertools import islice
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arts_lite.tasks.arithmetic import (
    ArithmeticDifficulty,
    arithmetic_problem,
    arithmetic_problems,
    arithmetic_trace,
    check_arithmetic,
    drawn_arithmetic,
    extract_arithmetic,
    grade_arithmetic,
)
from arts_lite.tasks.countdown import OPERATORS
from arts_lite.tasks.expression import evaluate
from arts_lite.tasks.reduction import STYLES, lines_of, read_tokens
from arts_lite.tasks.traces import arithmetic_samples, countdown_samples

PROBLEM = arithmetic_problem("17*(23-5)+412")
SUMS = arithmetic_problem("2-7+14*(20-3)")


@given(st.integers(0, 10**9), st.sampled_from(sorted(STYLES)), st.integers(3, 6))
def test_every_style_is_correct_and_told_from_the_others(seed: int, style: str, num_operators: int) -> None:
    problem = drawn_arithmetic(Random(seed), ArithmeticDifficulty(num_operators, max_value=10**6))
    trace = arithmetic_trace(problem, style)
    check = check_arithmetic(problem, trace)
    assert (check.is_correct, check.style, check.first_wrong) == (True, style, None)
    answer = extract_arithmetic(trace)
    assert answer is not None
    assert grade_arithmetic(problem, answer)


@given(st.integers(0, 10**9), st.integers(2, 6))
def test_an_answer_is_the_value_by_plain_evaluation(seed: int, num_operators: int) -> None:
    difficulty = ArithmeticDifficulty(num_operators, 999, 10**7, "+-*/", styles=False)
    problem = drawn_arithmetic(Random(seed), difficulty)
    assert evaluate(problem.metadata["expression"]).value == Fraction(int(problem.answer))


@given(st.integers(0, 10**9), st.data())
def test_any_single_changed_digit_is_a_wrong_step(seed: int, data: st.DataObject) -> None:
    problem = drawn_arithmetic(Random(seed), ArithmeticDifficulty())
    lines = arithmetic_trace(problem, data.draw(st.sampled_from(sorted(STYLES)))).split("\n")
    index = data.draw(st.integers(0, len(lines) - 1))
    place = data.draw(st.sampled_from([place for place, char in enumerate(lines[index]) if char.isdigit()]))
    digit = data.draw(st.sampled_from([digit for digit in "123456789" if digit != lines[index][place]]))
    changed = lines[index][:place] + digit + lines[index][place + 1 :]
    check = check_arithmetic(problem, "\n".join([*lines[:index], changed, *lines[index + 1 :]]))
    assert check.first_wrong == index
    assert not check.is_correct


def test_the_styles_by_hand() -> None:
    assert arithmetic_trace(SUMS, "left").split("\n") == [
        "2-7=-5; -5+14*(20-3)",
        "20-3=17; -5+14*17",
        "14*17=238; -5+238",
        "-5+238=233",
    ]
    assert arithmetic_trace(SUMS, "inner").startswith("20-3=17; 2-7+14*17\n14*17=238; 2-7+238\n2-7=-5; -5+238\n")
    assert arithmetic_trace(SUMS, "partial").split("\n")[2:5] == [
        "14*17=(14*10+14*7); -5+(14*10+14*7)",
        "14*10=140; -5+(140+14*7)",
        "14*7=98; -5+(140+98)",
    ]


@pytest.mark.parametrize(
    ("trace", "first_wrong", "style", "is_complete"),
    [
        ("23-5=18; 17*18+412\n17*18=306; 306+412\n306+412=718", None, "left", True),
        ("23-5=18; 17*18+412\n17*18=316; 316+412\n316+412=728", 1, "left", True),
        ("23-5=18; 17*18+412\n17*18=306; 306+421\n306+421=727", 1, "left", True),
        ("23-5=18; 17*18+412", None, "left", False),
        ("5+412=417; 17*(23-417)", 0, None, False),
        ("well, 718", 0, None, False),
        ("23-5=18; 17*18+412\n17*18=(17*10+17*8); (17*10+17*8)+412", None, "partial", False),
        ("23-5=18; 17*18+412\n17*18=(17*10+17*9); (17*10+17*9)+412", 1, "partial", False),
        ("23-5=18; 17*18+412\n17*18=306; 306+412\n306+412=718\n718+1=719", 3, None, False),
        ("", None, None, False),
    ],
)
def test_style_and_first_wrong_step_are_named(
    trace: str, first_wrong: int | None, style: str | None, is_complete: bool
) -> None:
    check = check_arithmetic(PROBLEM, trace)
    assert (check.first_wrong, check.style, check.is_complete) == (first_wrong, style, is_complete)
    assert bool(check.why) == (first_wrong is not None)


def test_a_mixture_of_styles_has_no_style() -> None:
    trace = "2-7=-5; -5+14*(20-3)\n20-3=17; -5+14*17\n14*17=238; -5+238\n-5+238=233"
    assert check_arithmetic(SUMS, trace).style == "left"
    problem = arithmetic_problem("1+2+3*(4-2)+(5-1)")
    mixed = "1+2=3; 3+3*(4-2)+(5-1)\n5-1=4; 3+3*(4-2)+4"
    assert check_arithmetic(problem, mixed).style is None
    assert check_arithmetic(problem, mixed).first_wrong is None


def test_a_cut_trace_has_no_answer_and_running_text_has_one() -> None:
    assert extract_arithmetic("23-5=18; 17*18+412") is None
    assert extract_arithmetic("So the answer is \\boxed{718}.") == "718"


def test_samples_have_their_styles_at_the_rates() -> None:
    rates = {"left": 0.5, "inner": 0.3, "partial": 0.2}
    kinds = Counter(sample.kind for sample in islice(arithmetic_samples(0, rates=rates), 400))
    assert all(abs(kinds[style] / 400 - rate) < 0.1 for style, rate in rates.items())


def test_samples_are_short_enough_for_a_tiny_model() -> None:
    assert max(len(one.prompt + one.trace) for one in islice(countdown_samples(0), 300)) < 96
    samples = list(islice(countdown_samples(0, missed=0.25), 400))
    assert 60 < sum(one.kind == "missed" for one in samples) < 140


def test_problems_of_a_split_stay_in_it_and_repeat() -> None:
    first = [one.id for one in islice(arithmetic_problems(5, "test"), 5)]
    assert first == [one.id for one in islice(arithmetic_problems(5, "test"), 5)]
    assert all(one.metadata["split"] == "test" for one in islice(arithmetic_problems(6, "test"), 5))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**9), st.integers(1, 3), st.booleans())
def test_every_value_on_the_way_is_within_the_difficulty(seed: int, num_operators: int, styles: bool) -> None:
    difficulty = ArithmeticDifficulty(num_operators + 2 * styles, styles=styles)
    problem = drawn_arithmetic(Random(seed), difficulty)
    tokens = read_tokens(problem.metadata["expression"])
    assert difficulty.max_value == 9999
    assert sum(token in OPERATORS for token in map(str, tokens)) == difficulty.num_operators
    assert all(1 <= token <= 99 for token in tokens if isinstance(token, int))
    for style in STYLES if styles else ("left",):
        for line in lines_of(tokens, style):
            head, _, rest = line.partition(";")
            assert all(abs(int(number)) <= 9999 for number in re.findall(r"\d+", head + rest))


def test_one_operator_is_the_easiest_sum_and_has_no_styles() -> None:
    difficulty = ArithmeticDifficulty(1, 999, 999, "+-*/", styles=False)
    problems = list(islice(arithmetic_problems(0, "train", difficulty), 200))
    assert {re.sub(r"\d+", "", one.metadata["expression"]) for one in problems} == {"+", "-", "*", "/"}
    assert all(arithmetic_trace(one, "left").count("\n") == 0 for one in problems)
    with pytest.raises(ValueError, match=r"num_operators is 2, but must be in .* at least 3 for different styles"):
        ArithmeticDifficulty(2)
    with pytest.raises(ValueError, match="num_operators is 0"):
        ArithmeticDifficulty(0, styles=False)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**9))
def test_a_problem_with_styles_has_a_product_that_can_be_split(seed: int) -> None:
    problem = drawn_arithmetic(Random(seed), ArithmeticDifficulty(3))
    traces = {style: arithmetic_trace(problem, style) for style in STYLES}
    assert len(set(traces.values())) == len(STYLES)
    assert "=(" in traces["partial"]
    assert "=(" not in traces["left"] + traces["inner"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_number": 8}, "max_number is 8"),
        ({"operators": "+-^"}, "operators is"),
        ({"operators": ""}, "operators is"),
        ({"operators": "+-"}, "styles need products"),
        ({"max_number": 19}, "styles need products"),
    ],
)
def test_difficulties_out_of_range_are_told(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ArithmeticDifficulty(**values)  # type: ignore[arg-type]


def test_a_number_that_never_ends_is_no_answer() -> None:
    assert extract_arithmetic("12*12=" + "9" * 500) is None
    assert extract_arithmetic("9" * 500) is None
    assert extract_arithmetic("12*12=") is None
    assert extract_arithmetic("144") == "144"
    assert extract_arithmetic("12*12=144\n") == "144"
