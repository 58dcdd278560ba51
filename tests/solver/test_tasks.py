"""A proposer that was made for certain tasks: what it is asked, what chooses its answer, what it is not asked."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping

import pytest
from fakes.engine import FakeEngine
from fakes.models import Model, by_prompt, scripted
from fakes.proposer import FakeProposer

from arts_lite.errors import UnsupportedQuestionError
from arts_lite.solver import Solution, Solver, SolverConfig
from arts_lite.types import StopReason

WRONG = "8-5=3; 3 7 3\n7+3=10; 3 10\n10*3=30"
RIGHT = "8-5=3; 3 7 3\n3*7=21; 3 21\n21+3=24"
FORCED = "8-5=3; 3 7 3\n3*7=24; 3 24\n24+3=24"
COUNTDOWN = scripted({WRONG: 0.8, FORCED: 0.1, RIGHT: 0.1})
SUMS = scripted({"17*18=306; 306+4\n306+4=310": 0.6, "17*18=316; 316+4\n316+4=320": 0.4})


def solver(model: Model, tasks: tuple[str, ...] = ("countdown", "arithmetic"), **settings: object) -> Solver:
    proposer = FakeProposer(FakeEngine(model))
    proposer.tasks = tasks
    return Solver(proposer, config=SolverConfig(**{"n": 64, **settings}))  # type: ignore[arg-type]


def solved(one: Solver, question: str) -> Solution:
    with one:
        return one.solve(question)


@pytest.mark.parametrize("strategy", ["vote", "best-of-n", "sdf"])
def test_a_countdown_answer_is_chosen_by_the_checker_though_few_traces_give_it(strategy: str) -> None:
    one = solver(COUNTDOWN, strategy=strategy, early_stop=False)
    solution = solved(one, "make 24 from 3, 5, 7, 8")
    assert (solution.answer, solution.chosen_by) == ("((8-5)*7)+3", "checker")
    assert solution.text == RIGHT
    assert solution.votes < max(candidate.count for candidate in solution.candidates)
    assert isinstance(one.proposer, FakeProposer)
    assert one.proposer.asked == ["24: 3 5 7 8\n"]
    assert json.loads(json.dumps(solution.to_dict()))["chosen_by"] == "checker"


def test_a_right_countdown_answer_ends_the_search() -> None:
    solution = solved(solver(scripted({RIGHT: 0.5, WRONG + "\n30+0=30" * 9: 0.5})), "24: 3 5 7 8")
    assert (solution.answer, solution.stopped_by) == ("((8-5)*7)+3", StopReason.DECIDED)
    assert any(trace.reason is StopReason.PRUNED for trace in solution.traces)


def test_a_majority_of_wrong_answers_does_not_end_the_search() -> None:
    solution = solved(solver(scripted({WRONG: 0.97, RIGHT: 0.03}), seed=1), "24: 3 5 7 8")
    assert solution.answer == "((8-5)*7)+3"
    assert solution.votes < 32


def test_a_trace_that_only_claims_the_target_is_not_accepted() -> None:
    solution = solved(solver(scripted({WRONG: 0.5, FORCED: 0.5})), "24: 3 5 7 8")
    assert (solution.answer, solution.chosen_by, solution.votes) == (None, "checker", 0)
    assert solution.stopped_by is StopReason.COMPLETE
    assert {candidate.answer for candidate in solution.candidates} == {"(7+(8-5))*3", "24"}
    assert solution.text in (WRONG, FORCED)


def test_arithmetic_is_decided_by_vote() -> None:
    one = solver(SUMS)
    solution = solved(one, "17 times 18 plus 4")
    assert (solution.answer, solution.chosen_by) == ("310", "vote")
    assert isinstance(one.proposer, FakeProposer)
    assert one.proposer.asked == ["17*18+4\n"]


def test_arithmetic_is_decided_by_the_scorer_where_that_is_asked_for() -> None:
    solution = solved(solver(SUMS, strategy="best-of-n", scorer="logprob-sum"), "17*18+4")
    assert (solution.answer, solution.chosen_by) == ("310", "score")


def test_any_other_question_is_refused_in_a_clear_text() -> None:
    with solver(SUMS) as one:
        with pytest.raises(UnsupportedQuestionError, match="'How many\\?' is no question for this small model"):
            one.solve("How many?")
        with pytest.raises(UnsupportedQuestionError):
            list(one.stream("How many?"))
        assert one.solve("17*18+4").answer == "310"
        assert isinstance(one.proposer, FakeProposer)
        assert one.proposer.asked == ["17*18+4\n"]


def test_of_many_questions_only_the_unsupported_ones_fail() -> None:
    model = by_prompt({"24: ": COUNTDOWN, "17*": SUMS})
    questions = ["make 24 from 3 5 7 8", "who was Gauss?", "17*18+4", "7/2", " "]
    with solver(model) as one:
        solutions = list(one.solve_many(questions))
    assert [solution.question for solution in solutions] == questions
    errors: list[Mapping[str, str] | None] = [solution.to_dict()["error"] for solution in solutions]  # type: ignore[misc]
    assert [error and error["type"] for error in errors] == [
        *[None, "UnsupportedQuestionError", None, "UnsupportedQuestionError", "ValueError"]
    ]
    assert "make 24 from 3, 5, 7, 8" in (errors[1] or {})["message"]
    assert [solution.chosen_by for solution in solutions[:3:2]] == ["checker", "vote"]


def test_a_question_beyond_the_training_is_answered_with_a_warning() -> None:
    with solver(scripted({"8*3=24": 1.0}), n=2) as one:
        with pytest.warns(UserWarning, match=r"make 24 from 3, 8: beyond .* \(2 numbers instead of 3 to 5\)"):
            assert one.solve("make 24 from 3, 8").answer == "8*3"
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert one.solve("8*3").answer == "24"


def test_a_system_prompt_is_left_out_with_a_warning() -> None:
    one = solver(SUMS, system="Be brief.")
    with pytest.warns(UserWarning, match="reads no system prompt"):
        solution = solved(one, "17*18+4")
    assert solution.tree is not None
    assert solution.tree.origin.num_prompt_tokens == len("17*18+4\n")


def test_a_proposer_for_any_question_is_asked_as_before() -> None:
    one = solver(scripted({"The answer is 24": 1.0}), tasks=())
    solution = solved(one, "make 24 from 3, 5, 7, 8")
    assert (solution.answer, solution.chosen_by) == ("24", "vote")
    assert isinstance(one.proposer, FakeProposer)
    assert one.proposer.asked == ["make 24 from 3, 5, 7, 8"]
