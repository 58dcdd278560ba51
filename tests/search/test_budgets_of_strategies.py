"""What holds for every strategy that there is, under every budget."""

from __future__ import annotations

import pytest
from fakes.engine import FakeClock, FakeEngine
from fakes.models import endless, rambling, scripted
from fakes.searches import request, results, search
from fakes.values import ValueOf, arbitrary
from hypothesis import given, settings
from hypothesis import strategies as st

from arts_lite.search import (
    STRATEGIES,
    BranchState,
    Budget,
    Checked,
    SearchRequest,
    SearchResult,
    StrategySettings,
    make_strategy,
)
from arts_lite.types import StopReason

ALL = sorted(STRATEGIES)
NAMES = st.sampled_from(ALL)
ROWS = st.integers(1, 20)
SEEDS = st.integers(0, 100)


def searched(engine: FakeEngine, strategy: str, **options: object) -> SearchResult:
    """The result under values that say nothing, with nothing left open in the engine."""
    return search(engine, strategy, scorer=ValueOf(arbitrary), **options)


def whole_tree(result: SearchResult) -> list[tuple[object, ...]]:
    return [
        (branch.path, branch.start, branch.text, branch.state, branch.reason, branch.why, branch.score)
        for branch in result.tree.branches
    ]


@pytest.mark.parametrize("strategy", ALL)
@pytest.mark.parametrize(
    "budget", [Budget(tokens=1), Budget(nodes=2), Budget(seconds=1e-9)], ids=["tokens", "nodes", "seconds"]
)
@pytest.mark.parametrize("n", [1, 4, 16])
def test_the_smallest_budget_is_a_result(strategy: str, budget: Budget, n: int) -> None:
    engine = FakeEngine(seconds_per_decode=1.0)
    result = searched(engine, strategy, n=n, budget=budget)
    assert result.stopped_by in (StopReason.BUDGET_TOKENS, StopReason.BUDGET_NODES, StopReason.BUDGET_SECONDS)
    assert result.decision.answer is None or result.decision.branch is not None
    assert 1 <= result.num_tokens_decoded == result.tree.num_tokens


@pytest.mark.parametrize("strategy", ALL)
def test_the_smallest_budget_may_hold_an_answer(strategy: str) -> None:
    result = searched(FakeEngine(scripted({"=7": 1.0})), strategy, n=1, beam_width=1, budget=Budget(nodes=2))
    assert result.decision.answer == "7"


@settings(max_examples=120, deadline=None)
@given(NAMES, st.integers(1, 300), SEEDS, ROWS)
def test_the_budget_of_tokens_is_never_exceeded(strategy: str, tokens: int, seed: int, max_rows: int) -> None:
    result = searched(FakeEngine(max_rows=max_rows), strategy, n=6, seed=seed, budget=Budget(tokens=tokens))
    assert result.tree.num_tokens == result.num_tokens_decoded <= tokens
    if result.stopped_by is StopReason.BUDGET_TOKENS:
        assert result.num_tokens_decoded == tokens


@settings(max_examples=120, deadline=None)
@given(NAMES, st.integers(2, 40), SEEDS, ROWS)
def test_the_budget_of_nodes_is_never_exceeded(strategy: str, nodes: int, seed: int, max_rows: int) -> None:
    result = searched(FakeEngine(max_rows=max_rows), strategy, n=6, seed=seed, budget=Budget(nodes=nodes))
    assert result.tree.num_nodes == 1 + sum(branch.num_own_steps for branch in result.tree.branches) <= nodes
    if result.stopped_by is StopReason.BUDGET_NODES:
        assert result.tree.num_nodes == nodes
        assert any(branch.state is BranchState.CUT for branch in result.tree.branches)


