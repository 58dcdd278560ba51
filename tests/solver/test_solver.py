from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from fakes.engine import FakeEngine
from fakes.models import by_prompt, endless, rambling, scripted
from fakes.proposer import FakeProposer

from arts_lite.errors import BranchClosedError, DecodeError
from arts_lite.search import BranchState
from arts_lite.search.events import QuestionStarted, StepEnded, TraceEnded
from arts_lite.solver import Solution, Solved, Solver, SolverConfig
from arts_lite.types import SamplingParams, StepRules, StopReason

MODEL = scripted({"eggs\n\nThe answer is 18": 0.5, "The answer is $18.00": 0.2, "The answer is 9": 0.3})


def solver(engine: FakeEngine | None = None, **settings: object) -> Solver:
    config = SolverConfig(**{"n": 8, "max_tokens": 100, **settings})  # type: ignore[arg-type]
    return Solver(FakeProposer(engine or FakeEngine(MODEL)), config=config)


def engine_of(one: Solver) -> FakeEngine:
    engine = one.proposer.engine
    assert isinstance(engine, FakeEngine)
    return engine


def test_equal_answers_are_merged_and_the_majority_wins() -> None:
    with solver(n=16, early_stop=False) as one:
        solution = one.solve("How many?")
    assert solution.answer in ("18", "$18.00")
    assert solution.votes == sum(trace.answer in ("18", "$18.00") for trace in solution.traces)
    assert [candidate.count for candidate in solution.candidates] == [solution.votes, 16 - solution.votes]
    assert solution.text.endswith(solution.answer)
    assert (solution.num_traces, solution.stopped_by) == (16, StopReason.COMPLETE)


def test_a_solution_is_plain_data_with_what_is_needed_to_repeat_it() -> None:
    with solver(strategy="sdf", seed=3) as one:
        solution = one.solve("How many?")
    plain = json.loads(json.dumps(solution.to_dict(with_traces=True), allow_nan=False))
    assert list(plain)[:6] == ["question", "answer", "text", "score", "votes", "chosen_by"]
    assert plain["chosen_by"] == "vote"
    assert (plain["settings"]["strategy"], plain["settings"]["seed"]) == ("sdf", 3)
    assert plain["settings"]["sampling"]["temperature"] == 1.0
    assert plain["settings"]["proposer"] == {"name": "fake"}
    assert set(plain["versions"]) >= {"python"}
    assert plain["candidates"][0] == {"answer": "18", "count": solution.votes, "score": solution.score}
    assert len(plain["traces"]) == plain["num_traces"]
    assert plain["num_tokens_decoded"] == engine_of(one).stats().num_tokens_decoded
    assert plain["error"] is None
    assert "traces" not in solution.to_dict()


def test_numbers_that_json_lacks_become_null() -> None:
    assert Solution("q", score=float("-inf")).to_dict()["score"] is None


def test_the_same_call_gives_the_same_solution() -> None:
    with solver(strategy="sdf") as one:
        first, second = one.solve("How many?"), one.solve("How many?")
        other = one.solve("How many?", SolverConfig(strategy="sdf", n=8, max_tokens=100, seed=1))
    assert first.traces == second.traces
    assert first.traces != other.traces


def test_traces_tell_their_place_in_the_tree() -> None:
    with solver(FakeEngine(rambling(5)), strategy="sdf", fork_prob=1.0, n=2) as one:
        traces = one.solve("q").traces
    forks = [trace for trace in traces if trace.parent is not None]
    assert len(forks) > 2
    for fork in forks:
        parent = traces[fork.parent]
        shared = fork.fork_position - len("q")
        assert fork.text[:shared] == parent.text[:shared]
        assert "".join(fork.steps) == fork.text
    assert all(trace.fork_position is None for trace in traces if trace.parent is None)


def test_order_is_kept_though_later_questions_finish_first() -> None:
    model = by_prompt({"slow": scripted({"x" * 90 + "=1": 1.0}), "fast": scripted({"=2": 1.0})})
    with solver(FakeEngine(model, max_rows=64), n=2) as one:
        finished = [event.question for event in one.stream_many(["slow", "fast", "fast"]) if isinstance(event, Solved)]
        solutions = list(one.solve_many(["slow", "fast", "fast"]))
    assert finished == [1, 2, 0]
    assert [solution.question for solution in solutions] == ["slow", "fast", "fast"]


def test_many_questions_share_the_batch() -> None:
    questions = [f"question {number}" for number in range(12)]
    with solver(FakeEngine(rambling(4), max_rows=16), n=4) as many:
        together = list(many.solve_many(questions))
    with solver(FakeEngine(rambling(4), max_rows=16), n=4) as single:
        alone = [single.solve(question) for question in questions]
    assert [solution.answer for solution in together] == [solution.answer for solution in alone]
    assert len(engine_of(many).rows_per_decode) < 0.5 * len(engine_of(single).rows_per_decode)


def test_questions_are_read_as_the_batch_needs_them() -> None:
    read: list[int] = []

    def questions() -> Iterator[str]:
        for number in range(1000):
            read.append(number)
            yield f"question {number}"

    with solver(FakeEngine(rambling(3), max_rows=8), n=4) as one:
        solutions = one.solve_many(questions())
        assert next(solutions).question == "question 0"
        assert len(read) < 10
        solutions.close()  # type: ignore[attr-defined]
        assert not engine_of(one).branches


