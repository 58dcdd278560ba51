"""How many questions a solver has open on an engine."""

from __future__ import annotations

import pytest
from fakes.cells import FakeCells
from fakes.models import lettered
from fakes.proposer import FakeProposer

from arts_lite.search.events import QuestionStarted
from arts_lite.solver import Solved, Solver, SolverConfig

LONG = lettered(20, {"a": 0.5, "b": 0.5})
QUESTIONS = [f"question {number:02d}?" for number in range(12)]


@pytest.mark.parametrize(("num_cells", "max_open", "wanted"), [(1100, 64, 3), (100_000, 64, 12), (100_000, 5, 5)])
def test_as_many_questions_are_open_as_the_cells_carry(num_cells: int, max_open: int, wanted: int) -> None:
    engine = FakeCells(LONG, num_cells=num_cells, max_rows=64)
    config = SolverConfig(strategy="best-of-n", n=4, max_tokens=82, max_open=max_open)
    num_open = most = 0
    answers = []
    with Solver(FakeProposer(engine), config=config) as solver:
        for event in solver.stream_many(QUESTIONS):
            num_open += isinstance(event, QuestionStarted) - isinstance(event, Solved)
            most = max(most, num_open)
            answers += [event.solution.answer] if isinstance(event, Solved) else []
    assert (most, engine.num_parked, len(answers)) == (wanted, 0, 12)
