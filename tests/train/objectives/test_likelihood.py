"""What is foreseen of each step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fakes.sdf_trees import REWARDS, sdf_trees

from arts_lite.train.batches import TreeBatch
from arts_lite.train.objectives import likelihood_loss
from arts_lite.train.trees import training_tree


def batch() -> tuple[TreeBatch, list[float]]:
    """A batch, and the log-probs of its steps, roots left out."""
    trees = [training_tree(tree, range(tree.num_traces)) for tree in sdf_trees(1, num_trees=3)]
    steps = [float(one) for tree in trees for one in tree.log_pf_model[1:]]
    return TreeBatch.of(trees, REWARDS, dtype=torch.float64), steps


def test_the_loss_is_the_mean_over_all_steps() -> None:
    made, steps = batch()
    predicted = torch.from_numpy(np.random.default_rng(0).uniform(-6, 0, made.num_nodes))
    gaps = [abs(float(one) - step) for one, step in zip(predicted[~made.is_root], steps, strict=True)]
    assert max(gaps) > 1 > min(gaps)  # both branches of Huber's loss
    expected = np.mean([gap**2 / 2 if gap <= 1 else gap - 0.5 for gap in gaps])
    assert float(likelihood_loss(predicted, made)) == pytest.approx(expected)


def test_what_is_foreseen_rightly_costs_nothing_and_roots_do_not_count() -> None:
    made, _ = batch()
    assert float(likelihood_loss(torch.where(made.is_root, -7.0, made.step_log_pf), made)) == 0


def test_slips_beyond_ten_nats_are_alike() -> None:
    made, _ = batch()
    made.step_log_pf[~made.is_root] = -500.0
    predicted = torch.full((made.num_nodes,), -10.0, dtype=torch.float64)
    assert float(likelihood_loss(predicted, made)) == 0
