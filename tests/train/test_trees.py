"""Trees as arrays for training, against the traces that they were made of."""

from __future__ import annotations

import math
from itertools import combinations
from random import Random

import numpy as np
import pytest
from fakes.sdf_trees import sdf_tree, trace
from fakes.trees import trace_lists
from hypothesis import given, settings

from arts_lite.tasks import Rewards
from arts_lite.train.trees import (
    ContextLimit,
    TrainingTree,
    log_targets,
    problem_key,
    training_tree,
    usable_traces,
)
from arts_lite.tree import Origin, Trace, TraceEnd, tree_of

State = tuple[int, ...]
PROBLEM = Origin("?", rewards={"correct": 10.0, "wrong": 0.1})


def steps_of(trace: Trace) -> list[State]:
    """The prefixes that a trace passes, the root's first."""
    return [(), *(tuple(trace.tokens[:end].tolist()) for end in trace.step_ends)]


def states_of(made: TrainingTree, traces: list[Trace]) -> list[State]:
    """Prefix of each node."""
    source = tree_of(traces, PROBLEM)
    return [tuple(token for node in source.path(int(one)) for token in source.tokens(node)) for one in made.source_node]


@settings(deadline=None, max_examples=60)
@given(trace_lists())
def test_counts_are_those_of_the_usable_traces(traces: list[Trace]) -> None:
    tree = tree_of(traces, PROBLEM)
    usable, reasons = usable_traces(tree)
    assert len(usable) + reasons.total() == len(traces)
    if not usable:
        return
    made = training_tree(tree, usable)
    kept = [traces[index] for index in usable]
    states = states_of(made, traces)
    assert set(states) == {state for one in kept for state in steps_of(one)}
    for node, state in enumerate(states):
        below = [one for one in kept if state in steps_of(one)]
        here = [one for one in below if steps_of(one)[-1] == state]
        rewards = [one.end.reward or 0.0 for one in below]
        assert made.num_leaves[node] == len(below)
        assert made.num_correct[node] == sum(one.end.correct is True for one in below)
        assert made.log_mean_reward[node] == pytest.approx(math.log(np.mean(rewards)))
        assert made.num_ended[node] == len(here)
        assert made.ended_correct[node] == sum(one.end.correct is True for one in here)
        if here:
            assert made.ended_reward[node] == pytest.approx(np.mean([one.end.reward for one in here]))
        else:
            assert math.isnan(made.ended_reward[node])
        distinct = {steps_of(one)[-1] for one in below}
        means = [np.mean([one.end.reward for one in below if steps_of(one)[-1] == end]) for end in distinct]
        assert made.log_sum_reward[node] == pytest.approx(math.log(sum(means)))
    assert [states[node] for node in made.trace_node] == [steps_of(one)[-1] for one in kept]
    assert made.trace_is_main.tolist() == [one.parent is None for one in kept]
    assert made.trace_correct.tolist() == [one.end.correct for one in kept]


@settings(deadline=None, max_examples=60)
@given(trace_lists())
def test_draws_are_counted_once_however_many_forks_took_them_over(traces: list[Trace]) -> None:
    tree = tree_of(traces, PROBLEM)
    at_steps = all(one.parent is None or one.num_tokens_shared in (0, *traces[one.parent].step_ends) for one in traces)
    if traces and at_steps:  # else a fork that was never run may end in a step that no trace drew
        whole = training_tree(tree, range(len(traces)), Rewards())
        assert whole.draws.tolist() == tree.num_draws.tolist()
    usable, _ = usable_traces(tree)
    if not usable:
        return
    made = training_tree(tree, usable)
    drawn: set[tuple[int, State]] = set()
    for index in usable:
        for state in steps_of(traces[index]):
            drawer = index
            while traces[drawer].parent is not None and len(state) <= traces[drawer].num_tokens_shared:
                drawer = traces[drawer].parent or 0
            drawn.add((drawer, state))
    for node, state in enumerate(states_of(made, traces)):
        drawers = [drawer for drawer, other in drawn if other == state]
        assert made.draws[node] == len(drawers) >= 1
        assert made.main_draws[node] == sum(traces[drawer].parent is None for drawer in drawers)


@settings(deadline=None, max_examples=60)
@given(trace_lists())
def test_parents_precede_their_children_and_inner_nodes_have_some(traces: list[Trace]) -> None:
    tree = tree_of(traces, PROBLEM)
    usable, _ = usable_traces(tree)
    if not usable:
        return
    made = training_tree(tree, usable)
    states = states_of(made, traces)
    assert made.parent[0] == -1
    assert all(made.parent[node] < node for node in range(1, made.num_nodes))
    for node in range(made.num_nodes):
        path = made.path(node)
        assert path[0] == 0
        assert path[-1] == node
        assert made.depth[node] == len(path) - 1
        [passing, *_] = [steps_of(traces[index]) for index in usable if states[node] in steps_of(traces[index])]
        assert [states[one] for one in path] == passing[: len(path)]
        assert made.is_inner[node] == (node in made.parent)
    assert made.is_mixed == (len({bool(one) for one in made.trace_correct}) == 2)


