from __future__ import annotations

from pathlib import Path

import pytest
from fakes.engine import FakeEngine
from fakes.models import rambling, scripted
from fakes.proposer import FakeProposer

from arts_lite.errors import ContextOverflowError
from arts_lite.solver import Solver, SolverConfig


def solver(engine: FakeEngine | None = None) -> Solver:
    return Solver(FakeProposer(engine or FakeEngine(MODEL)), config=SolverConfig(n=8, max_tokens=100))


def engine_of(one: Solver) -> FakeEngine:
    engine = one.proposer.engine
    assert isinstance(engine, FakeEngine)
    return engine


MODEL = scripted({"The answer is 18": 0.7, "The answer is 9": 0.3})


@pytest.mark.parametrize("question", ["", "  \n\t"])
def test_a_blank_question_is_refused(question: str) -> None:
    with solver() as one:
        with pytest.raises(ValueError, match="question is blank"):
            one.solve(question)
        assert one.solve("How many?").answer is not None


def test_a_prompt_beyond_the_context_is_refused_before_anything_is_decoded() -> None:
    with solver(FakeEngine(MODEL, context_size=50)) as one:
        with pytest.raises(ContextOverflowError, match="60 tokens"):
            one.solve("x" * 60)
        with pytest.raises(ContextOverflowError):
            list(one.stream("x" * 60))
        assert engine_of(one).num_opened == 0
        assert one.solve("short").answer is not None


def test_a_question_that_is_no_text_is_refused() -> None:
    with solver() as one, pytest.raises(TypeError, match="question 1 is 7, but must be a text"):
        list(one.solve_many(["a", 7]))  # type: ignore[list-item]


def test_one_text_is_not_taken_for_many_questions() -> None:
    with solver() as one, pytest.raises(TypeError, match="several questions, not one text"):
        one.solve_many("How many?")


def test_many_questions_come_back_in_order_the_bad_ones_with_their_error() -> None:
    questions = ["one", " ", "two", "x" * 60, "three", ""]
    with solver(FakeEngine(rambling(3), context_size=50)) as one:
        solutions = list(one.solve_many(questions))
    assert [solution.question for solution in solutions] == questions
    assert [type(solution.error) for solution in solutions] == [
        *[type(None), ValueError, type(None), ContextOverflowError, type(None), ValueError]
    ]
    assert solutions[3].to_dict()["error"] == {"type": "ContextOverflowError", "message": str(solutions[3].error)}
    assert all(solution.num_traces == 8 for solution in solutions if solution.error is None)


def test_questions_that_all_fail_lose_nothing() -> None:
    with solver() as one:
        assert [type(solution.error) for solution in one.solve_many(["", " "])] == [ValueError, ValueError]
        assert list(one.solve_many([])) == []


def test_a_prompt_template_belongs_to_the_proposer() -> None:
    template = SolverConfig(prompt_template=Path("t.txt"))
    with pytest.raises(ValueError, match=r"read by Solver\.from_gguf only"):
        Solver(FakeProposer(), config=template)
    with solver() as one, pytest.raises(ValueError, match=r"read by Solver\.from_gguf only"):
        one.solve("q", template)
