from __future__ import annotations

import pytest
from fakes.engine import FakeClock, FakeEngine
from fakes.models import by_prompt, endless, scripted
from fakes.searches import request, results, search
from hypothesis import given, settings
from hypothesis import strategies as st

from arts_lite.search import BranchState, Budget
from arts_lite.types import StopReason

ALL = ("best-of-n", "vote", "weighted-vote", "sdf")


@pytest.mark.parametrize("strategy", ALL)
def test_a_budget_of_one_token_is_a_result(strategy: str) -> None:
    result = search(FakeEngine(), strategy, n=4, budget=Budget(tokens=1))
    assert result.stopped_by is StopReason.BUDGET_TOKENS
    assert result.num_tokens_decoded == 1
    assert result.tree.branches[result.decision.branch].text in ("a", "b")


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(ALL), st.integers(1, 300), st.integers(0, 100), st.integers(1, 20))
def test_the_budget_of_tokens_is_never_exceeded(strategy: str, tokens: int, seed: int, max_rows: int) -> None:
    result = search(FakeEngine(max_rows=max_rows), strategy, n=6, seed=seed, budget=Budget(tokens=tokens))
    assert result.tree.num_tokens == result.num_tokens_decoded <= tokens
    assert (result.stopped_by is StopReason.BUDGET_TOKENS) <= (result.num_tokens_decoded == tokens)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(ALL), st.integers(2, 40), st.integers(0, 100), st.integers(1, 20))
def test_the_budget_of_nodes_is_never_exceeded(strategy: str, nodes: int, seed: int, max_rows: int) -> None:
    result = search(FakeEngine(max_rows=max_rows), strategy, n=6, seed=seed, budget=Budget(nodes=nodes))
    assert result.tree.num_nodes == 1 + sum(branch.num_own_steps for branch in result.tree.branches) <= nodes
    if result.stopped_by is StopReason.BUDGET_NODES:
        assert result.tree.num_nodes == nodes
        assert any(branch.state is BranchState.CUT for branch in result.tree.branches)


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
