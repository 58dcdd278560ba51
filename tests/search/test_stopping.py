"""Early stopping: what leaves say of answers, in which waves traces come, and when it is enough."""

from __future__ import annotations

import math
from itertools import product

import pytest
from fakes.engine import FakeEngine
from fakes.models import scripted
from fakes.searches import search
from fakes.values import ValueOf
from hypothesis import given
from hypothesis import strategies as st

from arts_lite.errors import VerifierError
from arts_lite.search import Budget, FlowRange, SearchTree, StrategySettings, make_strategy
from arts_lite.search.record import BranchState, Step
from arts_lite.search.stopping import answer_posterior, require_flows, vote_posterior, wave_size
from arts_lite.types import StopReason

FLOWS = FlowRange()
CHANCES = st.floats(0.001, 0.999)
WAYS = {"add\n\n=7": 0.5, "times\n\n=8": 0.3, "guess\n\nagain\n\n=9": 0.2}


def log_flow(chance: float) -> float:
    return math.log(0.1 + 9.9 * chance)


def knows(chances: dict[str, float]) -> ValueOf:
    """A verifier that believes so much in each answer, and nothing in particular before it."""
    return ValueOf(lambda prefix: math.exp(log_flow(chances.get(prefix.rpartition("=")[2], 0.5))))


def tree_of(*leaves: tuple[str, float]) -> SearchTree:
    """A tree of main traces of 10 tokens, each with an answer and a P(correct)."""
    tree = SearchTree(0, 3, 100, Budget(), lambda a, b: a == b)
    for answer, chance in leaves:
        branch = tree.add_main_trace()
        tree.grow(branch, 13)
        branch.state, branch.score = BranchState.ENDED, log_flow(chance)
        tree.set_answer(branch, answer)
    return tree


@given(CHANCES)
def test_a_flow_is_read_as_the_chance_that_it_is_made_of(chance: float) -> None:
    assert FLOWS.probability(log_flow(chance)) == pytest.approx(chance)
    assert FlowRange(1.0, 3.0).probability(math.log(1 + 2 * chance)) == pytest.approx(chance)


@pytest.mark.parametrize("value", [-math.inf, math.log(0.1), math.log(10), 1e9, math.inf])
def test_a_flow_outside_its_range_is_almost_no_or_yes(value: float) -> None:
    assert FLOWS.probability(value) == pytest.approx(0 if value < 0 else 1, abs=1e-5)
    assert 0 < FLOWS.probability(value) < 1


def test_what_could_not_be_read_says_nothing() -> None:
    assert FLOWS.probability(math.nan) == 0.5


@pytest.mark.parametrize(("wrong", "correct"), [(0.0, 1.0), (2.0, 1.0), (1.0, 1.0), (0.1, math.inf)])
def test_rewards_that_are_not_ordered_are_refused(wrong: float, correct: float) -> None:
    with pytest.raises(ValueError, match="but 0 < wrong < correct"):
        FlowRange(wrong, correct)


@given(CHANCES)
def test_one_leaf_is_as_likely_right_as_the_verifier_says(chance: float) -> None:
    assert answer_posterior(tree_of(("a", chance)), FLOWS) == {0: pytest.approx(chance)}


@given(st.lists(st.tuples(CHANCES, st.floats(-20, 0)), min_size=1, max_size=5), st.floats(0, 1))
def test_log_probs_shift_the_odds_against_their_mean(leaves: list[tuple[float, float]], weight: float) -> None:
    tree = tree_of(*((str(number), chance) for number, (chance, _) in enumerate(leaves)))
    for branch, (_, log_prob) in zip(tree.branches, leaves, strict=True):
        branch.steps = [Step(3, 8, "a", log_prob / 2), Step(8, 13, "b", log_prob / 2)]
    mean = sum(log_prob for _, log_prob in leaves) / len(leaves)
    odds = [chance / (1 - chance) * math.exp(weight * (log_prob - mean)) for chance, log_prob in leaves]
    found = answer_posterior(tree, FLOWS, weight)
    assert found == {number: pytest.approx(one / (1 + sum(odds)), rel=1e-6) for number, one in enumerate(odds)}


@given(st.dictionaries(st.sampled_from("abcdef"), CHANCES, min_size=1))
def test_different_answers_exclude_each_other(chances: dict[str, float]) -> None:
    """By enumeration: independent readings, given that at most one of them is right."""
    found = answer_posterior(tree_of(*chances.items()), FLOWS)
    weights = []
    for rights in product((False, True), repeat=len(chances)):
        if sum(rights) <= 1:
            parts = (one if right else 1 - one for one, right in zip(chances.values(), rights, strict=True))
            weights.append((rights, math.prod(parts)))
    total = sum(weight for _, weight in weights)
    for group in range(len(chances)):
        expected = sum(weight for rights, weight in weights if rights[group]) / total
        assert found[group] == pytest.approx(expected)


