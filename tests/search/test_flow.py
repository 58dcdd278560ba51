"""Flow search on models whose values are known: what it finds, what it spends, what it gives up."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from fakes.engine import FakeEngine
from fakes.models import lettered, scripted
from fakes.searches import search
from fakes.values import ValueOf, arbitrary, chance_of
from hypothesis import given, settings
from hypothesis import strategies as st

from arts_lite.search import BranchState, Budget, Checked, SearchResult, StrategySettings, make_strategy
from arts_lite.search.flow_tree import FlowTree, Place
from arts_lite.search.stopping import FlowRange
from arts_lite.types import StopReason

TENTHS = {"a": 0.1, "b": 0.5, "c": 0.4}
EVEN = {"a": 0.5, "b": 0.5}
FALLS = {"well\n\ngood\n\nbad\n\nlong\n\nlonger\n\n=1": 0.6, "well\n\ngood\n\nright\n\n=2": 0.4}


def flows_of(chance: Callable[[str], float]) -> ValueOf:
    """A verifier's flows of these chances of a right answer."""
    return ValueOf(lambda prefix: 0.1 + 9.9 * chance(prefix))


def knows(right: str, letters: dict[str, float]) -> ValueOf:
    """A verifier that knows the value of every prefix of a `lettered` model exactly."""
    chance = chance_of(right, letters)
    return flows_of(lambda prefix: math.exp(chance.log(prefix)))


def flow(model: object, scorer: ValueOf, **options: object) -> SearchResult:
    return search(FakeEngine(model), "flow", scorer=scorer, **options)  # type: ignore[arg-type]


def shape(result: SearchResult) -> list[tuple[object, ...]]:
    return [(one.path, one.start, one.text, one.state, one.why, one.score) for one in result.tree.branches]


def test_a_rare_right_leaf_is_found_with_a_small_part_of_the_tokens_of_best_of_n() -> None:
    """Planted with probability 1e-3: best-of-n draws 1000 traces before it in expectation, however it stops.

    Flow search pays for what it draws and for what its verifier reads; best-of-n for what it draws alone.
    """
    model, trace_tokens = lettered(3, TENTHS), len("a\n\na\n\na\n\n=aaa") + 1
    some = search(FakeEngine(model), "best-of-n", n=50, early_stop=False)
    assert some.num_tokens_decoded == 50 * trace_tokens
    num_drawn = num_read = 0
    num_seeds = 500
    for seed in range(num_seeds):
        scorer = knows("aaa", TENTHS)
        result = flow(model, scorer, n=1000, seed=seed)
        assert result.decision.answer == "aaa"
        assert result.stopped_by is StopReason.DECIDED
        num_drawn += result.num_tokens_decoded
        num_read += len({prefix[:end] for prefix in scorer.prefixes for end in range(1, len(prefix) + 1)})
    assert (num_drawn + num_read) / num_seeds < 0.05 * trace_tokens / 0.1**3


def test_best_of_n_with_the_same_stop_spends_more_on_a_rare_leaf() -> None:
    tokens = {"flow": 0, "best-of-n": 0}
    for seed in range(30):
        for strategy in tokens:
            scorer = knows("aa", TENTHS)
            result = search(
                FakeEngine(lettered(2, TENTHS)), strategy, scorer=scorer, n=2000, seed=seed, confidence=0.95
            )
            assert result.decision.answer == "aa"
            tokens[strategy] += result.num_tokens_decoded
    assert 4 * tokens["flow"] < tokens["best-of-n"]


