from __future__ import annotations

from collections.abc import Sequence

import pytest
from fakes.engine import FakeEngine
from fakes.models import scripted
from fakes.searches import events_of, request, results, search

from arts_lite.search import Branch, BranchState, SearchRequest, SearchResult, SearchTree
from arts_lite.search.actions import Action, Drop, Fork, Open, Park, Prune, Run, Stop
from arts_lite.search.ballot import Decision, by_vote
from arts_lite.search.events import (
    BranchPruned,
)
from arts_lite.types import StopReason

STEPS = {"one\n\ntwo\n\n=3": 1.0}


class Scripted:
    """A strategy whose reactions are given by the test."""

    def __init__(self, react: object, first: Sequence[Action] = (Open(pause_on_step=True),)) -> None:
        self._react, self._first = react, first
        self.seen: list[tuple[int, BranchState, tuple[float, ...]]] = []

    def start(self, tree: SearchTree) -> Sequence[Action]:
        return self._first

    def react(self, tree: SearchTree, branch: Branch) -> Sequence[Action]:
        self.seen.append((branch.index, branch.state, tuple(branch.step_scores)))
        return self._react(tree, branch)  # type: ignore[operator,no-any-return]

    def decide(self, tree: SearchTree) -> Decision:
        return by_vote(tree)


def follow(strategy: Scripted) -> SearchResult:
    return search(FakeEngine(scripted(STEPS)), strategy)


def test_a_parked_branch_goes_on_where_it_was() -> None:
    def react(tree: SearchTree, branch: Branch) -> list[Action]:
        return [] if branch.has_ended else [Park(branch.index), Run(branch.index, pause_on_step=True)]

    engine = FakeEngine(scripted(STEPS))
    assert search(engine, Scripted(react)).decision.answer == "3"
    assert engine.num_parked == 2


def test_a_branch_left_paused_ends_the_search_and_is_pruned() -> None:
    result = follow(Scripted(lambda tree, branch: []))
    assert result.stopped_by is StopReason.COMPLETE
    assert [(b.state, b.reason, b.text) for b in result.tree.branches] == [
        (BranchState.PRUNED, StopReason.PRUNED, "one\n\n")
    ]
    assert result.decision.branch is None


def test_a_pruned_branch_keeps_its_record_and_the_reason() -> None:
    def react(tree: SearchTree, branch: Branch) -> list[Action]:
        if branch.parent is None and not branch.has_ended and len(branch.steps) == 2:
            return [Fork(branch.index, branch.steps[0].end), Prune(branch.index, "its flow collapsed")]
        return [] if branch.has_ended else [Run(branch.index, pause_on_step=True)]

    strategy = Scripted(react)
    events = events_of(FakeEngine(scripted(STEPS)), [request(strategy)])
    result = events[-1].result
    assert BranchPruned(0, 0, "its flow collapsed") in events
    assert [(branch.state, branch.why) for branch in result.tree.branches] == [
        (BranchState.PRUNED, "its flow collapsed"),
        (BranchState.ENDED, ""),
    ]
    assert result.tree.branches[0].score is not None
    assert result.decision.branch == 1


def test_stop_ends_the_search_at_once() -> None:
    result = search(FakeEngine(), Scripted(lambda tree, branch: [Stop(), Open()], [Open(True), Open(True)]))
    assert len(result.tree.branches) == 2
    assert result.stopped_by is StopReason.COMPLETE


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (Drop(0), "branch 0 has not ended: prune it instead"),
        (Run(1), "branch 1 is ended; only a living branch can run"),
        (Prune(1, ""), "branch 1 is ended; only a living branch"),
        (Fork(2, 3), "branch 2 has been dropped or pruned"),
        (Fork(0, 99), "cannot fork at 99"),
    ],
)
def test_an_action_that_makes_no_sense_is_refused(action: Action, message: str) -> None:
    def react(tree: SearchTree, branch: Branch) -> list[Action]:
        if all(other.has_ended for other in tree.branches[1:]):  # the first one is paused at its first step
            return [Drop(2), action]
        return []

    engine = FakeEngine(scripted({"a\n\n=1": 1.0}))
    with pytest.raises(ValueError, match=message):
        search(engine, Scripted(react, [Open(True), Open(), Open()]))
    assert not engine.branches


def test_a_running_branch_cannot_be_run_again() -> None:
    with pytest.raises(ValueError, match="branch 1 is running already"):
        search(FakeEngine(), Scripted(lambda tree, branch: [Run(1)], [Open(True), Open()]), rules=None)


class Halving:
    """A step scorer: each step is worth half of the one before."""

    def score(self, branches: Sequence[Branch]) -> list[float]:
        return [branch.step_scores[-1] for branch in branches]

    def score_steps(self, branches: Sequence[Branch]) -> list[list[float]]:
        return [[0.5**number for number in range(len(branch.steps))] for branch in branches]


def test_a_strategy_finds_the_step_scores_filled_in() -> None:
    def react(tree: SearchTree, branch: Branch) -> list[Action]:
        return [] if branch.has_ended else [Run(branch.index, pause_on_step=True)]

    strategy = Scripted(react)
    one = request(strategy)
    scored = SearchRequest(0, one.tokens, strategy, Halving(), one.extract, one.same, one.sampling, one.rules)
    result = results(FakeEngine(scripted(STEPS)), [scored])[0]
    assert strategy.seen == [
        (0, BranchState.PAUSED, (1.0,)),
        (0, BranchState.PAUSED, (1.0, 0.5)),
        (0, BranchState.ENDED, (1.0, 0.5, 0.25)),
    ]
    assert result.tree.branches[0].score == 0.25
