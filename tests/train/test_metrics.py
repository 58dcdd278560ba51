"""Dev metrics against their definitions, counted out."""

from __future__ import annotations

import dataclasses
import math
from itertools import product
from random import Random

import numpy as np
import pytest
from fakes.sdf_trees import REWARDS, lines, sdf_tree
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from arts_lite.report.estimators import best_of_k
from arts_lite.tasks import Rewards
from arts_lite.train.metrics import (
    auc,
    brier,
    correlation,
    dev_metrics,
    expected_calibration_error,
    fit_log_prob_weight,
    pairwise_accuracy,
    target_noise,
)
from arts_lite.train.objectives import make_objective
from arts_lite.train.trees import TrainingTree, log_targets, training_tree


def made(seed: int, num_mains: int = 4, **options: object) -> TrainingTree:
    options = {"policy": lines(), **options}
    tree = sdf_tree(Random(seed), question=str(seed), num_mains=num_mains, **options)  # type: ignore[arg-type]
    return training_tree(tree, range(tree.num_traces))


class Logits:
    """Takes values for log-odds."""

    def prob_correct(self, values: NDArray[np.float64], rewards: Rewards) -> NDArray[np.float64]:
        return np.exp(-np.logaddexp(0.0, -values))


class Half:
    """Says 0.5 of everything."""

    def prob_correct(self, values: NDArray[np.float64], rewards: Rewards) -> NDArray[np.float64]:
        return np.full(len(values), 0.5)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)), max_size=7))
def test_auc_is_the_share_of_pairs_in_order(rows: list[tuple[int, int, int]]) -> None:
    scores = np.array([row[0] for row in rows], np.float64)
    ups, downs = ([row[place] for row in rows] for place in (1, 2))
    wins = [
        (1.0 if high > low else 0.5 if high == low else 0.0, up * down)
        for (high, up), (low, down) in product(zip(scores, ups, strict=True), zip(scores, downs, strict=True))
    ]
    total = sum(weight for _, weight in wins)
    found = auc(scores, ups, downs)
    if total == 0:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(sum(win * weight for win, weight in wins) / total)


def test_pairs_count_by_their_weights_and_ties_half() -> None:
    pairs = np.array([[0, 1], [1, 0], [2, 3]], np.int32)
    assert pairwise_accuracy([2.0, 1.0, 5.0, 5.0], pairs) == pytest.approx((1 + 0 + 0.5) / 3)
    assert pairwise_accuracy([2.0, 1.0, 5.0, 5.0], pairs, [3, 1, 2]) == pytest.approx((3 + 0 + 1) / 6)
    assert math.isnan(pairwise_accuracy([1.0], pairs[:0]))


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.integers(1, 4)).flatmap(
            lambda row: st.tuples(st.just(row[0]), st.integers(0, row[1]), st.just(row[1]))
        ),
        min_size=1,
        max_size=8,
    )
)
def test_calibration_is_counted_leaf_by_leaf(rows: list[tuple[float, int, int]]) -> None:
    prob, ups, leaves = zip(*rows, strict=True)
    verdicts = [(p, float(place < up)) for p, up, num in rows for place in range(num)]
    assert brier(prob, ups, leaves) == pytest.approx(np.mean([(p - verdict) ** 2 for p, verdict in verdicts]))
    error = 0.0
    for place in range(10):
        own = [(p, verdict) for p, verdict in verdicts if min(int(p * 10), 9) == place]
        if own:
            error += abs(np.mean([p for p, _ in own]) - np.mean([verdict for _, verdict in own])) * len(own)
    assert expected_calibration_error(prob, ups, leaves) == pytest.approx(error / len(verdicts))


def test_correlation_of_what_does_not_vary_is_nan() -> None:
    assert correlation([1.0, 2.0, 4.0], [3, 2, 0]) == pytest.approx(-1)
    assert math.isnan(correlation([1.0, 1.0], [1, 2]))
    assert math.isnan(correlation([1.0, 2.0], [1, 1]))
    assert math.isnan(correlation([], []))


def test_target_noise_is_the_variance_over_main_traces_with_their_forks() -> None:
    trees = [made(seed) for seed in range(30)]
    for estimator in ("sum", "expected"):
        variances = []
        for tree in trees:
            logs = log_targets(tree, estimator)
            alone = [
                logs[node]
                for node in range(1, tree.num_nodes)
                if tree.parent[node] == 0 and tree.draws[node] == tree.main_draws[node] == 1
            ]
            if len(alone) > 1:
                variances.append(np.var(alone, ddof=1))
        assert variances
        assert target_noise(trees, estimator) == pytest.approx(np.mean(variances))
    assert math.isnan(target_noise([made(0, num_mains=1)], "sum"))


