"""Every objective equals its slow twin; the rest is about numbers at the edges."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from fakes.sdf_trees import REWARDS, rambling, sdf_tree, sdf_trees
from slow_objectives import SlowTree, slow_loss
from torch import Tensor

from arts_lite.errors import TrainingError
from arts_lite.train.batches import TreeBatch
from arts_lite.train.objectives import OBJECTIVES, make_objective
from arts_lite.train.trees import training_tree
from arts_lite.tree import Tree

F64 = torch.float64


def batch_of(trees: list[Tree], dtype: torch.dtype = F64) -> TreeBatch:
    return TreeBatch.of([training_tree(tree, range(tree.num_traces)) for tree in trees], REWARDS, dtype=dtype)


def random_values(batch: TreeBatch, seed: int = 0) -> Tensor:
    """Within the range of log-flows."""
    return torch.from_numpy(np.random.default_rng(seed).uniform(-2.5, 2.5, batch.num_nodes))


def by_state(trees: list[Tree], values: Tensor) -> list[dict[tuple[str, ...], float]]:
    found, offset = [], 0
    for tree in trees:
        made = training_tree(tree, range(tree.num_traces))
        states = [tuple(made.texts[one] for one in made.path(node)[1:]) for node in range(made.num_nodes)]
        found.append({state: float(values[offset + node]) for node, state in enumerate(states)})
        offset += made.num_nodes
    return found


def grid(**choices: tuple[Any, ...]) -> list[dict[str, Any]]:
    return [dict(zip(choices, chosen, strict=True)) for chosen in product(*choices.values())]


FLOW = [
    *grid(deviance=("squared-log", "gamma", "poisson"), estimator=("sum", "expected"), mc_share=(0.0, 0.3, 1.0)),
    *grid(deviance=("bce",), mc_share=(0.0, 0.3, 1.0), leaf_weight=(None, 2.0), per_problem=(True, False)),
    *grid(sibling_weight=(0.7,), leaf_power=(0.0, 0.5), root=(True, False), deviance=("bce", "gamma")),
    *grid(ranking_weight=(0.7,), leaf_power=(0.0, 0.5), per_problem=(True, False), deviance=("bce", "squared-log")),
]
CASES = [
    *(("flow", options) for options in FLOW),
    *(
        ("detailed-balance", one)
        for one in grid(estimator=("sum", "expected"), root=(True, False), per_problem=(True, False))
    ),
    *(("subtb", one) for one in grid(decay=(0.5, 1.0, 1.5), estimator=("sum", "expected"), root=(True, False))),
    *(("subtb", one) for one in grid(leaf_weight=(0.0, 2.0), per_problem=(True, False))),
    *(
        ("prm", one)
        for one in grid(labels=("soft", "hard"), leaf_weight=(None, 2.0), leaf_power=(0.0, 1.0), root=(True, False))
    ),
    *((name, one) for name in ("orm", "rm") for one in grid(leaf_power=(0.0, 1.0), per_problem=(True, False))),
]


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_a_loss_equals_the_one_computed_trace_by_trace(name: str, options: Mapping[str, Any]) -> None:
    objective = make_objective(name, options)
    for seed in range(4):
        trees = sdf_trees(seed, num_trees=1 + seed % 3)
        batch = batch_of(trees)
        values = random_values(batch, seed)
        targets = values if objective.needs_average else None
        loss, parts = objective.loss(values, batch, targets)
        slow = slow_loss(
            name, [SlowTree(tree) for tree in trees], by_state(trees, values), objective.to_dict()["options"]
        )
        assert float(loss) == pytest.approx(slow, rel=1e-10, abs=1e-12)
        assert sum(float(part) for part in parts.values()) == pytest.approx(slow, rel=1e-10, abs=1e-12)


DIFFERENTIABLE = [
    *(
        ("flow", {"target": "both", "sibling_weight": 0.5, "ranking_weight": 0.5, **one})
        for one in grid(
            deviance=("squared-log", "gamma", "poisson"), estimator=("sum", "expected"), mc_share=(0.0, 0.5)
        )
    ),
    ("flow", {"deviance": "bce", "mc_share": 1.0, "sibling_weight": 0.5, "ranking_weight": 0.5}),
    *((name, one) for name in ("detailed-balance", "subtb") for one in grid(estimator=("sum", "expected"))),
    ("prm", {"labels": "soft"}),
    ("prm", {"labels": "hard"}),
    ("orm", {}),
    ("rm", {}),
]


@pytest.mark.parametrize(("name", "options"), DIFFERENTIABLE, ids=str)
def test_gradients_are_those_of_the_loss(name: str, options: Mapping[str, Any]) -> None:
    batch = batch_of(sdf_trees(3))
    objective = make_objective(name, options)
    values = random_values(batch).requires_grad_()
    assert torch.autograd.gradcheck(lambda one: objective.loss(one, batch)[0], (values,), atol=1e-6)


TARGETED = [
    *(("flow", one) for one in grid(deviance=("squared-log", "gamma", "poisson", "bce"))),
    ("detailed-balance", {}),
    ("subtb", {}),
]


@pytest.mark.parametrize(("name", "options"), TARGETED, ids=str)
def test_a_stopped_gradient_is_that_of_fixed_targets(name: str, options: Mapping[str, Any]) -> None:
    batch = batch_of(sdf_trees(4))
    values = random_values(batch).requires_grad_()
    stopped = make_objective(name, {**options, "target": "stop-gradient"})
    averaged = make_objective(name, {**options, "target": "ema"})
    fixed = values.detach().clone()
    assert torch.autograd.gradcheck(lambda one: averaged.loss(one, batch, fixed)[0], (values,), atol=1e-6)
    gradients = [
        torch.autograd.grad(objective.loss(values, batch, targets)[0], values)[0]
        for objective, targets in ((stopped, None), (averaged, fixed))
    ]
    assert torch.equal(*gradients)


@pytest.mark.parametrize(("name", "options"), TARGETED, ids=str)
def test_averaged_values_make_the_targets(name: str, options: Mapping[str, Any]) -> None:
    batch = batch_of(sdf_trees(4))
    objective = make_objective(name, {**options, "target": "ema"})
    values, averaged = random_values(batch), random_values(batch, 1)
    losses = {float(objective.loss(values, batch, targets)[0]) for targets in (values, averaged)}
    assert len(losses) == 2


WEIGHTS = grid(leaf_weight=(None, 1.0, 0.3), leaf_power=(0.0, 1.0), per_problem=(True, False))


@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, F64], ids=str)
def test_flow_with_monte_carlo_targets_and_cross_entropy_is_the_soft_prm(
    weights: Mapping[str, Any], dtype: torch.dtype
) -> None:
    """What is left between them: bootstrapping (mc_share), rankings, weights of nodes and leaves."""
    flow = make_objective("flow", {"estimator": "expected", "mc_share": 1.0, "deviance": "bce", **weights})
    prm = make_objective("prm", {"labels": "soft", **weights})
    batch = batch_of(sdf_trees(5), dtype)
    values = random_values(batch).to(dtype).requires_grad_()
    losses = [objective.loss(values, batch)[0] for objective in (flow, prm)]
    gradients = [torch.autograd.grad(loss, values)[0] for loss in losses]
    assert torch.equal(*losses)
    assert torch.equal(*gradients)
    assert float(gradients[0].abs().sum()) > 0
    assert np.array_equal(flow.prob_correct(values.detach(), REWARDS), prm.prob_correct(values.detach(), REWARDS))


@pytest.mark.parametrize("difference", [{"mc_share": 0.5}, {"sibling_weight": 0.1}, {"ranking_weight": 0.1}], ids=str)
def test_bootstrapping_and_rankings_are_what_the_soft_prm_lacks(difference: Mapping[str, Any]) -> None:
    flow = make_objective("flow", {"mc_share": 1.0, "leaf_weight": None, **difference})
    batch = batch_of(sdf_trees(5))
    values = random_values(batch)
    assert float(flow.loss(values, batch)[0]) != pytest.approx(float(make_objective("prm").loss(values, batch)[0]))


def test_ranking_leaves_adds_what_the_reward_model_learns() -> None:
    batch = batch_of(sdf_trees(5))
    values = random_values(batch)
    plain, ranked = (make_objective("flow", {"ranking_weight": weight}).loss(values, batch)[0] for weight in (0.0, 3.0))
    pairs = make_objective("rm").loss(values, batch)[0]
    assert float(pairs) > 0
    assert float(ranked - plain) == pytest.approx(3.0 * float(pairs))


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("size", [0.0, 30.0, 1e4])
def test_values_of_any_size_give_finite_losses_and_gradients(name: str, size: float) -> None:
    options = [{}] if name != "flow" else [{"deviance": one} for one in ("squared-log", "gamma", "poisson", "bce")]
    batch = batch_of(sdf_trees(6, num_mains=4), torch.float32)
    for one in options:
        values = (size * torch.sign(random_values(batch))).float().requires_grad_()
        loss, _ = make_objective(name, one).loss(values, batch)
        [gradient] = torch.autograd.grad(loss, values)
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()
        assert float(gradient.abs().max()) <= 1e5


@pytest.mark.parametrize("deviance", ["squared-log", "gamma", "poisson"])
def test_a_value_far_outside_the_rewards_is_drawn_back(deviance: str) -> None:
    batch = batch_of(sdf_trees(6))
    for size in (-1e3, 1e3):
        values = torch.full((batch.num_nodes,), size, dtype=F64, requires_grad=True)
        loss, _ = make_objective("flow", {"deviance": deviance, "mc_share": 1.0}).loss(values, batch)
        [gradient] = torch.autograd.grad(loss, values)
        assert bool((torch.sign(gradient) == math.copysign(1, size)).all())


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("is_right", [True, False])
def test_trees_whose_leaves_are_all_alike_give_finite_losses(name: str, is_right: bool) -> None:
    trees = sdf_trees(7, is_correct=lambda _question, _steps: is_right)
    batch = batch_of(trees)
    values = random_values(batch).requires_grad_()
    loss, _ = make_objective(name).loss(values, batch)
    [gradient] = torch.autograd.grad(loss, values)
    assert torch.isfinite(gradient).all()
    assert torch.isfinite(loss)
    assert (float(loss.detach()) == 0) == (name == "rm")


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("root", [True, False])
def test_a_tree_of_one_step_has_a_loss(name: str, root: bool) -> None:
    tree = sdf_tree(Random(0), num_mains=1, policy=rambling(max_steps=1))
    batch = batch_of([tree])
    options = {} if name in ("orm", "rm") else {"root": root}
    values = torch.zeros(2, dtype=F64, requires_grad=True)
    loss, _ = make_objective(name, options).loss(values, batch)
    [gradient] = torch.autograd.grad(loss, values)
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()
    assert bool(gradient[0] != 0) == (root and name not in ("orm", "rm"))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_parts_of_a_batch_add_up(name: str) -> None:
    """Gradients of parts, each with its share of the problems, are the gradient of the whole batch."""
    trees = [sdf_tree(Random(seed), question=str(seed), num_mains=2 + 3 * seed) for seed in range(3)]
    whole = batch_of(trees)
    values = random_values(whole)
    objective = make_objective(name, {"sibling_weight": 0.5, "ranking_weight": 0.5} if name == "flow" else {})
    total, offset = 0.0, 0
    for tree in trees:
        part = batch_of([tree])
        total += float(objective.loss(values[offset : offset + part.num_nodes], part)[0]) / len(trees)
        offset += part.num_nodes
    assert float(objective.loss(values, whole)[0]) == pytest.approx(total, rel=1e-12)


def test_halves_are_computed_with_as_floats() -> None:
    batch = batch_of(sdf_trees(8), torch.float32)
    values = random_values(batch).bfloat16().requires_grad_()
    loss, _ = make_objective("flow").loss(values, batch)
    exact, _ = make_objective("flow").loss(values.detach().float(), batch)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, exact)
    assert torch.autograd.grad(loss, values)[0].dtype == torch.bfloat16


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_refused(bad: float) -> None:
    batch = batch_of(sdf_trees(8))
    values = random_values(batch)
    values[3] = bad
    with pytest.raises(TrainingError, match=rf"value of node 3 is {bad}.*lower the learning rate"):
        make_objective("flow").loss(values, batch)


def test_values_of_another_number_are_refused() -> None:
    batch = batch_of(sdf_trees(8))
    with pytest.raises(ValueError, match=rf"must be one float per node, \[{batch.num_nodes}\]"):
        make_objective("orm").loss(torch.zeros(batch.num_nodes + 1), batch)


def test_averaged_values_come_with_their_target_only() -> None:
    batch = batch_of(sdf_trees(8))
    values = random_values(batch)
    with pytest.raises(ValueError, match="target_values are missing"):
        make_objective("flow", {"target": "ema"}).loss(values, batch)
    for name in OBJECTIVES:
        with pytest.raises(ValueError, match="target_values are given"):
            make_objective(name).loss(values, batch, values)
