from __future__ import annotations

import math
from functools import cache

from fakes.engine import FakeEngine
from fakes.models import rambling, scripted
from fakes.searches import PROMPT, events_of, request, search
from hypothesis import given, settings
from hypothesis import strategies as st

from arts_lite.search import Branch, SearchResult
from arts_lite.search.events import QuestionFinished

PROMPT_LENGTH = len(PROMPT)


def paths(result: SearchResult) -> list[tuple[object, ...]]:
    """Everything about a tree's branches that should not depend on their order of opening."""
    branches = result.tree.branches
    return sorted((branch.path, branch.start, branch.length, branch.text, branch.reason) for branch in branches)


@cache
def thousand_trees() -> list[SearchResult]:
    return [search(FakeEngine(rambling(5)), "sdf", n=1, fork_prob=0.5, seed=seed) for seed in range(1000)]


def mains(result: SearchResult) -> list[Branch]:
    return [branch for branch in result.tree.branches if branch.parent is None]


def test_forks_lie_at_intermediate_boundaries_of_main_traces_only() -> None:
    for result in thousand_trees():
        for branch in result.tree.branches:
            if branch.parent is None:
                continue
            parent = result.tree.branches[branch.parent]
            assert parent.parent is None
            assert branch.start in [step.end for step in parent.steps[:-1]]
            assert branch.depth == 1


def test_each_intermediate_boundary_forks_with_the_given_probability() -> None:
    num_boundaries = sum(len(main.steps) - 1 for result in thousand_trees() for main in mains(result))
    num_forks = sum(len(result.tree.branches) - 1 for result in thousand_trees())
    assert num_boundaries > 2000
    assert abs(num_forks - num_boundaries / 2) < 4 * math.sqrt(num_boundaries / 4)


def test_no_boundary_forks_twice() -> None:
    for result in thousand_trees():
        starts = [branch.start for branch in result.tree.branches if branch.parent is not None]
        assert len(starts) == len(set(starts))


def test_main_traces_are_those_of_best_of_n() -> None:
    for seed in range(50):
        tree = search(FakeEngine(rambling(4)), "sdf", n=3, seed=seed)
        plain = search(FakeEngine(rambling(4)), "best-of-n", n=3, seed=seed)
        assert [branch.text for branch in mains(tree)] == [branch.text for branch in plain.tree.branches]


def test_every_branch_is_a_path_from_the_root_to_a_leaf() -> None:
    for result in thousand_trees()[:200]:
        for branch in result.tree.branches:
            assert branch.has_ended
            assert "".join(step.text for step in branch.steps) == branch.text
            assert [step.start for step in branch.steps] == [PROMPT_LENGTH, *(step.end for step in branch.steps[:-1])]
            assert branch.steps[-1].end == branch.length
            assert branch.num_own_steps >= 1
            if branch.parent is not None:
                shared = [step for step in branch.steps if step.end <= branch.start]
                assert result.tree.branches[branch.parent].steps[: len(shared)] == shared


def test_the_first_token_of_a_fork_is_drawn_anew() -> None:
    differs = same = 0
    for result in thousand_trees():
        for branch in result.tree.branches[1:]:
            parent = result.tree.branches[branch.parent]
            at = sum(len(step.text) for step in branch.steps if step.end <= branch.start)
            differs += branch.text[at] != parent.text[at]
            same += branch.text[at] == parent.text[at]
    assert 0.3 < differs / (differs + same) < 0.8  # three letters may open a step


def test_the_same_seed_grows_the_same_tree_and_another_one_another_tree() -> None:
    def tree(seed: int) -> list[tuple[object, ...]]:
        return paths(search(FakeEngine(rambling(4)), "sdf", n=4, seed=seed))

    assert tree(7) == tree(7)
    assert tree(7) != tree(8)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 20), st.booleans())
def test_the_tree_does_not_depend_on_the_batch(seed: int, max_rows: int, follow_steps: bool) -> None:
    alone = search(FakeEngine(rambling(4)), "sdf", n=3, seed=seed)
    others = [request("sdf", question=number, n=2, seed=seed + number) for number in (1, 2)]
    events = events_of(
        FakeEngine(rambling(4), max_rows=max_rows),
        [others[0], request("sdf", n=3, seed=seed), others[1]],
        follow_steps=follow_steps,
    )
    together = next(event.result for event in events if isinstance(event, QuestionFinished) and event.question == 0)
    assert paths(together) == paths(alone)
    assert together.decision.answer == alone.decision.answer
    assert together.tree.num_nodes == alone.tree.num_nodes


def test_no_forks_at_probability_or_depth_zero() -> None:
    for options in ({"fork_prob": 0.0}, {"max_fork_depth": 0}):
        assert len(search(FakeEngine(rambling(6)), "sdf", n=5, **options).tree.branches) == 5


def test_at_probability_one_every_intermediate_boundary_forks_once() -> None:
    result = search(FakeEngine(rambling(6)), "sdf", n=2, fork_prob=1.0)
    assert len(result.tree.branches) == 2 + sum(len(main.steps) - 1 for main in mains(result))


def test_forks_of_forks_keep_within_the_depth() -> None:
    result = search(FakeEngine(rambling(5)), "sdf", n=2, fork_prob=0.6, max_fork_depth=2, seed=2)
    depths = {branch.depth for branch in result.tree.branches}
    assert depths == {0, 1, 2}
    for branch in result.tree.branches:
        if branch.depth == 2:
            parent = result.tree.branches[branch.parent]
            assert branch.start > parent.start


def test_a_boundary_with_nothing_visible_behind_it_is_not_intermediate() -> None:
    result = search(FakeEngine(scripted({"a\n\nb\n\n  \n": 1.0})), "sdf", n=1, fork_prob=1.0)
    assert [branch.start for branch in result.tree.branches] == [PROMPT_LENGTH, PROMPT_LENGTH + 3]
    assert [step.text for step in result.tree.branches[0].steps] == ["a\n\n", "b\n\n  \n"]


def test_a_correct_leaf_is_found_off_a_wrong_main_trace() -> None:
    engine = FakeEngine(scripted({"x\n\ny\n\n=0": 0.9, "x\n\nz\n\n=1": 0.1}))
    result = search(engine, "sdf", n=40, fork_prob=1.0)
    found = [b for b in result.tree.branches if b.parent is not None and b.answer == "1"]
    assert any(result.tree.branches[branch.parent].answer == "0" for branch in found)


def test_shared_tokens_are_decoded_once() -> None:
    engine = FakeEngine(rambling(6))
    result = search(engine, "sdf", n=3, fork_prob=1.0)
    own = sum(branch.num_own_tokens for branch in result.tree.branches)
    whole = sum(branch.length for branch in result.tree.branches)
    assert result.num_tokens_decoded == engine.stats().num_tokens_decoded == own == result.tree.num_tokens
    assert result.tree.num_tokens_shared == whole - own - result.tree.num_prompt_tokens


def test_by_score_the_best_leaf_wins_over_the_majority() -> None:
    model = scripted({"=long way": 0.7, "=no": 0.3})
    by_vote = search(FakeEngine(model), "sdf", n=9, scorer="length")
    by_score = search(FakeEngine(model), "sdf", n=9, scorer="length", by_score=True)
    assert (by_vote.decision.answer, by_score.decision.answer) == ("long way", "no")
