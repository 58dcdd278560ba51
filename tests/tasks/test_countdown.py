from __future__ import annotations

from itertools import islice
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arts_lite.tasks.countdown import (
    CountdownDifficulty,
    check_countdown,
    countdown_problem,
    countdown_problems,
    extract_countdown,
    grade_countdown,
    missed_countdown,
    same_countdown,
    solved_countdown,
)
from arts_lite.tasks.solutions import count_solutions

PROBLEM = countdown_problem([3, 5, 7, 8], 24)


@given(st.integers(0, 10**9), st.integers(2, 6), st.integers(5, 60))
def test_every_generated_problem_comes_with_a_trace_that_solves_it(seed: int, count: int, high: int) -> None:
    problem, trace = solved_countdown(Random(seed), CountdownDifficulty(count, high))
    check = check_countdown(problem, trace)
    assert check.is_solved
    assert check.num_steps == count - 1
    answer = extract_countdown(trace)
    assert answer is not None
    assert grade_countdown(problem, answer)


@given(st.integers(0, 10**9))
def test_a_missed_trace_is_legal_and_misses(seed: int) -> None:
    rng = Random(seed)
    problem, _ = solved_countdown(rng, CountdownDifficulty())
    check = check_countdown(problem, missed_countdown(rng, problem))
    assert check.first_wrong is None
    assert not check.is_solved


def test_generated_problems_have_a_solution_by_exhaustive_search() -> None:
    assert all(count_solutions(problem) for problem in islice(countdown_problems(3, "dev"), 5))


def test_splits_do_not_overlap_and_problems_repeat_with_their_seed() -> None:
    small = CountdownDifficulty(3, 9)
    ids = {split: {one.id for one in islice(countdown_problems(1, split, small), 25)} for split in ("train", "dev")}
    assert not ids["train"] & ids["dev"]
    assert all(len(some) == 25 for some in ids.values())
    assert ids["dev"] == {one.id for one in islice(countdown_problems(1, "dev", small), 25)}
    assert ids["train"] != {one.id for one in islice(countdown_problems(2, "train", small), 25)}


def test_the_order_of_numbers_does_not_change_the_split() -> None:
    assert countdown_problem([1, 2, 3], 9).id == countdown_problem([3, 1, 2], 9).id


def test_an_exhausted_difficulty_ends_with_an_error() -> None:
    with pytest.raises(ValueError, match="ask for fewer"):
        list(countdown_problems(0, "test", CountdownDifficulty(2, 3, 4, 6, 10)))


@pytest.mark.parametrize(
    ("numbers", "target", "count"),
    [([1, 2], 3, 1), ([2, 2, 2], 6, 2), ([1, 1], 5, 0), ([2, 3, 4], 24, 1), ([6, 2], 3, 1), ([9, 5, 3], 1, 1)],
)
def test_distinct_solutions_are_counted(numbers: list[int], target: int, count: int) -> None:
    assert count_solutions(countdown_problem(numbers, target)) == count


@pytest.mark.parametrize(
    ("trace", "first_wrong", "why"),
    [
        ("8-5=3; 3 7 3\n7+3=10; 3 10\n10*3=30", None, ""),
        ("8-5=4; 3 7 4", 0, "8-5 is not 4"),
        ("8-5=3; 3 7 3\n8*3=24", 1, "8 is not left"),
        ("8-5=3; 3 7 8", 0, "the rest is not 3 3 7"),
        ("8-5=3; 3 7 3\nso it is 24", 1, "no step of the form"),
        ("8/3=2; 5 7 2", 0, "8/3 is not 2"),
        ("3-3=0; 5 7 8 0", 0, "3 is not left"),
        ("8-5=3; 3 7 3-", 0, "not a list of numbers"),
        ("7-7=0", 0, "7 is not left"),
    ],
)
def test_the_first_wrong_step_is_named(trace: str, first_wrong: int | None, why: str) -> None:
    check = check_countdown(PROBLEM, trace)
    assert (check.first_wrong, check.is_solved) == (first_wrong, False)
    assert why in check.why


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ("8*3*(7-5)-24", False),
        ("(7-5)*3*8/2", False),
        ("3*8", True),
        ("24", False),
        ("(8-5)*(3+5)", False),
        ("3 \\times 8 = 24", True),
        ("3*8*(7-5)/(7-5)", False),
        ("(7+5)*(8-3)", False),
        ("8/(3-8/3)", False),
        ("((", False),
        ("3*8/0", False),
        ("3**8", False),
        ("9" * 5000, False),
    ],
)
def test_an_expression_is_graded_exactly(answer: str, verdict: bool) -> None:
    assert grade_countdown(PROBLEM, answer) is verdict


def test_fractions_on_the_way_are_fine_in_an_answer() -> None:
    assert grade_countdown(countdown_problem([3, 3, 8, 8], 24), "8/(3-8/3)")


def test_a_trace_that_forces_the_target_onto_a_wrong_sum_is_wrong() -> None:
    trace = "8-5=3; 3 7 3\n7+3=10; 3 10\n10*3=24"
    answer = extract_countdown(trace)
    assert answer == "24"
    assert not grade_countdown(PROBLEM, answer)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Use 3 and 8.\n\nThe answer is \\boxed{3 \\times 8}.", "3 \\times 8"),
        ("We try (7-5)*8 = 16. Then 3*8 = 24. Done.", "3*8"),
        ("8-5=3; 3 7 3\n3*7=21; 3 21\n21+3=24", "((8-5)*7)+3"),
    ],
)
def test_the_expression_is_found_in_a_text(text: str, answer: str) -> None:
    found = extract_countdown(text)
    assert found is not None
    assert same_countdown(found, answer)
    assert found == answer or grade_countdown(PROBLEM, found)
