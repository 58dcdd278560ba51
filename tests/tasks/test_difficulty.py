"""Difficulties as they are written on a command line."""

from __future__ import annotations

from itertools import islice

import pytest

from arts_lite.tasks import make_task, with_difficulty
from arts_lite.tasks.arithmetic import ArithmeticDifficulty, arithmetic_problems
from arts_lite.tasks.countdown import CountdownDifficulty, countdown_problems


def test_named_settings_are_taken_and_others_kept() -> None:
    task = with_difficulty(make_task("arithmetic"), "num_operators=5, max_value=999")
    assert task.name == "arithmetic"
    assert task.generate is not None
    wanted = arithmetic_problems(3, "dev", ArithmeticDifficulty(num_operators=5, max_value=999))
    assert list(islice(task.generate(3, "dev"), 5)) == list(islice(wanted, 5))
    other = with_difficulty(make_task("countdown"), "num_numbers=3")
    assert other.generate is not None
    expected = countdown_problems(0, "test", CountdownDifficulty(num_numbers=3))
    assert list(islice(other.generate(0, "test"), 5)) == list(islice(expected, 5))


def test_words_and_switches_are_read() -> None:
    task = with_difficulty(make_task("arithmetic"), "num_operators=1,operators=+,styles=no")
    assert task.generate is not None
    for problem in islice(task.generate(0, "train"), 20):
        assert set(problem.metadata["expression"]) <= set("0123456789+()")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("gsm8k", "level=3", "reads its problems"),
        ("arithmetic", "num_numbers=3", "num_operators"),
        ("arithmetic", "num_operators", "NAME=VALUE"),
        ("arithmetic", "num_operators=many", "must be an integer"),
        ("arithmetic", "styles=maybe", "must be yes or no"),
        ("arithmetic", "num_operators=99", "must be in"),
    ],
)
def test_what_cannot_be_is_refused(name: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        with_difficulty(make_task(name), text)
