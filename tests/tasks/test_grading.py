from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from tasks.grading_pairs import HOSTILE, PAIRS, SLOW, TOWER

from arts_lite.tasks.grading import MathGrader, quick_verdict
from arts_lite.tasks.stated import stated_answer


def table() -> list[tuple[str, str, bool]]:
    rows = []
    for line in PAIRS.split("\n"):
        is_right = "  ==  " in line
        answer, gold = line.split("  ==  " if is_right else "  !=  ")
        rows.append((answer, gold, is_right))
    return rows


@pytest.fixture(scope="module")
def grader() -> Iterator[MathGrader]:
    grader = MathGrader()
    yield grader
    grader.close()


def verdict(grader: MathGrader, answer: str, gold: str) -> bool:
    stated, true = stated_answer(answer), stated_answer(gold)
    return stated is not None and true is not None and grader(stated, true)


def test_the_table_is_large_and_has_both_verdicts() -> None:
    verdicts = [is_right for _, _, is_right in table()]
    assert len(verdicts) >= 150
    assert min(sum(verdicts), len(verdicts) - sum(verdicts)) >= 60


@pytest.mark.parametrize(("answer", "gold", "is_right"), table())
def test_the_table_of_verdicts(grader: MathGrader, answer: str, gold: str, is_right: bool) -> None:
    assert verdict(grader, answer, gold) is is_right


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_answers_are_wrong(grader: MathGrader, text: str) -> None:
    assert not verdict(grader, text, "x^2+1")
    assert not verdict(grader, text, "6")
    assert not verdict(grader, "6", text)


@pytest.mark.parametrize("text", SLOW)
def test_a_comparison_beyond_its_limits_is_wrong_and_the_next_one_works(text: str) -> None:
    grader = MathGrader(cpu_s=0.3)
    assert not grader(text, "x^2+1")
    assert grader.num_restarts == 1
    assert grader("\\frac{x+1}{2}", "\\frac{1+x}{2}")
    grader.close()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not bound the address space")
def test_the_comparing_process_cannot_take_more_memory_than_it_may() -> None:
    code = """
from arts_lite.tasks.math_worker import bound_memory
bound_memory(1 << 30)
try:
    bytearray(2 << 30)
except MemoryError:
    print("bounded")
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "bounded\n"


def test_equal_texts_are_right_however_hostile() -> None:
    assert quick_verdict(TOWER, TOWER) is True


def test_plain_answers_start_no_process() -> None:
    grader = MathGrader()
    for number in range(2000):
        assert grader(f"${number}.00", str(number))
        assert not grader(f"{number} apples", str(number + 1))
    assert grader._worker is None


def test_a_repeated_comparison_is_answered_from_memory(grader: MathGrader) -> None:
    assert grader("\\sqrt{50}", "5\\sqrt{2}")
    asked: list[tuple[str, str]] = []
    grader._ask, ask = lambda a, b: bool(asked.append((a, b))), grader._ask  # type: ignore[method-assign]
    try:
        assert grader("5\\sqrt{2}", "\\sqrt{50}")
    finally:
        grader._ask = ask  # type: ignore[method-assign]
    assert asked == []


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("", None),
        ("   ", None),
        ("\\frac{1}{2}", "\\frac{1}{2}"),
        ("(3, 4)", "(3, 4)"),
        ("18 dollars", "18 dollars"),
        ("There are 18 of them.", "18"),
        ("no solution", "no solution"),
        ("2 + 3 = 5, so 5 + 1 = 6", "6"),
        ("We have $a = \\sqrt{2}$ here.", "\\sqrt{2}"),
        ("nothing to see in this long sentence without numbers", None),
    ],
)
def test_what_a_text_states(text: str, stated: str | None) -> None:
    assert stated_answer(text) == stated
