"""What small models of ours are asked, what they refuse, and what is beyond their training."""

from __future__ import annotations

import pytest

from arts_lite.errors import UnsupportedQuestionError
from arts_lite.tasks.plain import PLAIN_TASKS, read_plain


@pytest.mark.parametrize(
    ("question", "task", "prompt"),
    [
        ("make 24 from 3, 5, 7, 8", "countdown", "24: 3 5 7 8\n"),
        ("what is 17 * (23 - 5) + 412?", "arithmetic", "17*(23-5)+412\n"),
    ],
)
def test_a_question_is_asked_in_its_plain_form(question: str, task: str, prompt: str) -> None:
    plain = read_plain(question, PLAIN_TASKS)
    assert (plain.task.name, plain.prompt, plain.beyond) == (task, prompt, "")


def test_only_countdown_has_a_checker_that_does_not_work_the_problem_out() -> None:
    puzzle, sums = (read_plain(text, PLAIN_TASKS) for text in ("24: 3 5 7 8", "3*8"))
    assert (puzzle.checks, sums.checks) == (True, False)
    assert puzzle.accepts("3*8")
    assert not puzzle.accepts("24")
    assert not puzzle.accepts("4*6")


def test_answers_of_one_value_that_are_not_equally_right_are_not_equal() -> None:
    plain = read_plain("24: 3 5 7 8", PLAIN_TASKS)
    assert plain.same("3*8", "8*3")
    assert plain.same("(8-5)*8", "4*6")
    assert not plain.same("3*8", "(8-5)*8")
    assert not plain.same("3*8", "3*7")
    assert read_plain("3*8", PLAIN_TASKS).same("24", "24.0")


@pytest.mark.parametrize("question", ["Natalia sold 48 clips in April. How many?", "who was Gauss?", "x" * 5000, "5"])
def test_any_other_question_is_refused_with_what_can_be_asked(question: str) -> None:
    with pytest.raises(UnsupportedQuestionError) as error:
        read_plain(question, PLAIN_TASKS)
    text = str(error.value)
    assert question[:60] in text
    assert "make 24 from 3, 5, 7, 8" in text
    assert "what is 17 * (23 - 5) + 412?" in text
    assert "--proposer FILE.gguf" in text
    assert "\n" not in text
    assert len(text) < 400


def test_a_model_of_one_task_refuses_the_other() -> None:
    assert read_plain("3*8", ["arithmetic"]).prompt == "3*8\n"
    with pytest.raises(UnsupportedQuestionError) as error:
        read_plain("24: 3 5 7 8", ["arithmetic"])
    assert "from 3, 5, 7, 8" not in str(error.value)


def test_tasks_that_this_version_does_not_know_can_be_asked_nothing() -> None:
    with pytest.raises(UnsupportedQuestionError, match="answers nothing that this version knows"):
        read_plain("24: 3 5 7 8", ["chess"])


@pytest.mark.parametrize(("question", "why"), [("what is 7 / 2?", "7/2 is no integer"), ("1/0", "1/0 is no integer")])
def test_an_uneven_division_is_refused_with_its_reason(question: str, why: str) -> None:
    with pytest.raises(UnsupportedQuestionError, match=why):
        read_plain(question, PLAIN_TASKS)


@pytest.mark.parametrize(
    ("question", "beyond"),
    [
        ("make 24 from 3, 8, 9", ""),
        ("make 12 from 3, 4", "2 numbers instead of 3 to 5"),
        ("make 24 from 1, 2, 3, 4, 5, 6", "6 numbers instead of 3 to 5"),
        ("make 200 from 50, 4, 1", ""),
        ("make 24 from 51, 2, 3", "numbers outside 1 to 50"),
        ("make 24 from 0, 2, 3", "numbers outside 1 to 50"),
        ("make 201 from 50, 4, 1", "a target outside 10 to 200"),
        ("make 9 from 1, 75", "2 numbers instead of 3 to 5, numbers outside 1 to 50, a target outside 10 to 200"),
        ("1+2+3+4+5+6", ""),
        ("1+2+3+4+5+6+7+8", "7 operators instead of 1 to 6"),
        ("999-998", ""),
        ("1000-998", "numbers outside 1 to 999"),
        ("-3+5", "numbers outside 1 to 999"),
        ("333*3", ""),
        ("500*20-1", "results beyond 9999"),
        ("1-500*20", "results beyond 9999"),
    ],
)
def test_what_exceeds_the_training_is_named(question: str, beyond: str) -> None:
    assert read_plain(question, PLAIN_TASKS).beyond == beyond
