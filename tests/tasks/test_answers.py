"""Extraction of the final answer, and when two answers are the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arts_lite.tasks import canonical_answer, extract_answer, same_answer

EXTRACTED = [
    (r"So she makes \boxed{18} dollars.", "18"),
    (r"First \boxed{3}, no: \boxed{4}.", "4"),
    (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
    (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
    (r"\boxed{\boxed{7}}", "7"),
    (r"\boxed {9}", "9"),
    (r"\boxed{12 is cut off", "12"),
    (r"{ stray \boxed{5} and } more }", "5"),
    (r"\boxed{} The answer is 4.", "4"),
    ("He has 9 * 2 = 18.\n#### 18", "18"),
    ("#### 1,234", "1,234"),
    ("#### Step 1: add 3 and 4\nWe get 7.", "7"),
    ("#### 42\nThat is all, in 3 steps.", "42"),
    ("The answer is 18.", "18"),
    ("The answer is: 18", "18"),
    ("The final answer is $18.50.", "$18.50"),
    ("**Answer:** 18 dollars", "18 dollars"),
    ("Answer: The answer is (B).", "(B)"),
    ("The answer is:\n\n$$12$$", "$$12$$"),
    ("The answer is 18 because she sells 9 of her 16 eggs.", "18"),
    ("The answer is the sum of 3 and 5, which is 8.", "8"),
    ("The answer is 9 * 2 = 18 dollars every single day.", "18"),
    ("the answer is blue", "blue"),
    ("She eats 3 and bakes 4, so 9 remain, which sell at $2: $18", "$18"),
    ("We get 1,000 in all", "1,000"),
    ("between 3 and -7", "-7"),
    ("it is 0.25", "0.25"),
    ("it is 3/4.", "3/4"),
    ("In step 3 we find 12.", "12"),
    ("She makes $18/day", "$18"),
    (r"so $x=\frac{1}{2}$", r"\frac{1}{2}"),
    ("range is 5-7", "7"),
    ("<think>maybe \\boxed{3}</think>It is \\boxed{4}", "4"),
    ("it may be 3 </think> It is 4", "4"),
    ("5 apples <think> or 6", "5"),
    ("<think>so far 3", None),
    ("", None),
    ("no idea", None),
    ("v2beta and x86abc", None),
]


@pytest.mark.parametrize(("text", "answer"), EXTRACTED)
def test_the_final_answer_is_found_by_the_first_rule_that_applies(text: str, answer: str | None) -> None:
    assert extract_answer(text) == answer


SAME = [
    ("18", "18.0"),
    ("18", r"\$18"),
    ("18", "$18"),
    ("18", "18."),
    ("18", "+18"),
    ("18", "018"),
    ("18", "18 dollars"),
    ("18", "18$"),
    ("18", "18 \u20ac"),
    ("18", "18 dollars per day"),
    ("18", r"18\text{ dollars}"),
    ("18", r"\text{18}"),
    ("18", "$18$"),
    ("18", r"\(18\)"),
    ("18", "**18**"),
    ("18", r"\boxed{18}"),
    ("18", "x = 18"),
    ("18", "18.00"),
    ("18", r"\frac{36}{2}"),
    ("1000", "1,000"),
    ("1000", r"1{,}000"),
    ("1000", r"1\,000"),
    ("1234567.5", "1,234,567.50"),
    ("50%", r"50\%"),
    ("50", r"50\%"),
    ("50", "50 percent"),
    ("-5", "\u22125"),
    ("-5", "- 5"),
    ("-5", "-$5"),
    ("0.5", r"\frac{1}{2}"),
    ("0.5", r"\dfrac12"),
    ("0.5", "1/2"),
    ("1/2", "2 / 4"),
    (".5", "0.50"),
    ("-1/2", r"-\frac{1}{2}"),
    ("3/2", r"1\frac{1}{2}"),
    ("3/2", "1 1/2"),
    ("-3/2", r"-1\frac12"),
    ("0", "-0"),
    ("0", "0.000"),
    ("90", r"90^\circ"),
    ("90", "90\u00b0"),
    ("12", "12 cm"),
    ("12", r"12\text{ cm}^2"),
    ("(1,2)", "(1, 2)"),
    (r"\left(1, 2\right)", "(1,2)"),
    ("x+1", "x + 1"),
    ("Yes", "yes."),
    ("(B)", "B"),
    ("Monday", r"\text{Monday}"),
    ("2\u20443", "2/3"),
]

DIFFERENT = [
    ("18", "19"),
    ("18", "-18"),
    ("18", "1.8"),
    ("18", "18x"),
    ("0.5", "0.05"),
    ("0.333", "1/3"),
    ("1,000", "1"),
    ("1,2", "12"),
    ("(1,2)", "(2,1)"),
    ("5", "5 million"),
    ("5", "5 dozen"),
    ("10 am", "10 pm"),
    ("2", "2 pi"),
    ("5", "5ab"),
    ("3", "3 or 5"),
    ("x", "X"),
    ("x+1", "x-1"),
    ("Yes", "No"),
    ("A", "B"),
    ("1/0", "0"),
    ("1/0", "2/0"),
    ("+-5", "-5"),
    ("5", "five"),
    ("2^3", "23"),
    ("", "0"),
    ("3:00", "3"),
    (r"\sqrt{2}", "2"),
    ("10%", "0.1%"),
    ("x==5", "5"),
]


@pytest.mark.parametrize(("a", "b"), SAME)
def test_answers_that_mean_the_same_are_merged(a: str, b: str) -> None:
    assert same_answer(a, b)
    assert same_answer(b, a)


@pytest.mark.parametrize(("a", "b"), DIFFERENT)
def test_answers_that_differ_stay_apart(a: str, b: str) -> None:
    assert not same_answer(a, b)
    assert not same_answer(b, a)


def test_canonical_numbers_are_integers_or_reduced_fractions() -> None:
    assert canonical_answer("18.0") == "18"
    assert canonical_answer(r"\frac{2}{4}") == "1/2"


HOSTILE = [
    "{" * 50_000,
    "\\boxed{" * 50_000,
    "\\boxed{" + "{" * 50_000 + "}" * 50_000 + "}",
    "1" * 1_000_000,
    "1," * 500_000,
    "1," + "111," * 250_000,
    "\\boxed{" + "9" * 1_000_000 + "}",
    "0." + "3" * 1_000_000,
    "<think>" * 50_000,
    "answer is " * 50_000,
    "#### " * 50_000,
    "\\boxed" + " " * 1_000_000,
    " \n" * 500_000,
    "\\frac{" * 50_000,
    "1/" * 500_000,
    "$" * 1_000_000,
    "answer is" + " ." * 500_000,
    "9^{9^{9^{9}}}",
    "1e999999999",
    "\ud800\x00",
]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_answered_within_a_bound(text: str) -> None:
    answer = extract_answer(text)
    for candidate in (text, answer or "", text[:1000], text[:99]):
        assert same_answer(candidate, candidate)


@given(st.integers(-(10**20), 10**20))
def test_every_way_to_write_an_integer_is_the_same_answer(number: int) -> None:
    for text in (f"{number:,}", f"{number}.0", f"${number}$", f"{number} eggs", f"\\boxed{{{number}}}", f" {number}."):
        assert canonical_answer(text) == str(number)
        assert canonical_answer(extract_answer(f"We get {number:,}.") or "") == str(number)


@given(st.text(max_size=60))
def test_the_canonical_form_of_any_text_is_stable(text: str) -> None:
    once = canonical_answer(text)
    assert same_answer(text, text)
    assert isinstance(once, str)
