"""Which of a fit's heads is kept."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from fakes.sdf_trees import lines, sdf_tree

from arts_lite.train import head_fit
from arts_lite.train.dataset import DataConfig, dataset_of
from arts_lite.train.head_fit import FitConfig, fit_head
from arts_lite.train.objectives import make_objective


def test_of_equally_good_heads_the_last_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    trees = [sdf_tree(Random(seed), question=str(seed), policy=lines()) for seed in range(12)]
    data = dataset_of(trees, DataConfig(0.3))
    states = [
        np.random.default_rng(number).normal(size=(tree.num_nodes, 8)).astype(np.float32)
        for number, tree in enumerate((*data.train, *data.dev))
    ]
    kept = []
    for found in ({"bon_accuracy": 0.75}, {}):  # without a number the last one stands
        monkeypatch.setattr(head_fit, "measure", lambda *_, told=found: dict(told))
        num = len(data.train)
        config = FitConfig(epochs=6, evals=3)
        kept.append(fit_head(data, states[:num], states[num:], make_objective("flow"), config).head)
    np.testing.assert_array_equal(kept[0].weight, kept[1].weight)
