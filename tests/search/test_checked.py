from __future__ import annotations

import pytest
from fakes.engine import FakeEngine
from fakes.models import endless, scripted
from fakes.searches import search

from arts_lite.search import BranchState, Budget, Checked, SearchResult, StrategySettings, make_strategy
from arts_lite.types import StopReason

RARELY_RIGHT = {"=6": 0.5, "think\n\n=7": 0.4, "a longer way\n\nround\n\n=8": 0.1}


def checked(
    model: dict[str, float], *, strategy: str = "vote", right: str = "8", stops: bool = True, **options: object
) -> SearchResult:
    settings = {name: options.pop(name) for name in ("n", "fork_prob") if name in options}
    inner = make_strategy(strategy, StrategySettings(early_stop=False, **settings))  # type: ignore[arg-type]
    one = Checked(inner, lambda answer: answer == right, early_stop=stops)
    return search(FakeEngine(scripted(model)), one, **options)


@pytest.mark.parametrize("strategy", ["vote", "best-of-n", "sdf"])
def test_a_right_answer_wins_whatever_the_votes(strategy: str) -> None:
    for seed in range(20):
        result = checked(RARELY_RIGHT, strategy=strategy, n=64, seed=seed)
        assert (result.decision.answer, result.decision.by) == ("8", "checker")
        assert result.decision.branch is not None
        assert result.tree.branches[result.decision.branch].text.endswith("=8")


def test_the_search_stops_at_the_first_right_answer_and_prunes_the_rest() -> None:
    result = checked({"=8": 0.2, "one\n\ntwo\n\nthree\n\nfour\n\n=6": 0.8}, n=16)
    states = [branch.state for branch in result.tree.branches]
    assert result.stopped_by is StopReason.DECIDED
    assert BranchState.PRUNED in states
    assert all(branch.answer == "8" for branch in result.tree.branches if branch.state is BranchState.ENDED)


def test_without_early_stop_all_traces_are_completed() -> None:
    result = checked(RARELY_RIGHT, n=64, stops=False)
    assert result.stopped_by is StopReason.COMPLETE
    assert {branch.state for branch in result.tree.branches} == {BranchState.ENDED}
    assert sum(candidate.count for candidate in result.decision.candidates) == 64


def test_no_majority_of_wrong_answers_ends_the_search() -> None:
    result = checked({"=6": 0.95, "a long way round\n\n" * 3 + "=8": 0.05}, n=100, seed=1)
    assert result.decision.answer == "8"
    assert result.decision.votes < 50


def test_the_best_scored_of_several_right_traces_is_shown() -> None:
    result = checked({"a rare way\n\n=8": 0.1, "=8": 0.6, "=6": 0.3}, n=64, stops=False, scorer="logprob-sum")
    branch = result.tree.branches[result.decision.branch or 0]
    right = [other for other in result.tree.branches if other.answer == "8"]
    assert branch.text == "=8"
    assert branch.score == max(other.score or -1e9 for other in right)
    assert result.decision.votes == len(right)


def test_where_nothing_passes_there_is_no_answer_but_the_candidates_are_told() -> None:
    result = checked(RARELY_RIGHT, n=8, right="9")
    decision = result.decision
    assert (decision.answer, decision.votes, decision.by) == (None, 0, "checker")
    assert decision.branch is not None
    assert sum(candidate.count for candidate in decision.candidates) == 8
    assert result.stopped_by is StopReason.COMPLETE


def test_traces_without_an_answer_are_not_asked_about() -> None:
    asked: list[str] = []
    inner = make_strategy("vote", StrategySettings(n=4))
    result = search(FakeEngine(scripted({"no idea": 1.0})), Checked(inner, lambda answer: bool(asked.append(answer))))
    assert (result.decision.answer, asked) == (None, [])


def test_a_spent_budget_ends_it_as_any_other_search() -> None:
    inner = make_strategy("vote", StrategySettings(n=4, early_stop=False))
    result = search(FakeEngine(endless), Checked(inner, lambda _: True), budget=Budget(tokens=30))
    assert result.stopped_by is StopReason.BUDGET_TOKENS
    assert result.decision.answer is None