@settings(max_examples=120, deadline=None)
@given(NAMES, st.floats(0.01, 6.0), SEEDS, ROWS)
def test_the_budget_of_seconds_is_exceeded_by_one_decode_call_at_most(
    strategy: str, seconds: float, seed: int, max_rows: int
) -> None:
    engine = FakeEngine(max_rows=max_rows, clock=FakeClock(), seconds_per_decode=0.1)
    result = searched(engine, strategy, n=6, seed=seed, budget=Budget(seconds=seconds))
    assert result.seconds <= seconds + 0.1 + 1e-6
    assert result.stopped_by is not StopReason.BUDGET_SECONDS or result.seconds >= seconds


@settings(max_examples=60, deadline=None)
@given(NAMES, SEEDS, st.sampled_from([Budget(), Budget(tokens=60), Budget(nodes=15)]))
def test_the_same_seed_grows_the_same_tree(strategy: str, seed: int, budget: Budget) -> None:
    first, second = (searched(FakeEngine(), strategy, n=6, seed=seed, budget=budget) for _ in range(2))
    assert whole_tree(first) == whole_tree(second)
    assert first.decision == second.decision


@pytest.mark.parametrize("strategy", ALL)
def test_another_seed_grows_another_tree(strategy: str) -> None:
    first, second = (searched(FakeEngine(), strategy, n=6, seed=seed) for seed in (0, 1))
    assert whole_tree(first) != whole_tree(second)


@settings(max_examples=40, deadline=None)
@given(NAMES, SEEDS, ROWS)
def test_other_questions_beside_it_change_nothing(strategy: str, seed: int, max_rows: int) -> None:
    def asked(question: int, seed: int, strategy: str = strategy) -> SearchRequest:
        return request(strategy, question=question, n=4, seed=seed, scorer=ValueOf(arbitrary))

    alone = results(FakeEngine(), [asked(0, seed)])[0]
    beside = results(FakeEngine(max_rows=max_rows), [asked(1, seed + 1, "sdf"), asked(0, seed), asked(2, seed + 2)])[0]
    if strategy != "vote":  # whose stop drops whatever has not ended by then
        assert sorted(map(repr, whole_tree(alone))) == sorted(map(repr, whole_tree(beside)))
    assert alone.decision.answer == beside.decision.answer


@pytest.mark.parametrize("strategy", ALL)
def test_ended_traces_answer_when_a_budget_ends_the_search(strategy: str) -> None:
    model = scripted({"=1": 0.5, "a long\n\nway\n\nround\n\nand\n\nround\n\n=2": 0.5})
    for tokens in (30, 45):
        result = searched(FakeEngine(model), strategy, n=8, seed=3, max_tokens=40, budget=Budget(tokens=tokens))
        ended = [branch for branch in result.tree.branches if branch.has_ended]
        if ended:
            assert result.decision.answer in {branch.answer for branch in ended}
            assert result.decision.branch in {branch.index for branch in ended}


@pytest.mark.parametrize("strategy", ALL)
def test_no_answer_at_all_is_a_result(strategy: str) -> None:
    result = searched(FakeEngine(scripted({"no\n\nidea": 1.0})), strategy, n=3)
    assert (result.decision.answer, result.decision.votes) == (None, 0)


@pytest.mark.parametrize("strategy", ALL)
def test_a_trace_without_steps_or_end_is_searched(strategy: str) -> None:
    result = searched(FakeEngine(endless), strategy, n=3, max_tokens=20)
    assert {branch.reason for branch in result.tree.branches if branch.has_ended} == {StopReason.MAX_TOKENS}
    assert result.decision.answer is None


@pytest.mark.parametrize("strategy", ALL)
def test_a_checker_ends_every_strategy_at_a_right_answer(strategy: str) -> None:
    patient = make_strategy(strategy, StrategySettings(early_stop=False))  # a verifier may be sure of a wrong answer
    checked = Checked(patient, lambda answer: answer == "3")
    result = search(FakeEngine(rambling(3)), checked, scorer=ValueOf(arbitrary))
    assert (result.decision.answer, result.stopped_by) == ("3", StopReason.DECIDED)
    assert not any(branch.state is BranchState.CUT for branch in result.tree.branches)
