from __future__ import annotations

import pytest
from fakes.engine import FakeEngine
from fakes.models import scripted
from fakes.searches import events_of, request, search

from arts_lite.search import BranchState, Budget
from arts_lite.search.events import QuestionDecided
from arts_lite.search.strategies import make_strategy
from arts_lite.search.strategy import StrategySettings
from arts_lite.types import StepRules, StopReason

THREE_WAYS = {"add\n\n=7": 0.45, "multiply them\n\n=8": 0.35, "guess\n\nagain\n\n=9": 0.2}


def test_the_early_stopped_vote_has_the_winner_of_the_full_vote() -> None:
    num_decided = 0
    for seed in range(300):
        early = search(FakeEngine(scripted(THREE_WAYS), max_rows=1 + seed % 9), "vote", n=9, seed=seed)
        full = search(FakeEngine(scripted(THREE_WAYS)), "vote", n=9, seed=seed, early_stop=False)
        assert full.stopped_by is StopReason.COMPLETE
        assert early.decision.answer == full.decision.answer
        assert early.num_tokens_decoded <= full.num_tokens_decoded
        num_decided += early.stopped_by is StopReason.DECIDED
    assert num_decided > 150


def test_a_decided_vote_prunes_the_rest_and_says_so() -> None:
    engine = FakeEngine(scripted({"=1": 0.6, "a long way round\n\n=2": 0.4}))
    events = events_of(engine, [request("vote", n=16, seed=3)])
    decided = [event for event in events if isinstance(event, QuestionDecided)]
    result = events[-1].result
    pruned = [branch for branch in result.tree.branches if branch.state is BranchState.PRUNED]
    assert [(event.answer, event.votes) for event in decided] == [("1", result.decision.votes)]
    assert result.stopped_by is StopReason.DECIDED
    assert result.decision.votes > 8
    assert pruned
    assert all(branch.why == "no other answer can win" and branch.reason is StopReason.PRUNED for branch in pruned)


def test_best_of_n_takes_the_best_scored_of_all_traces() -> None:
    result = search(FakeEngine(scripted(THREE_WAYS)), "best-of-n", n=16, scorer="length")
    lengths = [branch.num_own_tokens for branch in result.tree.branches]
    assert len(lengths) == 16
    assert result.tree.branches[result.decision.branch].num_own_tokens == min(lengths)
    assert result.decision.answer == "7"
    assert sum(candidate.count for candidate in result.decision.candidates) == 16


def test_best_of_n_by_log_prob_takes_the_likeliest_trace() -> None:
    result = search(FakeEngine(scripted(THREE_WAYS)), "best-of-n", n=16, scorer="logprob-sum")
    assert result.decision.answer == "7"
    assert result.decision.candidates[0].score == pytest.approx(-0.7985, abs=1e-4)  # log 0.45


@pytest.mark.parametrize("strategy", ["best-of-n", "vote", "weighted-vote", "sdf"])
def test_a_trace_that_stays_without_answer_does_not_count(strategy: str) -> None:
    result = search(FakeEngine(scripted({"no idea": 0.8, "=5": 0.2})), strategy, n=30)
    assert result.decision.answer == "5"
    assert result.decision.votes < 30


@pytest.mark.parametrize("strategy", ["best-of-n", "vote", "weighted-vote", "sdf"])
def test_no_answer_at_all_is_a_result(strategy: str) -> None:
    result = search(FakeEngine(scripted({"no idea": 1.0})), strategy, n=3)
    assert (result.decision.answer, result.decision.branch, result.decision.votes) == (None, 0, 0)
    assert result.tree.branches[0].text == "no idea"


def test_samples_come_from_the_models_distribution() -> None:
    result = search(FakeEngine(scripted(THREE_WAYS)), "vote", n=1000, early_stop=False)
    counts = {candidate.answer: candidate.count for candidate in result.decision.candidates}
    assert counts == pytest.approx({"7": 450, "8": 350, "9": 200}, abs=64)  # 4 standard errors


def test_stop_strings_and_delimiters_are_honoured() -> None:
    engine = FakeEngine(scripted({"one;two;=3 END and more": 1.0}))
    rules = StepRules(delimiters=(";",), stop_strings=(" END",))
    result = search(engine, "vote", n=1, rules=rules)
    branch = result.tree.branches[0]
    assert branch.text == "one;two;=3"
    assert [step.text for step in branch.steps] == ["one;", "two;", "=3"]
    assert branch.reason is StopReason.STOP_STRING
    assert result.decision.answer == "3"


@pytest.mark.parametrize("strategy", ["vote", "sdf"])
def test_a_stop_string_that_begins_with_a_delimiter_leaves_no_step_behind(strategy: str) -> None:
    engine = FakeEngine(scripted({"one\n\n=3\n\nQ: more": 1.0}))
    result = search(engine, strategy, n=1, fork_prob=1.0, rules=StepRules(stop_strings=("\n\nQ:",)))
    branch = result.tree.branches[0]
    assert [step.text for step in branch.steps] == ["one\n\n", "=3"]
    assert branch.text == "one\n\n=3"
    assert len(result.tree.branches) == (2 if strategy == "sdf" else 1)


def test_one_trace_is_enough_for_a_vote() -> None:
    result = search(FakeEngine(scripted(THREE_WAYS)), "vote", n=1)
    assert (result.decision.votes, result.stopped_by) == (1, StopReason.COMPLETE)


def test_a_budget_of_tokens_is_spent_on_traces_that_end() -> None:
    ends = {"so\n\n=1": 0.6, "so it is\n\n=2": 0.4}
    for tokens in (40, 80, 120):
        result = search(FakeEngine(scripted(ends)), "vote", n=16, max_tokens=20, budget=Budget(tokens=tokens))
        ended = [branch for branch in result.tree.branches if branch.has_ended]
        assert len(ended) >= tokens // 20
        assert result.num_tokens_decoded <= tokens


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n": 0}, "n is 0, but must be >= 1"),
        ({"fork_prob": 1.5}, r"fork_prob is 1.5, but must be in \[0, 1\]"),
        ({"max_fork_depth": -1}, "max_fork_depth is -1, but must be >= 0"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StrategySettings(**settings)


def test_an_unknown_strategy_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ValueError, match="strategy is 'magic', but must be one of best-of-n, vote, weighted-vote, sdf"):
        make_strategy("magic")
