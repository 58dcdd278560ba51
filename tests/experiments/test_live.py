"""Strategies searched live on a pool's problems, on the fake engine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from fakes.evaluations import SETTINGS, proposer, sampled, task
from fakes.judging import CountingTree, FakeVerifier, by_answer

from arts_lite.errors import ContextOverflowError
from arts_lite.experiments.lines import read_lines
from arts_lite.experiments.live import LiveRun, LiveSearch
from arts_lite.solver import SolverConfig


class ShortVerifier(FakeVerifier):
    """Does not hold the question of some problems."""

    def __init__(self, *too_long: str) -> None:
        super().__init__(by_answer("1"))
        self._too_long = too_long

    def tree(self, question: str, delimiters: Sequence[str] = ()) -> CountingTree:
        if any(word in question for word in self._too_long):
            raise ContextOverflowError("the question has 99 of the verifier's tokens")
        return super().tree(question, delimiters)


@pytest.mark.parametrize(("too_long", "num_done"), [(("question 1?",), 3), (("question",), 0)])
def test_a_problem_that_the_verifier_does_not_hold_is_left_out_and_told(
    tmp_path: Path, too_long: tuple[str, ...], num_done: int
) -> None:
    pool = sampled(tmp_path, 4)
    search = LiveSearch(SolverConfig(strategy="best-of-n", n=2, max_tokens=200), False, "flow", SETTINGS)
    run = LiveRun(proposer(), ShortVerifier(*too_long), task(), pool, tmp_path, search)
    *_, last = run.run()
    assert (last.num_done, last.num_problems) == (num_done, 4)
    assert last.note == "the question has 99 of the verifier's tokens"
    assert len(list(read_lines(tmp_path / "live/best-of-n-n2-flow/outcomes.jsonl"))) == num_done
