"""Trees made of traces, and traces taken out of trees."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
from fakes.trees import trace_lists
from hypothesis import given

from arts_lite.tree import Origin, Trace, TraceEnd, Tree, step_sums, traces_of, tree_of

ORIGIN = Origin("q")


def make(tokens: list[int], step_ends: list[int], parent: int | None = None, shared: int = 0, **end: object) -> Trace:
    log_pf = -np.arange(1.0, len(step_ends) + 1)
    texts = tuple(f"step {index}" for index in range(len(step_ends)))
    ending = TraceEnd(**end)  # type: ignore[arg-type]
    return Trace(np.array(tokens, np.int32), tuple(step_ends), texts, log_pf, log_pf / 2, parent, shared, ending)


def assert_same_trace(a: Trace, b: Trace) -> None:
    assert a.tokens.tolist() == b.tokens.tolist()
    assert (a.step_ends, a.step_texts, a.parent, a.num_tokens_shared, a.end) == (
        *(b.step_ends, b.step_texts, b.parent, b.num_tokens_shared, b.end),
    )
    np.testing.assert_array_equal(a.log_pf_model, b.log_pf_model)
    np.testing.assert_array_equal(a.log_pf_sampling, b.log_pf_sampling)
    assert a.log_flow is not None
    assert b.log_flow is not None
    np.testing.assert_array_equal(a.log_flow, b.log_flow)


@given(trace_lists())
def test_traces_come_out_of_their_tree_as_they_went_in(traces: list[Trace]) -> None:
    for before, after in zip(traces, traces_of(tree_of(traces, ORIGIN)), strict=True):
        assert_same_trace(before, after)


@given(trace_lists())
def test_nodes_are_the_distinct_prefixes_and_count_their_draws(traces: list[Trace]) -> None:
    tree = tree_of(traces, ORIGIN)
    drawn: Counter[tuple[int, ...]] = Counter()
    for trace in traces:
        for end in trace.step_ends:
            drawn[tuple(trace.tokens[:end].tolist())] += end > trace.num_tokens_shared
    assert tree.num_nodes == 1 + len(drawn)
    for node in range(1, tree.num_nodes):
        prefix = tuple(token for step in tree.path(node) for token in tree.tokens(step).tolist())
        assert tree.num_draws[node] == drawn.pop(prefix)
        assert tree.parent[node] < node
        assert tree.depth[node] == tree.depth[tree.parent[node]] + 1
    assert tree.num_draws[0] == sum(trace.parent is None for trace in traces)


def small_tree() -> Tree:
    traces = [
        make([1, 0, 2, 0, 3], [2, 4, 5], answer="3", correct=True, reward=10.0),
        make([1, 0, 4], [2, 3], parent=0, shared=2, answer="4", correct=False, reward=0.1),
        make([1, 0, 2, 0, 3], [2, 4, 5], answer="3", correct=True, reward=10.0),
        make([5], [1], state="pruned", reason="pruned", why="hopeless"),
    ]
    return tree_of(traces, ORIGIN)


def test_a_golden_tree() -> None:
    tree = small_tree()
    assert tree.parent.tolist() == [-1, 0, 1, 2, 1, 0]
    assert tree.depth.tolist() == [0, 1, 2, 3, 2, 1]
    assert tree.num_draws.tolist() == [3, 2, 2, 2, 1, 1]
    assert tree.log_pf_model.tolist() == [0, -1, -2, -3, -2, -1]
    assert tree.log_pf_sampling.tolist() == [0, -0.5, -1, -1.5, -1, -0.5]
    assert tree.trace_node.tolist() == [3, 4, 3, 5]
    assert tree.is_leaf.tolist() == [False, False, False, True, True, False]
    np.testing.assert_array_equal(tree.reward, [np.nan, np.nan, np.nan, 10, 0.1, np.nan])
    np.testing.assert_array_equal(tree.correct, [np.nan, np.nan, np.nan, 1, 0, np.nan])


def test_a_tree_without_traces_is_its_root() -> None:
    tree = tree_of([], ORIGIN)
    assert tree.num_nodes == 1
    assert not tree.is_leaf.any()


def test_step_sums_add_up_the_tokens_of_each_step() -> None:
    assert step_sums([-1, -2, -3, -4], [1, 4]).tolist() == [-1, -9]
    assert step_sums([], []).tolist() == []


def test_a_fork_that_does_not_begin_with_its_parents_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="does not begin with the 2 tokens"):
        tree_of([make([1, 0], [2]), make([1, 1, 0], [3], parent=0, shared=2)], ORIGIN)


def test_a_fork_of_a_later_trace_is_refused() -> None:
    with pytest.raises(ValueError, match="must stand before it"):
        tree_of([make([1, 0], [2], parent=1)], ORIGIN)


@pytest.mark.parametrize("step_ends", [[1], [2, 1, 3], [0, 3], [3, 4], []])
def test_steps_that_do_not_cut_the_tokens_are_refused(step_ends: list[int]) -> None:
    with pytest.raises(ValueError, match="step_ends"):
        make([1, 2, 3], step_ends)


def test_a_main_trace_shares_nothing() -> None:
    with pytest.raises(ValueError, match="num_tokens_shared"):
        make([1, 2], [2], shared=1)


def test_a_node_takes_its_log_flow_from_the_first_trace_that_knows_it() -> None:
    without = make([1, 0, 2], [2, 3])
    partly = dataclasses.replace(without, log_flow=np.array([0.5, np.nan]))
    whole = dataclasses.replace(without, log_flow=np.array([0.75, 1.5]))
    np.testing.assert_array_equal(tree_of([without], ORIGIN).log_flow, [np.nan] * 3)
    np.testing.assert_array_equal(tree_of([without, partly, whole], ORIGIN).log_flow, [np.nan, 0.5, 1.5])


def test_a_trace_with_too_few_log_flows_is_refused() -> None:
    with pytest.raises(ValueError, match="log_flow has 1 values for 2 steps"):
        dataclasses.replace(make([1, 0, 2], [2, 3]), log_flow=np.zeros(1))