@pytest.mark.parametrize("temperature", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("concurrency", [None, 1, 4])
def test_any_temperature_and_width_finds_it(temperature: float, concurrency: int | None) -> None:
    for seed in range(5):
        result = flow(
            lettered(3, TENTHS),
            knows("aaa", TENTHS),
            n=1000,
            seed=seed,
            flow_temperature=temperature,
            concurrency=concurrency,
        )
        assert result.decision.answer == "aaa"
        assert result.num_tokens_decoded < 2000


def test_an_easy_question_costs_one_trace() -> None:
    result = flow(scripted({"so\n\n=7": 1.0}), flows_of(lambda prefix: 0.99), n=16)
    assert len(result.tree.branches) == 1
    assert (result.decision.answer, result.decision.by) == ("7", "posterior")
    assert result.stopped_by is StopReason.DECIDED


def test_a_question_that_stays_undecided_is_given_the_whole_budget_and_no_more() -> None:
    for n in (1, 2, 4, 16):
        for seed in range(10):
            result = flow(lettered(4, EVEN), flows_of(lambda prefix: 0.3), n=n, seed=seed)
            ended = [branch for branch in result.tree.branches if branch.has_ended]
            mean = sum(branch.length - 3 for branch in ended) / len(ended)
            longest_step = 6
            assert result.stopped_by is StopReason.COMPLETE
            assert (n - 1) * mean - longest_step <= result.num_tokens_decoded
            assert result.num_tokens_decoded <= n * mean + longest_step * max(1, len(ended) // 2)


def test_a_trace_is_left_where_its_flow_falls_and_another_begins_before_the_fall() -> None:
    chances = {"well": 0.2, "good": 0.8, "bad": 0.02, "right": 0.9, "=2": 0.99}
    scorer = flows_of(lambda prefix: next((c for word, c in reversed(chances.items()) if word in prefix), 0.3))
    num_left = 0
    for seed in range(20):
        first, *others = flow(scripted(FALLS), scorer, n=30, seed=seed, flow_temperature=0.0).tree.branches
        if others:
            assert others[0].parent == first.index
            assert others[0].start == 3 + len("well\n\ngood\n\n")
            num_left += 1
        else:
            assert first.answer == "2"
    assert 5 < num_left < 18


def test_pruned_branches_cost_nothing_more_and_say_why() -> None:
    engine = FakeEngine(lettered(3, TENTHS))
    result = search(engine, "flow", scorer=knows("aaa", TENTHS), n=1000, seed=1)
    pruned = [branch for branch in result.tree.branches if branch.why.startswith("its flow fell: P(correct) ")]
    assert pruned
    assert all("=" not in branch.text and branch.text.endswith("\n\n") for branch in pruned)
    assert all(branch.state is BranchState.PRUNED and branch.answer is None for branch in pruned)
    assert result.num_tokens_decoded == sum(branch.num_own_tokens for branch in result.tree.branches)


def test_what_is_unfinished_at_the_end_says_what_is_true_of_it() -> None:
    """Left before, because its flow fell; or under way when an answer was likely enough."""
    model = scripted({"short\n\n=7": 0.3, "a long way\n\nround\n\n=8": 0.4, "bad\n\nidea\n\n=9": 0.3})
    scorer = flows_of(lambda prefix: 0.999 if "=7" in prefix else 0.02 if "bad" in prefix or "=8" in prefix else 0.6)
    whys = set[str]()
    for seed in range(40):
        result = flow(model, scorer, n=16, seed=seed, concurrency=4)
        pruned = [branch for branch in result.tree.branches if branch.state is BranchState.PRUNED]
        whys |= {branch.why for branch in pruned}
        assert result.stopped_by is StopReason.DECIDED or not any("chance" in branch.why for branch in pruned)
    falls = {why for why in whys if why.startswith("its flow fell: ")}
    assert falls
    for why in falls:
        here, above = (float(part.split()[-1]) for part in why.removeprefix("its flow fell: ").split(", "))
        assert here < above
    sure = {why for why in whys if why.startswith("an answer is the right one with a chance of ")}
    assert sure
    assert whys - falls - sure <= {"the search is over"}


def test_the_end_of_a_complete_trace_is_not_drawn_again_and_again() -> None:
    """A trace may end right behind a step's delimiter; there is nothing to be found behind that step."""
    ways = {"well\n\ngood\n\n=1\n\n": 0.5, "well\n\nbad\n\n=2\n\n": 0.3, "so\n\n=3\n\n": 0.2}
    for seed in range(20):
        result = flow(scripted(ways), flows_of(lambda prefix: 0.9), n=16, seed=seed, confidence=0.0)
        assert all(branch.num_own_tokens > 1 for branch in result.tree.branches)
        assert len(result.tree.branches) < 50


def test_without_pruning_every_trace_is_complete() -> None:
    result = flow(lettered(3, EVEN), ValueOf(arbitrary), n=8, prune_below=0.0, confidence=0.0, concurrency=1)
    assert [branch for branch in result.tree.branches[:-1] if not branch.has_ended] == []


def test_the_verifier_reads_every_step_once() -> None:
    scorer = knows("aaa", TENTHS)
    result = flow(lettered(3, TENTHS), scorer, n=1000, seed=2)
    texts = {
        "".join(step.text for step in branch.steps[: end + 1])
        for branch in result.tree.branches
        for end in range(len(branch.steps))
    }
    assert scorer.prefixes == texts


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 12), st.integers(1, 6), st.sampled_from([0.0, 0.5, 2.0]))
def test_the_same_seed_gives_the_same_tree_whatever_runs_in_a_batch(
    seed: int, n: int, concurrency: int, temperature: float
) -> None:
    """The order of events depends on how many rows a batch has; decisions do not."""
    trees = []
    for max_rows in (1, 2, 16):
        engine = FakeEngine(lettered(3, {"a": 0.3, "b": 0.3, "c": 0.4}), max_rows=max_rows)
        options = {"n": n, "concurrency": concurrency, "flow_temperature": temperature, "seed": seed}
        trees.append(shape(search(engine, "flow", scorer=ValueOf(arbitrary), **options)))  # type: ignore[arg-type]
    assert trees[0] == trees[1] == trees[2]