@given(CHANCES, st.integers(1, 20))
def test_equal_answers_strengthen_each_other_against_unseen_ones_and_against_others_only_if_they_look_right(
    chance: float, count: int
) -> None:
    alike, more = ([("a", chance)] * number for number in (count, count + 1))
    assert answer_posterior(tree_of(*alike), FLOWS)[0] < answer_posterior(tree_of(*more), FLOWS)[0]
    ratios = []
    for leaves in (alike, more):
        found = answer_posterior(tree_of(*leaves, ("b", 0.5), ("b", 0.5)), FLOWS)
        ratios.append(found[0] / found[1])
    if chance > 0.5:
        assert ratios[0] < ratios[1]
    else:
        assert ratios[0] == pytest.approx(ratios[1])


@pytest.mark.parametrize(("counts", "unseen"), [((1,), 1.0), ((1, 1, 1), 1.0), ((4,), 0.5 / 4.5), ((3, 1), 1.5 / 4.5)])
def test_what_was_not_seen_yet_weighs_as_much_as_the_next_trace_is_likely_to_give_it(
    counts: tuple[int, ...], unseen: float
) -> None:
    leaves = [(f"answer {number}", 0.5) for number, count in enumerate(counts) for _ in range(count)]
    found = answer_posterior(tree_of(*leaves), FLOWS)
    assert found == {number: pytest.approx(1 / (unseen + len(counts))) for number in range(len(counts))}


def test_the_same_wrong_looking_answer_again_and_again_is_no_certainty() -> None:
    assert answer_posterior(tree_of(*[("mode", 0.001)] * 16), FLOWS)[0] < 0.05


def test_many_wrong_traces_do_not_outweigh_one_right_one() -> None:
    found = answer_posterior(tree_of(*[("mode", 0.02)] * 100, ("rare", 0.98)), FLOWS)
    assert found[1] > 0.95


def test_a_fork_counts_by_its_own_share_of_the_trace() -> None:
    tree = tree_of(("a", 0.8))
    fork = tree.add_fork(tree.branches[0], 11)
    tree.grow(fork, 13)
    fork.state, fork.score = BranchState.ENDED, log_flow(0.8)
    tree.set_answer(fork, "a")
    alone, twice = (answer_posterior(tree_of(*[("a", 0.8)] * count), FLOWS)[0] for count in (1, 2))
    assert alone < answer_posterior(tree, FLOWS)[0] < twice


def test_no_leaf_with_an_answer_leaves_nothing_to_be_sure_of() -> None:
    tree = tree_of()
    branch = tree.add_main_trace()
    branch.state = BranchState.ENDED
    assert answer_posterior(tree, FLOWS) == {}


