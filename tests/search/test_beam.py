"""Step beam search: it follows the values, and never holds more than n beams."""

from __future__ import annotations

import pytest
from fakes.engine import FakeEngine
from fakes.models import lettered, rambling, scripted
from fakes.searches import PROMPT, search
from fakes.values import ValueOf, arbitrary, chance_of
from hypothesis import given, settings
from hypothesis import strategies as st

from arts_lite.search import BranchState, SearchResult
from arts_lite.types import StopReason

LETTERS = {"a": 0.5, "b": 0.3, "c": 0.2}


def texts_of(result: SearchResult, state: BranchState = BranchState.ENDED) -> list[str]:
    return [branch.text for branch in result.tree.branches if branch.state is state]


def paths(result: SearchResult) -> list[tuple[object, ...]]:
    return [(branch.path, branch.parent, branch.text, branch.state) for branch in result.tree.branches]


def test_a_rare_right_answer_is_found_where_independent_traces_miss_it() -> None:
    rare = "cbcc"  # 0.0024
    found = blind = 0
    for seed in range(40):
        options = {"n": 32, "beam_width": 16, "seed": seed, "scorer": chance_of(rare, LETTERS)}
        found += search(FakeEngine(lettered(4, LETTERS)), "beam", **options).decision.answer == rare
        blind += search(FakeEngine(lettered(4, LETTERS)), "best-of-n", **options).decision.answer == rare
    assert found >= 30
    assert blind <= 8


def test_a_beam_of_one_with_many_siblings_goes_step_by_step_to_the_best() -> None:
    result = search(FakeEngine(lettered(5, LETTERS)), "beam", n=12, beam_width=12, scorer=chance_of("bbbbb", LETTERS))
    assert result.decision.answer == "bbbbb"
    assert {text[:15] for text in texts_of(result)} == {"b\n\n" * 5}


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 6), st.integers(0, 50), st.integers(1, 20))
def test_live_beams_and_leaves_are_never_more_than_n(n: int, width: int, seed: int, max_rows: int) -> None:
    engine = FakeEngine(rambling(4), max_rows=max_rows)
    most = 0

    def look() -> None:
        nonlocal most
        most = max(most, len(engine.branches))

    engine.on_decode = look
    result = search(engine, "beam", n=n, beam_width=width, seed=seed, scorer=ValueOf(arbitrary))
    assert most <= n
    assert len(texts_of(result)) == n
    assert result.stopped_by is StopReason.COMPLETE


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 20), st.integers(2, 9))
def test_the_tree_is_a_function_of_the_seed_not_of_the_batch(seed: int, max_rows: int, n: int) -> None:
    def tree(rows: int) -> list[tuple[object, ...]]:
        engine = FakeEngine(rambling(4), max_rows=rows)
        return paths(search(engine, "beam", n=n, beam_width=3, seed=seed, scorer=ValueOf(arbitrary)))

    assert tree(max_rows) == tree(16)


def test_only_the_best_of_all_beams_are_expanded() -> None:
    result = search(FakeEngine(lettered(2, LETTERS)), "beam", n=24, beam_width=12, scorer=ValueOf(arbitrary))
    branches = result.tree.branches
    first = {branch.steps[0].text for branch in branches[:24]}
    expanded = {branch.steps[0].text for branch in branches if len(branch.steps) > 1}
    assert len(first) == 3
    assert expanded == set(sorted(first, key=arbitrary)[1:])
    assert {branch.why for branch in branches if branch.state is BranchState.PRUNED} == {"not among the best 2 beams"}


def test_beams_with_the_same_text_count_once() -> None:
    sure = scripted({"same\n\nstep\n\n=1": 1.0})
    result = search(FakeEngine(sure), "beam", n=4, beam_width=2, scorer=ValueOf(len))
    states = [branch.state for branch in result.tree.branches[:4]]
    assert states == [BranchState.ENDED, *[BranchState.PRUNED] * 3]
    assert result.decision.votes == 4


def test_siblings_share_what_they_have_in_common() -> None:
    engine = FakeEngine(lettered(4, LETTERS))
    result = search(engine, "beam", n=8, beam_width=4, scorer=chance_of("abab", LETTERS))
    own = sum(branch.num_own_tokens for branch in result.tree.branches)
    assert result.num_tokens_decoded == engine.stats().num_tokens_decoded == own
    for branch in result.tree.branches[8:]:
        parent = result.tree.branches[branch.parent or 0]
        assert branch.start in [step.end for step in parent.steps]
        assert branch.start > len(PROMPT)


def test_a_trace_that_ends_early_is_kept() -> None:
    engine = FakeEngine(scripted({"=0": 0.5, "a\n\nb\n\n=1": 0.5}))
    for seed in range(10):
        result = search(engine, "beam", n=8, seed=seed, scorer=ValueOf(lambda text: 2.0 if "=0" in text else 1.0))
        early = texts_of(result).count("=0")
        assert 0 < early < 8
        assert len(texts_of(result)) == 8
        assert result.decision.answer == ("0" if 2 * early >= 8 - early and 2 * early != 8 - early else "1")


def test_equal_answers_weigh_together() -> None:
    engine = FakeEngine(scripted({"= 7": 0.4, "=7": 0.4, "=8": 0.2}))
    value = ValueOf(lambda text: 3.0 if "8" in text else 2.0)
    result = search(engine, "beam", n=16, scorer=value)
    assert result.decision.answer is not None
    assert result.decision.answer.strip() == "7"
    assert result.decision.by == "weighted vote"


@pytest.mark.parametrize("aggregation", ["last", "min"])
def test_prefixes_are_ranked_by_the_aggregation_that_was_asked_for(aggregation: str) -> None:
    values = {"a": 0.1, "b": 0.5, "a\n\na": 0.9, "a\n\nb": 0.9, "b\n\na": 0.5, "b\n\nb": 0.5}
    scorer = ValueOf(lambda text: values.get(text.strip(), 0.5))
    model = lettered(3, {"a": 0.5, "b": 0.5})
    result = search(FakeEngine(model), "beam", n=12, beam_width=6, aggregation=aggregation, scorer=scorer)
    two_steps = [branch for branch in result.tree.branches if branch.has_ended]
    assert {branch.text[0] for branch in two_steps} == ({"a"} if aggregation == "last" else {"b"})


@pytest.mark.parametrize("strategy", ["beam", "dvts", "mcts"])
def test_a_scorer_of_whole_traces_is_refused_with_a_remedy(strategy: str) -> None:
    with pytest.raises(ValueError, match=r"guided by the score of every step.*give a verifier, or a scorer"):
        search(FakeEngine(), strategy, n=2)
