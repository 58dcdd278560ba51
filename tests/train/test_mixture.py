"""What the tiny proposer learns from."""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice

import pytest

from arts_lite.tasks import plain
from arts_lite.tasks.arithmetic import ArithmeticDifficulty, check_arithmetic
from arts_lite.tasks.countdown import CountdownDifficulty, check_countdown
from arts_lite.tasks.plain import PLAIN_TASKS, read_plain
from arts_lite.train.mixture import MIXTURE, Part, describe_mixture, mixture_samples

SMALL = (
    Part(CountdownDifficulty(num_numbers=3), 0.75, missed=0.5),
    Part(ArithmeticDifficulty(1, 99, 999, "+-", styles=False), 0.25),
)


def texts(seed: int, step: int, split: str = "train", number: int = 30) -> list[str]:
    return [one.prompt + one.trace for one in islice(mixture_samples(seed, step, split=split, parts=SMALL), number)]


def test_samples_are_a_function_of_seed_and_step() -> None:
    assert texts(3, 7) == texts(3, 7)
    others = [texts(3, 8), texts(4, 7), texts(7, 3), texts(37, 0)]
    assert all(other != texts(3, 7) for other in others)
    assert len({*texts(3, 7)} & {*texts(3, 8)}) < 10


def test_splits_never_overlap() -> None:
    seen: dict[str, set[str]] = {}
    for split in ("train", "dev", "test"):
        samples = [one for step in range(3) for one in islice(mixture_samples(0, step, split=split, parts=SMALL), 60)]
        assert {one.problem.metadata["split"] for one in samples} == {split}
        seen[split] = {one.problem.id for one in samples}
    assert not seen["train"] & seen["dev"]
    assert not seen["train"] & seen["test"]
    assert not seen["dev"] & seen["test"]


def test_parts_have_their_shares_and_misses() -> None:
    kinds = Counter(one.kind for one in islice(mixture_samples(0, 0, parts=SMALL), 2000))
    num_countdown = kinds["solved"] + kinds["missed"]
    assert abs(num_countdown / 2000 - 0.75) < 0.05
    assert abs(kinds["missed"] / num_countdown - 0.5) < 0.06


def test_every_trace_of_the_shipped_mixture_is_legal_and_within_the_limits_that_are_told() -> None:
    for one in islice(mixture_samples(0, 0), 150):
        asked = read_plain(one.prompt, PLAIN_TASKS)
        assert asked.prompt == one.prompt
        assert asked.beyond == ""
        if "target" in one.problem.metadata:
            check = check_countdown(one.problem, one.trace)
            assert (check.first_wrong, check.is_solved) == (None, one.kind == "solved")
        else:
            assert check_arithmetic(one.problem, one.trace).is_correct


def test_the_limits_that_are_told_are_the_extremes_of_the_mixture() -> None:
    puzzles = [part.difficulty for part in MIXTURE if isinstance(part.difficulty, CountdownDifficulty)]
    sums = [part.difficulty for part in MIXTURE if isinstance(part.difficulty, ArithmeticDifficulty)]
    assert (min(one.num_numbers for one in puzzles), max(one.num_numbers for one in puzzles)) == plain.NUM_NUMBERS
    assert (1, max(one.max_number for one in puzzles)) == plain.NUMBERS
    assert (min(one.min_target for one in puzzles), max(one.max_target for one in puzzles)) == plain.TARGETS
    assert (min(one.num_operators for one in sums), max(one.num_operators for one in sums)) == plain.NUM_OPERATORS
    assert (1, max(one.max_number for one in sums)) == plain.OPERANDS
    assert max(one.max_value for one in sums) == plain.LARGEST_VALUE


def test_a_description_holds_every_part() -> None:
    told = json.loads(json.dumps(describe_mixture()))
    assert [one["share"] for one in told] == [part.share for part in MIXTURE]
    assert len({one["difficulty"] for one in told}) == len(MIXTURE)
    assert sum(part.share for part in MIXTURE) == pytest.approx(1.0)
