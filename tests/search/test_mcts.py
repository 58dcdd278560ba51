"""Monte Carlo Tree Search: PUCT by hand, visits, and what is found."""

from __future__ import annotations

import math

import pytest
from fakes.engine import FakeEngine
from fakes.models import lettered, rambling, scripted
from fakes.searches import search
from fakes.values import ValueOf, arbitrary, chance_of
from hypothesis import given, settings
from hypothesis import strategies as st

from arts_lite.search import Budget, SearchResult, StrategySettings
from arts_lite.search.mcts import MonteCarloTreeSearch, Node, puct, shares
from arts_lite.types import StopReason

LETTERS = {"a": 0.5, "b": 0.3, "c": 0.2}


def grown(
    engine: FakeEngine, scorer: ValueOf, *, seed: int = 0, budget: Budget | None = None, **options: object
) -> tuple[MonteCarloTreeSearch, SearchResult]:
    strategy = MonteCarloTreeSearch(StrategySettings(**options))  # type: ignore[arg-type]
    return strategy, search(engine, strategy, seed=seed, scorer=scorer, budget=budget)


def nodes_below(node: Node) -> list[Node]:
    return [node, *(below for child in node.children for below in nodes_below(child))]


def test_puct_by_hand() -> None:
    assert puct(0.5, 0.25, 3, 16, 1.25) == pytest.approx(0.5 + 1.25 * 0.25 * 4 / 4)
    assert puct(0.5, 0.25, 0, 0, 1.25) == 0.5  # nothing was visited: the value decides


def test_priors_are_shares_of_the_siblings_flows() -> None:
    assert shares([math.log(1), math.log(3), math.log(4)]) == pytest.approx([1 / 8, 3 / 8, 1 / 2])
    assert shares([-math.inf, 0.0]) == [0.0, 1.0]
    assert shares([-math.inf, -math.inf]) == [0.5, 0.5]


def test_three_simulations_by_hand() -> None:
    """Two leaves under the root, worth 4 and 2 (priors 2/3 and 1/3), and c_puct = 3.

    First: no visits, so the values decide: 4, that is Q = 1, before 2, Q = 0.
    Second: 1 + 3 (2/3) sqrt(1) / 2 = 2 against 0 + 3 (1/3) sqrt(1) / 1 = 1: the first again.
    Third: 1 + 2 sqrt(2) / 3 = 1.94 against sqrt(2) = 1.41: again. Fourth: 1 + 2 sqrt(3) / 4 = 1.87 against
    1.73: again. Fifth: 1 + 2 sqrt(4) / 5 = 1.8 against 2: the other one.
    """
    worth = ValueOf(lambda text: 4.0 if "good" in text else 2.0)
    visits = []
    for n in range(1, 7):
        model = scripted({"=good": 0.5, "=bad": 0.5})
        strategy, result = grown(FakeEngine(model), worth, n=n, beam_width=8, c_puct=3.0)
        assert sorted(child.prior for child in strategy.root.children) == pytest.approx([1 / 3, 2 / 3])
        by_worth = sorted(strategy.root.children, key=lambda child: -child.value)
        visits.append(tuple(child.num_visits for child in by_worth))
        assert result.stopped_by is StopReason.COMPLETE
    assert visits == [(1, 0), (2, 0), (3, 0), (4, 0), (4, 1), (5, 1)]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 5), st.integers(0, 50), st.sampled_from([0.0, 1.25, 10.0]))
def test_visits_sum_to_the_number_of_simulations(n: int, width: int, seed: int, c_puct: float) -> None:
    options = {"n": n, "beam_width": width, "c_puct": c_puct}
    strategy, result = grown(FakeEngine(rambling(4)), ValueOf(arbitrary), seed=seed, **options)
    assert result.stopped_by is StopReason.COMPLETE
    assert strategy.root.num_visits == n
    for node in nodes_below(strategy.root):
        assert len(node.children) <= node.num_draws
        assert not node.children or width <= node.num_draws <= width + math.log2(max(node.num_visits, 1))
        assert not node.children or node.num_visits == sum(child.num_visits for child in node.children)
        assert not node.children or sum(child.prior for child in node.children) == pytest.approx(1.0)
        if node.num_visits and not node.children:
            assert node.branch is not None
            assert node.branch.has_ended
            assert node.mean == pytest.approx(node.branch.score)