@given(st.lists(st.integers(0, 30), max_size=4))
def test_the_votes_posterior_is_that_of_two_answers_from_a_uniform_prior(counts: list[int]) -> None:
    first, second = (*sorted(counts, reverse=True), 0, 0)[:2]
    num_points = 2000
    points = [(point + 0.5) / num_points for point in range(num_points)]
    density = [one**first * (1 - one) ** second for one in points]
    above = sum(density[num_points // 2 :]) / sum(density)
    assert vote_posterior(counts) == pytest.approx(above, abs=2e-3)


def test_votes_that_agree_become_sure() -> None:
    assert vote_posterior([]) == 0.5
    assert vote_posterior([1]) == 0.75
    assert vote_posterior([4]) == pytest.approx(1 - 1 / 32)
    assert vote_posterior([4, 4, 2]) == 0.5


def test_waves_begin_with_one_trace_and_grow_with_what_has_ended() -> None:
    sizes, num_ended = [], 0
    while num_ended < 16:
        sizes.append(wave_size(num_ended, None))
        num_ended += sizes[-1]
    assert sizes == [1, 1, 1, 1, 2, 3, 4, 6]
    assert wave_size(0, 5) == wave_size(100, 5) == 5


@pytest.mark.parametrize("strategy", ["best-of-n", "weighted-vote"])
def test_a_trace_that_the_verifier_is_sure_of_is_enough(strategy: str) -> None:
    sure = knows({"7": 0.99, "8": 0.01, "9": 0.01})
    for seed in range(20):
        result = search(FakeEngine(scripted(WAYS)), strategy, scorer=sure, seed=seed, confidence=0.9)
        answers = [branch.answer for branch in result.tree.branches]
        assert result.stopped_by is StopReason.DECIDED
        assert result.decision.answer == "7"
        num_waves_end = answers.index("7") + 1
        assert num_waves_end <= len(answers) <= max(num_waves_end, num_waves_end * 3 // 2)
        assert all(branch.has_ended for branch in result.tree.branches)


@pytest.mark.parametrize("strategy", ["best-of-n", "weighted-vote", "vote"])
def test_without_a_decision_all_traces_are_opened(strategy: str) -> None:
    unsure = knows({"7": 0.3, "8": 0.3, "9": 0.3})
    model = scripted({"add\n\n=7": 0.5, "times\n\n=8": 0.5})
    full = search(FakeEngine(model), strategy, scorer=unsure, n=9, early_stop=False)
    waves = search(FakeEngine(model), strategy, scorer=unsure, n=9, confidence=0.999)
    assert len(waves.tree.branches) == 9
    assert waves.decision == full.decision
    assert [one.text for one in waves.tree.branches] == [one.text for one in full.tree.branches]


def test_best_of_n_stops_for_the_answer_that_it_would_give() -> None:
    """One leaf has the best score; the posterior is sure of another answer, and that decides nothing."""
    believes = knows({"7": 0.9, "8": 0.93})
    model = scripted({"add\n\n=7": 0.8, "times\n\n=8": 0.2})
    results = [
        search(FakeEngine(model), "best-of-n", scorer=believes, seed=seed, confidence=0.95) for seed in range(40)
    ]
    mixed = [result for result in results if len(result.tree.answers) == 2]
    assert mixed
    for result in mixed:
        assert result.decision.answer == "8"
        posterior = answer_posterior(result.tree, FLOWS)
        is_sure = posterior[result.tree.answers.index("8")] >= 0.95
        assert (result.stopped_by is StopReason.DECIDED) == is_sure


def test_a_vote_stops_when_its_votes_are_clear() -> None:
    result = search(FakeEngine(scripted({"=7": 1.0})), "vote", n=64, confidence=0.95)
    assert result.stopped_by is StopReason.DECIDED
    assert len(result.tree.branches) == 4  # 1 - 1 / 2^5


def test_a_clear_vote_is_rarely_another_than_that_of_all() -> None:
    num_equal = num_tokens = num_full = 0
    for seed in range(100):
        early = search(FakeEngine(scripted(WAYS)), "vote", n=32, seed=seed, confidence=0.95)
        full = search(FakeEngine(scripted(WAYS)), "vote", n=32, seed=seed, early_stop=False)
        num_equal += early.decision.answer == full.decision.answer
        num_tokens += early.num_tokens_decoded
        num_full += full.num_tokens_decoded
    assert num_equal >= 85
    assert num_tokens < 0.85 * num_full


@pytest.mark.parametrize("strategy", ["best-of-n", "vote", "weighted-vote", "flow"])
def test_concurrency_bounds_what_runs_side_by_side(strategy: str) -> None:
    engine = FakeEngine(scripted(WAYS))
    result = search(engine, strategy, scorer=knows({}), n=12, concurrency=3, early_stop=False)
    assert max(engine.rows_per_decode) == 3
    assert len(result.tree.branches) >= 12


@pytest.mark.parametrize("strategy", ["best-of-n", "weighted-vote", "flow"])
def test_scores_that_are_no_flows_are_refused_with_the_remedy(strategy: str) -> None:
    one = make_strategy(strategy, StrategySettings(flows=None, confidence=0.9))
    with pytest.raises(VerifierError, match="needs flows, but the scorer gives none: give a verifier"):
        list(one.start(tree_of()))


def test_without_confidence_no_flows_are_needed() -> None:
    result = search(FakeEngine(scripted(WAYS)), make_strategy("best-of-n", StrategySettings(n=4, flows=None)))
    assert len(result.tree.branches) == 4
    assert require_flows(FLOWS, "this") is FLOWS


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"confidence": 1.0}, r"confidence is 1.0, but must be in \[0, 1\)"),
        ({"confidence": -0.1}, r"confidence is -0.1"),
        ({"concurrency": 0}, "concurrency is 0, but must be >= 1"),
        ({"prune_below": 1.5}, r"prune_below is 1.5, but must be in \[0, 1\]"),
        ({"flow_temperature": -1.0}, "flow_temperature is -1.0, but must be >= 0"),
        ({"flow_temperature": math.inf}, "flow_temperature is inf"),
        ({"log_prob_weight": -0.1}, "log_prob_weight is -0.1, but must be >= 0"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StrategySettings(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, 0.5), ({"confidence": 0.9}, 0.9), ({"confidence": 0.0}, None), ({"early_stop": False}, None)],
)
def test_confidence_may_be_left_out_given_or_turned_off(settings: dict[str, float], expected: float | None) -> None:
    assert StrategySettings(**settings).stops_at(0.5) == expected  # type: ignore[arg-type]