def test_budgets_end_a_search_with_what_there_is() -> None:
    with solver(FakeEngine(endless), max_tokens=10**6) as one:
        for config, reason in [
            (SolverConfig(budget_tokens=1), StopReason.BUDGET_TOKENS),
            (SolverConfig(budget_tokens=777, max_tokens=10**6), StopReason.BUDGET_TOKENS),
            (SolverConfig(budget_seconds=1e-9, max_tokens=10**6), StopReason.BUDGET_SECONDS),
            (SolverConfig(max_tokens=5, budget_nodes=2), StopReason.COMPLETE),
        ]:
            solution = one.solve("q", config)
            assert solution.num_traces >= 1
            assert solution.num_tokens_decoded <= (config.budget_tokens or 100)
            if reason is not StopReason.COMPLETE:
                assert solution.stopped_by is reason


def test_the_users_sampling_rules_and_system_prompt_reach_the_engine() -> None:
    with solver(FakeEngine(rambling(5)), n=2) as one:
        greedy = SolverConfig(n=3, sampling=SamplingParams(temperature=0.0), max_tokens=9, system="be brief")
        solution = one.solve("q", greedy)
        assert len({trace.text for trace in solution.traces}) == 1
        assert solution.tree is not None
        assert solution.tree.origin.num_prompt_tokens == len("be briefq")
        cut = one.solve("q", SolverConfig(n=1, rules=StepRules(delimiters=("a",))))
        assert all(step.count("a") <= 1 for step in cut.traces[0].steps)


def test_another_idea_of_an_answer_can_be_given() -> None:
    proposer = FakeProposer(FakeEngine(scripted({"RED": 0.5, "red": 0.5})))
    one = Solver(proposer, extract=lambda text: text or None, same=lambda a, b: a.lower() == b.lower())
    assert one.solve("colour?").votes > 8
    one.close()


def test_a_stream_tells_steps_and_ends_with_the_solution() -> None:
    with solver(n=2, strategy="best-of-n") as one:
        events = list(one.stream("How many?"))
        solution = one.solve("How many?")
    assert isinstance(events[0], QuestionStarted)
    assert isinstance(events[-1], Solved)
    assert events[-1].solution.traces == solution.traces
    assert sum(isinstance(event, TraceEnded) for event in events) == 2
    assert sum(isinstance(event, StepEnded) for event in events) == sum(len(t.steps) for t in solution.traces)


def test_a_stream_that_is_left_early_leaves_no_branch_behind() -> None:
    with solver(FakeEngine(rambling(4))) as one:
        with one.stream("first") as events:
            for _ in range(5):
                next(events)
            assert engine_of(one).branches
        assert not engine_of(one).branches
        assert list(events) == []
        events.close()
        for event in one.stream("forgotten"):
            if isinstance(event, StepEnded):
                break
        del event
        assert one.solve("next").answer is not None


def test_cancel_gives_the_best_answer_so_far() -> None:
    one = solver(FakeEngine(endless, context_size=10**9), max_tokens=10**6)
    engine = engine_of(one)
    engine.on_decode = lambda: one.cancel() if len(engine.rows_per_decode) == 20 else None
    solution = one.solve("q")
    assert solution.stopped_by is StopReason.INTERRUPTED
    assert {trace.state for trace in solution.traces} == {BranchState.CUT}
    assert solution.num_tokens_decoded == 8 * 20 or solution.num_tokens_decoded == 8 * 21
    engine.on_decode = None
    one.cancel()  # nothing is at work: nothing happens to the next call
    assert one.solve("q", SolverConfig(max_tokens=3)).stopped_by is StopReason.COMPLETE
    one.close()


def test_cancelled_questions_come_with_what_there_is_and_the_rest_is_left_out() -> None:
    one = solver(FakeEngine(endless, context_size=10**9, max_rows=16), max_tokens=10**6)
    engine = engine_of(one)
    engine.on_decode = lambda: one.cancel() if len(engine.rows_per_decode) == 20 else None
    solutions = list(one.solve_many([f"q{number}" for number in range(9)]))
    assert [solution.question for solution in solutions] == ["q0", "q1"]
    one.close()


def test_an_error_of_the_engine_is_raised_and_the_solver_goes_on() -> None:
    def fail() -> None:
        raise DecodeError("llama.cpp refused a batch")

    one = solver()
    engine_of(one).on_decode = fail
    for _ in range(2):
        with pytest.raises(DecodeError):
            one.solve("q")
        with pytest.raises(DecodeError):
            list(one.solve_many(["q"]))
    engine_of(one).on_decode = None
    assert one.solve("q").answer is not None
    one.close()


def test_closing_twice_is_fine_and_using_a_closed_solver_is_an_error() -> None:
    one = solver()
    stream = one.stream("never started")
    one.close()
    one.close()
    with pytest.raises(BranchClosedError, match="solver is closed; make a new one"):
        one.solve("q")
    with pytest.raises(BranchClosedError):
        one.solve_many(["q"])
    with pytest.raises(BranchClosedError):
        next(stream)
    one.cancel()


def test_closing_in_the_middle_of_a_stream_ends_the_stream() -> None:
    one = solver(FakeEngine(rambling(4)))
    stream = one.stream("q")
    next(stream)
    one.close()
    assert list(stream) == []
    assert isinstance(one.proposer, FakeProposer)
    assert one.proposer.is_closed


def test_a_thousand_calls_leave_nothing_behind() -> None:
    with solver(FakeEngine(scripted({"=1": 1.0})), n=1) as one:
        for number in range(1000):
            one.solve(str(number))
        engine = engine_of(one)
        assert not engine.branches
        assert len(engine._spent) == 1