def test_siblings_are_ranked_by_the_rewards_below_them() -> None:
    for seed in range(20):
        tree = sdf_tree(Random(seed), num_mains=4)
        made = training_tree(tree, range(tree.num_traces))
        ranked = {tuple(pair): weight for pair, weight in zip(made.pairs.tolist(), made.pair_weight, strict=True)}
        count = 0
        for first, second in combinations(range(1, made.num_nodes), 2):
            values = made.num_correct[[first, second]] / made.num_leaves[[first, second]]
            if made.parent[first] == made.parent[second] and values[0] != values[1]:
                better, worse = (first, second) if values[0] > values[1] else (second, first)
                assert ranked[better, worse] == 2 / (made.parent == made.parent[first]).sum()
                count += 1
        assert count == len(ranked)


def test_siblings_of_equal_text_are_no_pair() -> None:
    """A verifier reads text: other tokens of the same text are the same to it."""
    ends = (TraceEnd(correct=True, reward=10.0), TraceEnd(correct=False, reward=0.1))
    traces = [
        Trace(np.array([token], np.int32), (1,), ("same",), np.zeros(1), np.zeros(1), end=end)
        for token, end in zip((1, 2), ends, strict=True)
    ]
    made = training_tree(tree_of(traces, PROBLEM), [0, 1])
    assert made.num_nodes == 3
    assert len(made.pairs) == 0


def test_targets_unroll_to_the_rewards() -> None:
    for seed in range(20):
        tree = sdf_tree(Random(seed), num_mains=4)
        made = training_tree(tree, range(tree.num_traces))
        for node in range(made.num_nodes):
            children = np.flatnonzero(made.parent == node)
            below = [(float(made.draws[one]), one) for one in children]
            for estimator in ("sum", "expected"):
                flow = np.exp(log_targets(made, estimator))
                terms = [(draws, flow[one]) for draws, one in below]
                if made.num_ended[node]:
                    terms.append((float(made.num_ended[node]), made.ended_reward[node]))
                if estimator == "sum":
                    assert flow[node] == pytest.approx(sum(term for _, term in terms))
                else:
                    total = sum(draws for draws, _ in terms)
                    assert flow[node] == pytest.approx(sum(draws * term for draws, term in terms) / total)


def test_reasons_say_what_is_wrong_with_a_trace() -> None:
    good = TraceEnd(correct=True, reward=10.0)
    ends = {
        "": good,
        "unfinished": TraceEnd("cut", correct=True, reward=10.0),
        "ungraded": TraceEnd(reward=10.0),
        "bad_reward": TraceEnd(correct=False, reward=math.nan),
    }
    traces = [trace((letter,), end=end) for letter, end in zip("abcd", ends.values(), strict=True)]
    traces += [trace(("x", "y"), end=good), trace(("p",), end=TraceEnd("pruned"))]
    traces += [trace(("q",), end=TraceEnd(correct=True)), trace(("r",), end=TraceEnd(correct=False, reward=0.0))]
    limit = ContextLimit(
        6, lambda text: len(text), lambda _text, _delimiters: 3
    )  # the question's one character, and one step
    usable, reasons = usable_traces(tree_of(traces, PROBLEM), limit)
    assert usable == [0]
    assert reasons == {"unfinished": 2, "ungraded": 2, "bad_reward": 2, "too_long": 1}
    usable, reasons = usable_traces(tree_of(traces, PROBLEM), needs_reward=False)
    assert usable == [0, 3, 4, 6, 7]
    assert reasons == {"unfinished": 2, "ungraded": 1}


def test_rewards_may_be_named_anew() -> None:
    tree = sdf_tree(Random(2), num_mains=4)
    made = training_tree(tree, range(tree.num_traces), Rewards(2.0, 1.0))
    assert np.exp(made.log_mean_reward) == pytest.approx(1 + made.num_correct / made.num_leaves)


@pytest.mark.parametrize(
    ("problem", "key"),
    [
        (None, "what is it?"),
        ({"id": "7", "question": "how  many\nare there?", "metadata": {}}, "how many are there?"),
        ({"id": "sum-1-2", "question": "1 and 2", "metadata": {"split": "train"}}, "sum-1-2"),
        ({"id": "7"}, "what is it?"),
    ],
)
def test_a_problem_is_named_by_its_content(problem: dict[str, object] | None, key: str) -> None:
    assert problem_key(tree_of([], Origin("what is  it?", problem=problem))) == key
