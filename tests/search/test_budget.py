from __future__ import annotations

from fakes.engine import FakeClock, FakeEngine
from fakes.models import by_prompt, endless, scripted
from fakes.searches import request, results, search

from arts_lite.search import BranchState, Budget
from arts_lite.types import StopReason


def test_a_budget_of_seconds_stops_with_the_best_answer_so_far() -> None:
    clock = FakeClock()
    engine = FakeEngine(scripted({"=1": 0.5, "x" * 90: 0.5}), clock=clock, seconds_per_decode=0.1)
    result = search(engine, "vote", n=8, budget=Budget(seconds=2.0))
    assert result.stopped_by is StopReason.BUDGET_SECONDS
    assert 2.0 <= result.seconds <= 2.0 + 0.1 + 1e-6
    assert result.decision.answer == "1"
    assert {branch.state for branch in result.tree.branches} == {BranchState.ENDED, BranchState.CUT}


def test_a_cut_trace_answers_where_none_has_ended() -> None:
    result = search(FakeEngine(scripted({"=12345678": 1.0})), "vote", n=1, budget=Budget(tokens=4))
    assert (result.decision.answer, result.decision.votes) == ("123", 1)
    assert result.tree.branches[0].reason is StopReason.BUDGET_TOKENS


def test_seconds_of_one_question_do_not_count_for_a_later_one() -> None:
    clock = FakeClock()
    engine = FakeEngine(by_prompt({"slow": endless, "fast": scripted({"=1": 1.0})}), clock=clock, seconds_per_decode=1)
    slow = request(question=0, prompt=b"slow", n=1, budget=Budget(seconds=9.5))
    fast = request(question=1, prompt=b"fast", n=1, budget=Budget(seconds=9.5))
    found = results(engine, [slow, fast], max_open=1)
    assert [found[0].stopped_by, found[1].stopped_by] == [StopReason.BUDGET_SECONDS, StopReason.COMPLETE]