def test_other_seeds_give_other_trees() -> None:
    trees = [shape(flow(lettered(3, EVEN), ValueOf(arbitrary), n=6, seed=seed)) for seed in range(5)]
    assert all(one != other for index, one in enumerate(trees) for other in trees[:index])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 120), st.integers(0, 1000), st.sampled_from([None, 1, 5]))
def test_a_budget_of_tokens_holds_and_gives_an_answer_if_one_trace_fits(
    tokens: int, seed: int, concurrency: int | None
) -> None:
    result = flow(
        lettered(3, EVEN),
        ValueOf(arbitrary),
        n=16,
        seed=seed,
        max_tokens=14,
        budget=Budget(tokens=tokens),
        concurrency=concurrency,
    )
    assert result.num_tokens_decoded <= tokens
    if tokens >= 14 * (concurrency or 1):
        assert result.decision.answer is not None


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 40), st.integers(0, 1000))
def test_a_budget_of_nodes_holds_and_gives_an_answer_if_one_trace_fits(nodes: int, seed: int) -> None:
    result = flow(lettered(3, EVEN), ValueOf(arbitrary), n=16, seed=seed, budget=Budget(nodes=nodes))
    assert result.tree.num_nodes <= nodes
    if nodes >= 5:  # the root, three steps, the answer
        assert result.decision.answer is not None


def test_a_checker_overrules_the_posterior_and_ends_the_search() -> None:
    exact = chance_of("bcb", TENTHS)
    misled = flows_of(lambda prefix: 0.01 if "=bcb" in prefix else math.exp(exact.log(prefix)))
    inner = make_strategy("flow", StrategySettings(n=200, early_stop=False))
    result = search(FakeEngine(lettered(3, TENTHS)), Checked(inner, lambda answer: answer == "bcb"), scorer=misled)
    assert (result.decision.answer, result.decision.by) == ("bcb", "checker")
    assert result.stopped_by is StopReason.DECIDED


def test_where_no_trace_gives_an_answer_the_budget_is_spent_and_the_result_is_none() -> None:
    result = flow(scripted({"no\n\nidea": 0.5, "none\n\nat all": 0.5}), flows_of(lambda prefix: 0.9), n=5)
    assert result.decision.answer is None
    assert result.stopped_by is StopReason.COMPLETE
    assert len(result.tree.branches) >= 5


def test_a_value_is_the_reading_corrected_by_the_mean_of_what_was_drawn() -> None:
    parent = Place(None, 5, 0.8, num_prior=1.25)
    assert parent.value == 0.8
    parent.num_draws, parent.sum_values = 2, 0.0
    assert parent.value == pytest.approx((1 + 0 + 0) / (1.25 + 2))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000))
