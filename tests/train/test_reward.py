"""Rewards of completions."""

from __future__ import annotations

import pytest

from arts_lite.tasks import Problem, make_task
from arts_lite.tasks.arithmetic import arithmetic_problem, arithmetic_trace
from arts_lite.tasks.countdown import countdown_problem
from arts_lite.train.byte_vocab import EOS
from arts_lite.train.reward import Question, reward_function

SUM = arithmetic_problem("12*13+4")
PUZZLE = countdown_problem([3, 5, 7, 8], 24)
QUESTIONS = [Question(make_task("arithmetic"), SUM), Question(make_task("countdown"), PUZZLE)]
RIGHT = arithmetic_trace(SUM, "left") + "\n"


def rewards(*rows: tuple[str, int, int]) -> list[float]:
    """Of rows (completion, last token, question)."""
    reward = reward_function(QUESTIONS, frozenset([EOS]))
    texts, lasts, numbers = zip(*rows, strict=True)
    return reward(list(texts), [[*text.encode(), last] for text, last in zip(texts, lasts, strict=True)], list(numbers))


def test_a_right_answer_earns_1_and_a_wrong_one_0() -> None:
    wrong = RIGHT.replace("=160", "=161")
    assert wrong != RIGHT
    assert rewards((RIGHT, EOS, 0), (wrong, EOS, 0), ("", EOS, 0)) == [1.0, 0.0, 0.0]


def test_each_completion_is_graded_by_its_own_task_and_problem() -> None:
    missed = "8-5=3; 3 7 3\n7+3=10; 3 10\n10*3=30\n"
    illegal = "8*4=32; 3 5 7 32\n32-8=24\n"
    assert rewards((missed, EOS, 1), (illegal, EOS, 1)) == [0.0, 0.0]
    assert rewards(("8*3=24; 5 7 24\n", EOS, 1), (RIGHT, EOS, 1), (RIGHT, EOS, 0)) == [1.0, 0.0, 1.0]


def test_a_completion_that_was_cut_earns_nothing_even_if_it_looks_done() -> None:
    assert rewards((RIGHT, ord("\n"), 0)) == [0.0]
    assert reward_function(QUESTIONS, frozenset([EOS]))([""], [[]], [0]) == [0.0]


def test_conversations_are_graded_by_their_last_message() -> None:
    question = Question(make_task("gsm8k"), Problem("1", "how many?", "42"))
    reward = reward_function([question], frozenset([7]))
    texts = [[{"role": "assistant", "content": f"\\boxed{{{answer}}}"}] for answer in (42, 41)]
    assert reward(texts, [[1, 7], [1, 7]], [0, 0], trainer_state=None) == [1.0, 0.0]


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        reward_function(QUESTIONS, frozenset([EOS]))([RIGHT], [[EOS]], [0, 0])