def test_forks_lessen_the_noise_of_the_mean_but_not_that_of_the_sum() -> None:
    """Weak point 1: the child sum also varies with the number of leaves that happened to be drawn."""

    def steps(rng: Random, before: tuple[str, ...]) -> str | None:
        return chr(0x4E00 + rng.randrange(20_000)) if len(before) < rng.choice((3, 9)) else None

    trees = [made(seed, num_mains=8, policy=steps, is_correct=lambda _question, _steps: True) for seed in range(20)]
    assert target_noise(trees, "expected") == pytest.approx(0, abs=1e-12)
    assert target_noise(trees, "sum") > 0.1
    depth, values = (
        np.concatenate([part[tree.is_inner & (tree.depth > 0)] for tree, part in zip(trees, parts, strict=True)])
        for parts in ([tree.depth for tree in trees], [log_targets(tree, "sum") for tree in trees])
    )
    assert correlation(values, depth) < -0.3


def test_true_values_are_the_best_in_every_metric() -> None:
    trees = [made(seed, num_mains=6) for seed in range(30)]
    objective = make_objective("flow", {"deviance": "gamma"})
    told = dev_metrics(trees, [tree.log_mean_reward for tree in trees], objective, REWARDS, ks=(2, 4))
    for k in (2, 4):
        assert told[f"bon@{k}"] == pytest.approx(told[f"oracle@{k}"])
        assert told[f"random@{k}"] < told[f"bon@{k}"]
        assert told[f"num_bon@{k}"] == 30
    assert told["bon_accuracy"] == pytest.approx((told["bon@2"] + told["bon@4"]) / 2)
    assert told["sibling_accuracy"] == told["leaf_auc"] == 1
    assert told["leaf_ece"] == pytest.approx(0, abs=1e-12)
    assert told["leaf_brier"] == pytest.approx(0, abs=1e-12)
    assert told["ece"] == pytest.approx(0, abs=1e-12)
    assert 0 < told["brier"] < 0.25


def test_constant_values_are_chance_in_every_metric() -> None:
    trees = [made(seed, num_mains=6) for seed in range(30)]
    told = dev_metrics(trees, [np.zeros(tree.num_nodes) for tree in trees], Half(), REWARDS, ks=(2, 4))
    assert told["bon@4"] == pytest.approx(told["random@4"])
    assert told["sibling_accuracy"] == told["leaf_auc"] == told["prefix_auc"] == 0.5
    assert told["brier"] == pytest.approx(0.25)
    assert math.isnan(told["depth_correlation"])


def test_metrics_of_trees_are_those_of_their_parts() -> None:
    trees = [made(seed, num_mains=5) for seed in range(12)]
    rng = np.random.default_rng(0)
    values = [rng.normal(size=tree.num_nodes) for tree in trees]
    objective = make_objective("prm")
    told = dev_metrics(trees, values, objective, REWARDS, ks=(3,))
    best, right, total, leaf_aucs, prefix_aucs, prefixes = [], 0.0, 0.0, [], [], []
    squares, num = 0.0, 0
    for tree, one in zip(trees, values, strict=True):
        mains = tree.trace_node[tree.trace_is_main]
        best.append(best_of_k(one[mains], tree.trace_correct[tree.trace_is_main], 3))
        for (better, worse), weight in zip(tree.pairs, tree.pair_weight, strict=True):
            right += weight * (one[better] > one[worse])
            total += weight
        leaf, prefix = ~tree.is_inner, tree.is_inner & (np.arange(tree.num_nodes) > 0)
        wrong = tree.num_leaves - tree.num_correct
        leaf_aucs.append(auc(one[leaf], tree.num_correct[leaf], wrong[leaf]))
        prefix_aucs.append(auc(one[prefix], tree.num_correct[prefix], wrong[prefix]))
        prefixes += list(zip(one[prefix], tree.depth[prefix], strict=True))
        for node in range(1, tree.num_nodes):
            prob = 1 / (1 + math.exp(-one[node]))
            squares += tree.num_correct[node] * (1 - prob) ** 2 + wrong[node] * prob**2
            num += tree.num_leaves[node]
    assert told["bon@3"] == told["bon_accuracy"] == pytest.approx(np.mean(best))
    assert told["sibling_accuracy"] == pytest.approx(right / total)
    assert told["leaf_auc"] == pytest.approx(np.nanmean(leaf_aucs))
    assert told["prefix_auc"] == pytest.approx(np.nanmean(prefix_aucs))
    assert told["depth_correlation"] == pytest.approx(np.corrcoef(np.array(prefixes).T)[0, 1])
    assert told["brier"] == pytest.approx(squares / num)