def test_the_books_of_a_tree_equal_those_made_afresh(seed: int) -> None:
    """Values are kept up to date step by step; here they are computed from the whole tree at the end."""
    result = flow(lettered(3, EVEN), ValueOf(arbitrary), n=6, seed=seed, confidence=0.0)
    places = FlowTree(FlowRange())
    for branch in result.tree.branches:
        places.update(branch, result.tree.num_prompt_tokens)

    def check(place: Place) -> float:
        if place.is_leaf or not place.children:
            return place.reading
        values = [(check(child), child.times_drawn) for child in place.children.values()]
        num_draws = sum(times for _, times in values)
        drawn = sum(value * times for value, times in values)
        expected = (place.num_prior * place.reading + drawn) / (place.num_prior + num_draws)
        assert place.num_draws == num_draws
        assert place.value == pytest.approx(expected)
        return expected

    check(places.root)


def test_the_less_is_left_of_a_trace_the_fewer_draws_a_reading_counts_for() -> None:
    """Where one last step was wrong, the next one will be, too: the prefix has settled it."""
    model = scripted({"well\n\ngood\n\nso be it\n\n=1": 1.0})
    result = flow(model, flows_of(lambda prefix: 0.3), n=1)
    places = FlowTree(FlowRange())
    (branch,) = result.tree.branches
    places.update(branch, result.tree.num_prompt_tokens)
    first, second, third, leaf = list(places.place(branch).path())[-2::-1]
    assert leaf.is_leaf
    length = branch.length - result.tree.num_prompt_tokens
    for place in (first, second, third):
        assert place.num_prior == pytest.approx(1.5 * max(1 - place.num_tokens / length, 0.1) ** 2)
    assert first.num_prior > second.num_prior > third.num_prior


def test_what_the_model_found_unlikely_is_worth_less_where_log_probs_count() -> None:
    """A slip of three steps' kind: the verifier sees nothing, but the proposer took a way that it rarely takes."""
    model = scripted({"well\n\n=1": 0.9, "slip\n\n=2": 0.1})
    result = search(FakeEngine(model), "best-of-n", n=30, scorer=flows_of(lambda prefix: 0.4))
    for weight, order in ((0.0, 0), (1.0, 1)):
        places = FlowTree(FlowRange(), weight)
        for branch in result.tree.branches:
            places.update(branch, result.tree.num_prompt_tokens)
        well, slip = (places.root.children[f"{word}\n\n", False] for word in ("well", "slip"))
        odds = [chance / (1 - chance) for chance in (places.chance(well), places.chance(slip))]
        # children that are leaves are right with a chance of 0.4, as their parents' readings are
        assert odds[0] / odds[1] == pytest.approx((0.9 / 0.1) ** weight, rel=1e-4)
        assert (odds[0] > 1.01 * odds[1]) == bool(order)


def test_an_unlikely_step_is_left_at_once_where_log_probs_count_although_nothing_else_was_drawn() -> None:
    """How open each draw was is known from its row: a slip is one where the model was sure of something else."""
    slips = scripted({"well\n\nthen\n\n=1": 0.97, "slip\n\nthen\n\n=2": 0.03})
    open_choice = scripted({f"{letter}\n\nthen\n\n={letter}": 1 / 26 for letter in "abcdefghijklmnopqrstuvwxyz"})
    left = {"slips": 0, "steps": 0, "slips without weight": 0}
    for seed in range(100):
        for name, model, weight in (
            ("slips", slips, 1.0),
            ("slips without weight", slips, 0.0),
            ("steps", open_choice, 1.0),
        ):
            first = flow(model, flows_of(lambda prefix: 0.4), n=8, seed=seed, log_prob_weight=weight).tree.branches[0]
            if "slip" in first.text or model is open_choice:
                left[name] += first.text in ("slip\n\n", f"{first.text[0]}\n\n")
    assert left["slips"] >= 1
    assert left["slips without weight"] == left["steps"] == 0


def test_with_log_probs_the_likely_answer_is_chosen_where_flows_are_alike() -> None:
    model = scripted({"well\n\n=1": 0.7, "slip\n\n=2": 0.3})
    chosen = {}
    for weight in (0.0, 1.0):
        results = [flow(model, flows_of(slightly_wrong), n=8, seed=seed, log_prob_weight=weight) for seed in range(20)]
        chosen[weight] = sum(result.decision.answer == "1" for result in results)
    assert chosen[0.0] < 8
    assert chosen[1.0] > 15


def slightly_wrong(prefix: str) -> float:
    """Takes the slip for a little better."""
    return 0.45 if "slip" in prefix else 0.4
