"""Names and options of objectives, and what their values mean."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from fakes.sdf_trees import REWARDS, sdf_tree, sdf_trees

from arts_lite.tasks import Rewards
from arts_lite.train.batches import TreeBatch
from arts_lite.train.dataset import TreeDataset
from arts_lite.train.objectives import OBJECTIVES, Link, make_objective
from arts_lite.train.trees import training_tree


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("flows", {}, "objective is 'flows', but must be one of flow, "),
        ("flow", {"lambda": 1}, "flow has no option lambda; it has estimator, "),
        ("flow", {"estimator": "mean"}, "estimator is 'mean', but must be one of expected, sum"),
        ("flow", {"deviance": "mse"}, "deviance is 'mse'"),
        ("flow", {"mc_share": 1.5}, r"mc_share is 1.5, but must be in \[0, 1\]"),
        ("flow", {"mc_share": math.nan}, "mc_share is nan"),
        ("flow", {"leaf_weight": -1.0}, "leaf_weight is -1.0, but must be finite and >= 0"),
        ("flow", {"sibling_weight": math.inf}, "sibling_weight is inf"),
        ("flow", {"ranking_weight": -1.0}, "ranking_weight is -1.0"),
        ("flow", {"leaf_power": "1"}, "leaf_power is '1'"),
        ("flow", {"estimator": "sum"}, "deviance is 'bce' with estimator 'sum'.*take estimator 'expected'"),
        ("flow", {"target": "both"}, "target is 'both' with deviance 'bce'.*take target 'stop-gradient'"),
        ("flow", {"target": "hard"}, "target is 'hard'"),
        ("subtb", {"decay": 0.0}, "decay is 0.0, but must be finite and > 0"),
        ("detailed-balance", {"leaf_weight": None}, "leaf_weight is None"),
        ("prm", {"labels": "firm"}, "labels is 'firm', but must be one of soft, hard"),
        ("orm", {"leaf_power": 2}, "leaf_power is 2"),
    ],
)
def test_bad_options_are_named(name: str, options: Mapping[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make_objective(name, options)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_survives_json(name: str) -> None:
    objective = make_objective(name)
    assert make_objective(**json.loads(json.dumps(objective.to_dict()))) == objective


@pytest.mark.parametrize(
    ("name", "options", "link"),
    [
        ("flow", {"deviance": "gamma"}, Link.LOG_FLOW),
        ("flow", {"deviance": "bce"}, Link.LOGIT),
        ("subtb", {}, Link.LOG_FLOW),
        ("orm", {}, Link.LOGIT),
        ("rm", {}, Link.SCORE),
    ],
)
def test_values_become_flows_and_probabilities(name: str, options: Mapping[str, Any], link: Link) -> None:
    objective = make_objective(name, options)
    assert objective.link is link
    values = np.linspace(-2, 2, 9)
    flow, prob = objective.log_flow(values, REWARDS), objective.prob_correct(values, REWARDS)
    if link is Link.SCORE:
        assert np.array_equal(flow, values)
    else:
        assert np.exp(flow) == pytest.approx(0.1 + 9.9 * prob)
    assert np.all(np.diff(flow) > 0)
    assert np.all(np.diff(prob) > 0)
    ends = objective.prob_correct(np.array([-1e4, 1e4]), REWARDS)
    assert ends.tolist() == [0, 1]
    assert np.isfinite(objective.log_flow(np.array([-1e4, 1e4]), REWARDS)).all()


@pytest.mark.parametrize(
    "options", [{"deviance": "gamma"}, {"deviance": "bce"}, {"estimator": "sum", "deviance": "gamma"}], ids=str
)
def test_the_head_begins_at_what_all_nodes_have_together(options: Mapping[str, Any]) -> None:
    trees = tuple(training_tree(tree, range(tree.num_traces)) for tree in sdf_trees(9, num_trees=6))
    data = TreeDataset(trees, (), REWARDS)
    objective = make_objective("flow", options)
    flow = math.exp(float(objective.log_flow(np.array(objective.initial_bias(data)), REWARDS)))
    expected = 0.1 + 9.9 * data.share_correct
    if "estimator" in options:
        expected *= np.concatenate([tree.num_leaves for tree in trees]).mean()
    assert flow == pytest.approx(expected)


def test_a_head_begins_at_finite_values_where_no_leaf_is_correct() -> None:
    tree = sdf_tree(Random(0), is_correct=lambda _question, _steps: False)
    data = TreeDataset((training_tree(tree, range(tree.num_traces)),), (), REWARDS)
    assert make_objective("orm").initial_bias(data) == pytest.approx(math.log(0.001 / 0.999))
    assert make_objective("flow", {"deviance": "gamma"}).initial_bias(data) == pytest.approx(math.log(0.1))
    assert make_objective("rm").initial_bias(data) == 0


def test_other_rewards_change_the_flows_that_are_learnt() -> None:
    tree = sdf_tree(Random(1), rewards=Rewards(4.0, 0.5))
    made = training_tree(tree, range(tree.num_traces))
    batch = TreeBatch.of([made], Rewards(4.0, 0.5), dtype=torch.float64)
    objective = make_objective("flow", {"deviance": "gamma", "mc_share": 1.0})
    assert float(objective.loss(batch.log_mean_reward, batch)[0]) == pytest.approx(0, abs=1e-12)
