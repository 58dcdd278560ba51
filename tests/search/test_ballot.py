from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arts_lite.search import Branch, Budget, SearchTree
from arts_lite.search.ballot import Decision, by_check, by_score, by_vote, by_weight, is_decided
from arts_lite.search.record import BranchState, Step


def tree_of(answers: list[str | None], scores: list[float | None] | None = None) -> SearchTree:
    tree = SearchTree(0, 1, 10, Budget(), lambda a, b: a.casefold() == b.casefold())
    for index, answer in enumerate(answers):
        branch = tree.add_main_trace()
        branch.state = BranchState.ENDED
        branch.score = scores[index] if scores else 0.0
        tree.set_answer(branch, answer)
    return tree


def groups_of(answers: dict[int, str]) -> list[list[int]]:
    return [[i for i in sorted(answers) if answers[i] == name] for name in sorted(set(answers.values()))]


def winner(answers: dict[int, str]) -> str:
    best = min(groups_of(answers), key=lambda group: (-len(group), group[0]))
    return answers[best[0]]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_the_vote_is_decided_exactly_when_no_continuation_changes_the_winner(full: list[str], random) -> None:
    order = list(range(len(full)))
    random.shuffle(order)
    for num_ended in range(1, len(full)):
        ended = {index: full[index] for index in sorted(order[:num_ended])}
        undecided = sorted(order[num_ended:])
        outcomes = set()
        for rest in itertools.product(["a", "b", "c", "new", None], repeat=len(undecided)):
            votes = ended | {i: answer for i, answer in zip(undecided, rest, strict=True) if answer is not None}
            outcomes.add(winner(votes))
        assert is_decided(groups_of(ended), undecided) == (len(outcomes) == 1)


def test_no_votes_decide_nothing() -> None:
    assert not is_decided([], [0])


def test_the_most_frequent_answer_wins_and_equal_answers_count_together() -> None:
    decision = by_vote(tree_of(["no", "YES", "yes", None, "maybe"]))
    assert (decision.answer, decision.votes) == ("YES", 2)
    assert [(c.answer, c.count) for c in decision.candidates] == [("YES", 2), ("no", 1), ("maybe", 1)]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("choose", [by_score, by_weight])
def test_a_score_that_is_no_number_counts_as_none_wherever_it_stands(
    order: tuple[int, ...], choose: Callable[[SearchTree], Decision]
) -> None:
    scores = [math.nan, 1.0, 0.5]
    assert choose(tree_of(["abc"[place] for place in order], [scores[place] for place in order])).answer == "b"
    endless = [math.nan, math.inf, 700.0]
    assert choose(tree_of(["abc"[place] for place in order], [endless[place] for place in order])).answer == "b"
    assert choose(tree_of(["a", "b"], [math.nan, -math.inf])).answer == "a"  # none is worth anything: the earliest


def test_a_tie_goes_to_the_answer_of_the_earliest_trace() -> None:
    assert by_vote(tree_of(["b", "a", "a", "b"])).answer == "b"


@pytest.mark.parametrize("choose", [by_score, by_weight])
def test_a_nat_of_log_prob_adds_its_weight_to_a_score(choose: Callable[..., Decision]) -> None:
    tree = tree_of(["a", "b", "c"], [1.0, 0.0, -1.0])
    for branch, log_prob in zip(tree.branches, (-4.0, -1.0, -0.5), strict=True):
        branch.steps = [Step(1, 2, "x", log_prob / 4), Step(2, 3, "y", 3 * log_prob / 4)]
    assert choose(tree).answer == "a"
    assert choose(tree, 0.3).answer == "a"  # -0.2, -0.3, -1.15
    assert choose(tree, 1.0).answer == "b"  # -3, -1, -1.5
    assert choose(tree, 3.0).answer == "c"  # -11, -3, -2.5
    assert choose(tree, 3.0).branch == 2
    assert [candidate.score for candidate in choose(tree, 3.0).candidates] == [
        -1.0,
        1.0,
        0.0,
    ]  # as the scorer gave them


def test_the_winner_is_shown_by_its_best_scored_trace() -> None:
    decision = by_vote(tree_of(["x", "y", "X", "x"], [-3.0, -0.1, -1.0, -2.0]))
    assert (decision.branch, decision.answer, decision.candidates[0].score) == (2, "X", -1.0)


def test_by_score_prefers_a_trace_with_an_answer() -> None:
    decision = by_score(tree_of([None, "a", "b"], [-0.1, -2.0, -1.0]))
    assert (decision.branch, decision.answer, decision.votes) == (2, "b", 1)


def test_without_any_answer_the_best_trace_is_shown() -> None:
    for decide in (by_vote, by_score):
        decision = decide(tree_of([None, None], [-2.0, -1.0]))
        assert (decision.answer, decision.branch, decision.votes, decision.candidates) == (None, 1, 0, ())


def test_a_checker_prefers_what_it_accepts_to_votes_and_scores() -> None:
    tree = tree_of(["a", "a", "b", "B", None], [-0.1, -0.2, -3.0, -1.0, -0.01])
    decision = by_check(tree, lambda answer: answer.casefold() == "b")
    assert (decision.answer, decision.branch, decision.votes) == ("B", 3, 2)
    assert [(c.answer, c.count) for c in decision.candidates] == [("B", 2), ("a", 2)]


def test_a_checker_that_accepts_nothing_leaves_no_answer_but_the_candidates() -> None:
    tree = tree_of(["a", "b", "b"], [-3.0, -1.0, -2.0])
    decision = by_check(tree, lambda _: False)
    assert (decision.answer, decision.branch, decision.votes) == (None, 1, 0)
    assert [(c.answer, c.count) for c in decision.candidates] == [("b", 2), ("a", 1)]


def test_a_decision_says_what_made_it() -> None:
    tree = tree_of(["a"])
    made = [by_vote(tree), by_score(tree), by_check(tree, lambda _: True), by_check(tree, lambda _: False)]
    assert [decision.by for decision in made] == ["vote", "score", "checker", "checker"]


def test_a_branch_without_score_comes_last() -> None:
    assert by_score(tree_of(["a", "b"], [None, -1e9])).answer == "b"


def test_cut_traces_speak_only_where_no_trace_has_ended() -> None:
    tree = tree_of(["a", "b", "b"])
    tree.branches[1].state = tree.branches[2].state = BranchState.CUT
    assert by_vote(tree).answer == "a"
    tree.branches[0].state = BranchState.PRUNED
    assert by_vote(tree).answer == "b"


def test_a_tree_without_leaves_has_no_answer() -> None:
    empty = SearchTree(0, 1, 10, Budget(), str.__eq__)
    assert by_vote(empty).branch is None
    assert isinstance(empty.add_main_trace(), Branch)
    assert by_score(empty).answer is None


def test_leaves_weigh_the_exponentials_of_their_scores_together() -> None:
    scores = [math.log(3), math.log(2), math.log(2)]
    decision = by_weight(tree_of(["a", "b", "B"], scores))
    assert (decision.answer, decision.votes, decision.by) == ("b", 2, "weighted vote")


def test_of_answers_that_weigh_nothing_the_earliest_opened_is_taken() -> None:
    assert by_weight(tree_of(["a", "b", "b"], [-math.inf, -math.inf, -math.inf])).answer == "a"
    assert by_weight(tree_of(["a", "b"], [-math.inf, -5000.0])).answer == "b"