def test_forks_take_part_where_trees_have_one_main_trace() -> None:
    trees = [made(seed, num_mains=1, fork_prob=1.0) for seed in range(20)]
    values = [tree.log_mean_reward for tree in trees]
    told = dev_metrics(trees, values, make_objective("flow", {"deviance": "gamma"}), REWARDS, ks=(2, 16))
    assert told["num_bon@2"] == sum(len(tree.trace_node) >= 2 for tree in trees) > 0
    assert told["bon_accuracy"] == told["bon@2"] == pytest.approx(told["oracle@2"])
    assert told["num_bon@16"] == 0
    assert math.isnan(told["bon@16"])


def test_without_trees_everything_is_nan() -> None:
    told = dev_metrics([], [], Half(), REWARDS)
    assert all(math.isnan(value) or name.startswith("num_") for name, value in told.items())


def test_values_of_another_number_are_refused() -> None:
    tree = made(0)
    with pytest.raises(ValueError, match=f"must be one per node, {tree.num_nodes}"):
        dev_metrics([tree], [np.zeros(1)], Half(), REWARDS)
    with pytest.raises(ValueError, match="values are nan"):
        dev_metrics([tree], [np.full(tree.num_nodes, np.nan)], Half(), REWARDS)


def tree_of_traces(
    rng: np.random.Generator, weight: float, num_traces: int = 12
) -> tuple[TrainingTree, NDArray[np.float64]]:
    """One-step traces: right with the log-odds of a verdict plus `weight` times (log-prob - its mean)."""
    found = made(0)
    verdict, log_prob = rng.normal(0, 1, num_traces), rng.normal(-2, 1, num_traces)
    right = rng.random(num_traces) < 1 / (1 + np.exp(-verdict - weight * (log_prob + 2)))
    tree = dataclasses.replace(
        found,
        parent=np.array([-1, *[0] * num_traces], np.int32),
        log_pf_model=np.array([0.0, *log_prob]),
        trace_node=np.arange(1, num_traces + 1, dtype=np.int32),
        trace_is_main=np.ones(num_traces, np.bool_),
        trace_correct=right,
    )
    return tree, np.array([0.0, *verdict])


@pytest.mark.parametrize("weight", [0.0, 0.4, 0.8])
def test_the_weight_of_log_probs_is_the_one_by_which_verdicts_were_made(weight: float) -> None:
    rng = np.random.default_rng(0)
    drawn = [tree_of_traces(rng, weight) for _ in range(400)]
    found = fit_log_prob_weight([tree for tree, _ in drawn], [values for _, values in drawn], Logits(), REWARDS)
    assert found == pytest.approx(weight, abs=0.06)


def test_log_probs_that_mislead_weigh_nothing_and_no_weight_is_above_1() -> None:
    rng = np.random.default_rng(1)
    for weight, bound in ((-1.0, 0.0), (3.0, 1.0)):
        drawn = [tree_of_traces(rng, weight) for _ in range(50)]
        found = fit_log_prob_weight([tree for tree, _ in drawn], [values for _, values in drawn], Logits(), REWARDS)
        assert found == pytest.approx(bound, abs=0.001)


def test_log_probs_are_of_the_whole_trace_and_without_a_pair_weigh_nothing() -> None:
    """In a chain of two steps the first one's log-prob tells, the second one's does not vary."""
    tree, values = tree_of_traces(np.random.default_rng(2), 0.5, num_traces=40)
    num = len(values) - 1
    longer = dataclasses.replace(
        tree,
        parent=np.array([-1, *[0] * num, *range(1, num + 1)], np.int32),
        log_pf_model=np.concatenate([tree.log_pf_model, np.full(num, -0.5)]),
        trace_node=np.arange(num + 1, 2 * num + 1, dtype=np.int32),
    )
    deeper = np.concatenate([np.zeros(num + 1), values[1:]])
    expected = fit_log_prob_weight([tree], [values], Logits(), REWARDS)
    assert 0 < expected < 1
    assert fit_log_prob_weight([longer], [deeper], Logits(), REWARDS) == expected
    alike = dataclasses.replace(tree, trace_correct=np.zeros(num, np.bool_))
    assert fit_log_prob_weight([alike], [values], Logits(), REWARDS) == 0
    assert fit_log_prob_weight([], [], Logits(), REWARDS) == 0
