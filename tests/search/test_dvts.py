"""Diverse Verifier Tree Search: subtrees that share nothing, each descended to its best step."""

from __future__ import annotations

import pytest
from fakes.engine import FakeEngine
from fakes.models import lettered, rambling, scripted
from fakes.searches import search
from fakes.values import ValueOf, arbitrary, chance_of
from hypothesis import given, settings
from hypothesis import strategies as st

from arts_lite.search import Branch, BranchState, SearchResult
from arts_lite.types import StopReason

LETTERS = {"a": 0.5, "b": 0.3, "c": 0.2}


def root_of(result: SearchResult, branch: Branch) -> int:
    while branch.parent is not None:
        branch = result.tree.branches[branch.parent]
    return branch.index


def subtrees(result: SearchResult, width: int) -> list[list[Branch]]:
    """Branches by the subtree that their main trace belongs to."""
    found: dict[int, list[Branch]] = {}
    for branch in result.tree.branches:
        found.setdefault(root_of(result, branch) // width, []).append(branch)
    return list(found.values())


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 5), st.integers(0, 50), st.integers(1, 20))
def test_each_subtree_is_what_it_would_be_alone(n: int, width: int, seed: int, max_rows: int) -> None:
    engine = FakeEngine(rambling(4), max_rows=max_rows)
    result = search(engine, "dvts", n=n, beam_width=width, seed=seed, scorer=ValueOf(arbitrary))
    groups = subtrees(result, width)
    assert len(groups) == -(-n // width)
    first = search(
        FakeEngine(rambling(4)), "dvts", n=min(n, width), beam_width=width, seed=seed, scorer=ValueOf(arbitrary)
    )
    paths = sorted((branch.path, branch.text, branch.state) for branch in groups[0])
    assert paths == sorted((branch.path, branch.text, branch.state) for branch in first.tree.branches)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 5), st.integers(0, 50), st.integers(1, 20))
def test_never_more_than_n_branches_are_held(n: int, width: int, seed: int, max_rows: int) -> None:
    engine = FakeEngine(rambling(4), max_rows=max_rows)
    held: list[int] = []
    engine.on_decode = lambda: held.append(len(engine.branches))
    result = search(engine, "dvts", n=n, beam_width=width, seed=seed, scorer=ValueOf(arbitrary))
    assert max(held) <= n
    assert result.stopped_by is StopReason.COMPLETE


@pytest.mark.parametrize("n", [4, 12])
def test_each_subtree_follows_its_best_step(n: int) -> None:
    result = search(FakeEngine(lettered(4, LETTERS)), "dvts", n=n, beam_width=4, seed=3, scorer=ValueOf(arbitrary))
    for group in subtrees(result, 4):
        for depth in range(1, 5):
            drawn = {
                "".join(step.text for step in branch.steps[:depth]) for branch in group if len(branch.steps) >= depth
            }
            followed = {
                "".join(step.text for step in branch.steps[:depth]) for branch in group if len(branch.steps) > depth
            }
            assert followed == {max(drawn, key=arbitrary)}
        assert {branch.why for branch in group if branch.state is BranchState.PRUNED} <= {"not the best of its subtree"}


def test_subtrees_keep_what_the_value_alone_would_have_crowded_out() -> None:
    liked_more = ValueOf(lambda text: 2.0 if text.startswith("a") else 1.0)
    model = lettered(3, {"a": 0.3, "b": 0.7})
    beam = search(FakeEngine(model), "beam", n=16, beam_width=16, seed=1, scorer=liked_more)
    trees = search(FakeEngine(model), "dvts", n=16, beam_width=2, seed=1, scorer=liked_more)
    assert {answer[0] for answer in beam.tree.answers} == {"a"}
    assert {answer[0] for answer in trees.tree.answers} == {"a", "b"}


def test_a_subtree_ends_when_its_best_step_ends_a_trace() -> None:
    model = scripted({"=0": 0.5, "a\n\nb\n\n=1": 0.5})
    result = search(
        FakeEngine(model), "dvts", n=8, beam_width=8, scorer=ValueOf(lambda text: 2.0 if "=0" in text else 1.0)
    )
    assert result.tree.answers == ["0"]
    assert {branch.state for branch in result.tree.branches} == {BranchState.ENDED, BranchState.PRUNED}
    assert len(result.tree.branches) == 8


def test_what_ended_beside_the_best_step_stays_a_leaf() -> None:
    model = scripted({"=0": 0.5, "a\n\nb\n\n=1": 0.5})
    result = search(
        FakeEngine(model), "dvts", n=8, beam_width=8, scorer=ValueOf(lambda text: 1.0 if "=0" in text else 2.0)
    )
    assert sorted(result.tree.answers) == ["0", "1"]
    assert result.decision.answer == "1"


def test_a_rare_right_answer_is_found() -> None:
    options = {"n": 48, "beam_width": 16, "scorer": chance_of("cbcc", LETTERS)}
    answers = [
        search(FakeEngine(lettered(4, LETTERS)), "dvts", seed=seed, **options).decision.answer for seed in range(20)
    ]
    assert answers.count("cbcc") >= 18