def test_a_nodes_value_is_the_mean_of_the_flows_that_were_reached_through_it() -> None:
    strategy, _ = grown(FakeEngine(rambling(4)), ValueOf(arbitrary), n=20, beam_width=3, c_puct=5.0)
    leaves = [node for node in nodes_below(strategy.root) if not node.children and node.num_visits]
    total = sum(leaf.num_visits * math.exp(leaf.value) for leaf in leaves)
    assert len(leaves) > 3
    assert math.exp(strategy.root.mean) == pytest.approx(total / 20)


def test_without_exploration_the_best_step_is_followed_again_and_again() -> None:
    scorer = chance_of("ba", {"a": 0.5, "b": 0.5})
    strategy, result = grown(FakeEngine(lettered(2, {"a": 0.5, "b": 0.5})), scorer, n=9, beam_width=8, c_puct=0.0)
    assert result.decision.answer == "ba"
    assert sorted(child.num_visits for child in strategy.root.children) == [0, 9]


def test_exploration_reaches_what_the_value_hides() -> None:
    hidden = ValueOf(lambda text: 10.0 if text.endswith("=bb") else 0.5 if text.startswith("b") else 1.0)
    model = lettered(2, {"a": 0.5, "b": 0.5})
    greedy = grown(FakeEngine(model), hidden, n=64, beam_width=8, c_puct=0.0)[1]
    explored = grown(FakeEngine(model), hidden, n=64, beam_width=8, c_puct=1.25)[1]
    assert greedy.decision.answer != "bb"
    assert explored.decision.answer == "bb"


def test_a_planted_rare_path_is_found() -> None:
    found = 0
    for seed in range(20):
        scorer = chance_of("cbcc", LETTERS)
        _, result = grown(FakeEngine(lettered(4, LETTERS)), scorer, seed=seed, n=4, beam_width=16)
        found += result.decision.answer == "cbcc"
    assert found >= 15


def test_steps_that_were_not_selected_are_parked_and_may_be_taken_up() -> None:
    engine = FakeEngine(rambling(4))
    strategy, result = grown(engine, ValueOf(arbitrary), n=12, beam_width=4, c_puct=10.0)
    assert engine.num_parked > 0
    assert max(engine.rows_per_decode) <= 4
    assert sum(child.num_visits > 0 for child in strategy.root.children) > 1
    assert {branch.state.value for branch in result.tree.branches} <= {"ended", "pruned"}


def test_siblings_with_the_same_step_are_one_child() -> None:
    strategy, result = grown(FakeEngine(scripted({"a\n\nb\n\n=1": 1.0})), ValueOf(arbitrary), n=3, beam_width=4)
    assert [len(node.children) for node in nodes_below(strategy.root)] == [1, 1, 1, 0]
    assert result.decision.answer == "1"
    assert "its step was drawn before" in {branch.why for branch in result.tree.branches}


def test_values_that_say_nothing_are_no_obstacle() -> None:
    for value in (0.0, 1.0):
        strategy, result = grown(FakeEngine(rambling(4)), ValueOf(lambda _, value=value: value), n=5)
        assert strategy.root.num_visits == 5
        assert result.stopped_by is StopReason.COMPLETE


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 20), st.integers(1, 9))
def test_the_tree_is_a_function_of_the_seed_not_of_the_batch(seed: int, max_rows: int, n: int) -> None:
    def tree(rows: int) -> list[tuple[object, ...]]:
        result = grown(FakeEngine(rambling(4), max_rows=rows), ValueOf(arbitrary), seed=seed, n=n)[1]
        return [(branch.path, branch.parent, branch.text, branch.state) for branch in result.tree.branches]

    assert tree(max_rows) == tree(16)


@pytest.mark.parametrize("nothing", [0.0, math.nan])
def test_a_score_without_bound_is_followed_and_one_that_is_no_number_is_not(nothing: float) -> None:
    scorer = ValueOf(lambda prefix: math.inf if prefix.startswith("c") else nothing)
    for seed in range(5):
        _, result = grown(FakeEngine(lettered(2, LETTERS)), scorer, seed=seed, n=12, beam_width=12)
        assert result.decision.answer is not None
        assert result.decision.answer.startswith("c")
