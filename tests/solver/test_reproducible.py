"""A reproducible solver: a question's solution depends on nothing that is asked beside or before it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.engine import FakeEngine
from fakes.models import rambling
from fakes.proposer import FakeProposer

from arts_lite.search.events import QuestionFinished, QuestionStarted
from arts_lite.solver import Solution, Solved, Solver, SolverConfig
from arts_lite.types import SamplingParams, StepRules

QUESTIONS = ["one?", "a second question, longer than the first?", "3", "and a fourth"]
CONFIG = SolverConfig(
    strategy="sdf",
    n=4,
    max_tokens=48,
    sampling=SamplingParams(temperature=1.0, top_p=1.0),
    rules=StepRules(delimiters=("e", "\n")),
)


@pytest.fixture
def solver(tiny_model_path: Path) -> Iterator[Solver]:
    with Solver.from_gguf(tiny_model_path, config=CONFIG, threads=1, ctx_size=512, reproducible=True) as one:
        yield one


def bits(solution: Solution) -> list[tuple[bytes, bytes]]:
    """Tokens and log-probs of every node of the searched tree."""
    tree = solution.tree
    assert tree is not None
    rows = [(tree.tokens(node).tobytes(), tree.log_pf_model[node].tobytes()) for node in range(tree.num_nodes)]
    return sorted(rows)


def test_a_solution_is_the_same_alone_in_company_and_as_a_stream(solver: Solver) -> None:
    alone = {question: bits(solver.solve(question)) for question in QUESTIONS}
    assert len({str(found) for found in alone.values()}) == len(QUESTIONS)
    for questions in (QUESTIONS, QUESTIONS[::-1]):
        assert {found.question: bits(found) for found in solver.solve_many(questions)} == alone
    for question in QUESTIONS:
        *_, last = solver.stream(question)
        assert isinstance(last, Solved)
        assert bits(last.solution) == alone[question]


def test_a_search_that_was_left_changes_nothing_in_the_next(solver: Solver) -> None:
    wanted = bits(solver.solve(QUESTIONS[1]))
    with solver.stream(QUESTIONS[0]) as events:
        for _ in range(8):
            next(events)
    assert bits(solver.solve(QUESTIONS[1])) == wanted


def test_the_settings_of_a_solution_tell_the_mode(solver: Solver) -> None:
    assert solver.solve("q?").settings["engine"]["reproducible"] == "True"  # type: ignore[index]


@pytest.mark.parametrize("is_reproducible", [True, False])
def test_one_question_at_a_time_is_open_only_in_this_mode(is_reproducible: bool) -> None:
    proposer = FakeProposer(FakeEngine(rambling(), is_reproducible=is_reproducible))
    num_open = most = 0
    with Solver(proposer, config=SolverConfig(n=2)) as one:
        for event in one.stream_many(QUESTIONS):
            num_open += isinstance(event, QuestionStarted) - isinstance(event, Solved)
            most = max(most, num_open)
            assert not isinstance(event, QuestionFinished)
    assert most == (1 if is_reproducible else len(QUESTIONS))
