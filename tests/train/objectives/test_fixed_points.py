"""What objectives converge to when many noisy trees share few values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from fakes.sdf_trees import REWARDS, sdf_tree
from numpy.typing import NDArray

from arts_lite.train.batches import TreeBatch
from arts_lite.train.objectives import Objective, make_objective
from arts_lite.train.trees import TrainingTree, training_tree

NUM_STEPS, FORK_PROB = 5, 0.5
NUM_UPDATES = 80


def fixed_length(rng: Random, steps: tuple[str, ...]) -> str | None:
    """Traces of NUM_STEPS steps that practically never coincide."""
    return chr(0x4E00 + rng.randrange(20_000)) if len(steps) < NUM_STEPS else None


@cache
def many_trees(num_trees: int, share_correct: float = 0.5, **settings: Any) -> list[TrainingTree]:
    rng = Random(0)
    trees = []
    for number in range(num_trees):
        tree = sdf_tree(
            rng,
            question=str(number),
            policy=fixed_length,
            is_correct=lambda _question, _steps: rng.random() < share_correct,
            **{"num_mains": 1, "fork_prob": FORK_PROB, **settings},
        )
        trees.append(training_tree(tree, range(tree.num_traces)))
    return trees


def fitted(objective: Objective, trees: list[TrainingTree], kinds: list[NDArray[np.int64]]) -> NDArray[np.float64]:
    """Flows that minimise the loss if all nodes of one kind share one value; each update makes the targets anew.

    Each value moves by its own step, which grows while its gradient keeps its sign (Riedmiller and Braun 1993).
    """
    batch = TreeBatch.of(trees, REWARDS, dtype=torch.float64)
    kind = torch.from_numpy(np.concatenate(kinds))
    values = torch.zeros(int(kind.max()) + 1, dtype=torch.float64, requires_grad=True)
    size, before = torch.full_like(values, 0.3, requires_grad=False), torch.zeros_like(values, requires_grad=False)
    for _ in range(NUM_UPDATES):
        [gradient] = torch.autograd.grad(objective.loss(values[kind], batch)[0], values)
        size = torch.where(gradient * before < 0, size / 2, (size * 1.2).clamp_max(0.5))
        values = (values - size * torch.sign(gradient)).detach().requires_grad_()
        before = gradient
    return np.exp(objective.log_flow(values.detach().numpy(), REWARDS))


@pytest.mark.parametrize(
    ("deviance", "flow"), [("squared-log", 1.0), ("gamma", 5.05), ("poisson", 5.05), ("bce", 5.05)]
)
@pytest.mark.parametrize("mc_share", [0.0, 1.0])
def test_squared_log_learns_the_geometric_mean_and_the_others_the_arithmetic_one(
    deviance: str, flow: float, mc_share: float
) -> None:
    """Rewards of 10 and 0.1, half each, on single traces: 1.0 = sqrt(10 x 0.1) against 5.05 = (10 + 0.1) / 2."""
    correct = iter([True, False] * 20)
    rng = Random(0)
    trees = []
    for number in range(40):
        tree = sdf_tree(
            rng,
            question=str(number),
            num_mains=1,
            fork_prob=0,
            policy=lambda _rng, steps: None if steps else "a",
            is_correct=lambda _question, _steps: next(correct),
        )
        trees.append(training_tree(tree, range(1)))
    objective = make_objective("flow", {"deviance": deviance, "mc_share": mc_share, "leaf_weight": 0.0})
    flows = fitted(objective, trees, [np.array([0, 1])] * len(trees))
    assert flows[0] == pytest.approx(flow, rel=1e-2)


@pytest.mark.parametrize("mc_share", [0.0, 1.0])
def test_the_child_sum_learns_value_times_leaves_and_the_mean_the_value(mc_share: float) -> None:
    """E[F(s_t)] = V (1 + q (T - t)) on main traces: one leaf, and one more per fork at s_t or below."""
    trees = many_trees(1000)
    kinds = [np.where(tree.main_draws > 0, tree.depth, 10 + tree.depth).astype(np.int64) for tree in trees]
    options: Mapping[str, Any] = {"deviance": "gamma", "mc_share": mc_share}
    flows = {
        estimator: fitted(make_objective("flow", {"estimator": estimator, **options}), trees, kinds)
        for estimator in ("sum", "expected")
    }
    depths = np.arange(1, NUM_STEPS)
    value = 0.1 + 9.9 * 0.5
    assert flows["sum"][depths] == pytest.approx(value * (1 + FORK_PROB * (NUM_STEPS - depths)), rel=0.1)
    assert flows["expected"][depths] == pytest.approx(np.full(len(depths), value), rel=0.1)
    leaf_steps = 10 + depths[1:]  # forks do not fork: one leaf below, whatever the estimator
    assert flows["sum"][leaf_steps] == pytest.approx(np.full(len(leaf_steps), value), rel=0.1)


def test_bootstrapping_joins_what_is_known_of_one_prefix_in_many_trees() -> None:
    """The value of a prefix learns from leaves that were drawn below it in other trees."""
    trees = many_trees(40, num_mains=1, fork_prob=0.0)
    kinds = [tree.depth.astype(np.int64) for tree in trees]
    flows = fitted(make_objective("flow", {"deviance": "bce"}), trees, kinds)
    share = sum(int(tree.num_correct[0]) for tree in trees) / len(trees)
    assert flows[:NUM_STEPS] == pytest.approx(np.full(NUM_STEPS, 0.1 + 9.9 * share), rel=0.03)


@pytest.mark.parametrize("name", ["detailed-balance", "subtb"])
def test_balanced_edges_learn_the_mean_of_log_rewards(name: str) -> None:
    trees = many_trees(200, share_correct=0.25)
    kinds = [np.where(tree.is_inner, 0, tree.num_correct + 1).astype(np.int64) for tree in trees]
    flows = fitted(make_objective(name, {"target": "stop-gradient"}), trees, kinds)
    assert math.log(flows[0]) == pytest.approx(0.25 * math.log(10) + 0.75 * math.log(0.1), abs=0.3)
    assert flows[1:] == pytest.approx([0.1, 10], rel=0.01)
