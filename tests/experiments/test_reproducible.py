"""A reproducible run on a real engine: the same trees to the last bit, however often it was killed."""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Iterable
from pathlib import Path

import pytest
from experiments.killed_sdf import NUM_PROBLEMS, model_run
from experiments.killing import killed_at_random
from fakes.engine import FakeEngine
from fakes.models import rambling
from fakes.proposer import FakeProposer

from arts_lite.experiments import SdfConfig, SdfRun
from arts_lite.experiments.folder import DatasetError, read_folder
from arts_lite.tasks import Problem, make_task
from arts_lite.tree import tree_to_json


def grow(folder: Path, model: Path, numbers: Iterable[int] = range(NUM_PROBLEMS), **options: object) -> Path:
    with model_run(folder, model, numbers, **options) as run, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a torn last line is told
        for progress in run.run():
            assert not progress.num_failed
    return folder


def trees(folder: Path) -> dict[str, str]:
    """Each problem's tree as text: token ids, and log-probs with all their digits."""
    found: dict[str, str] = {}
    for tree in read_folder(folder):
        name = str((tree.origin.problem or {})["id"])
        assert name not in found
        found[name] = json.dumps(tree_to_json(tree), sort_keys=True)
    return found


@pytest.fixture(scope="module")
def whole(tiny_model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The trees of a run that nothing disturbed."""
    found = trees(grow(tmp_path_factory.mktemp("reproducible") / "whole", tiny_model_path))
    assert len(found) == NUM_PROBLEMS
    return found


def test_killed_at_random_and_resumed_it_holds_the_same_trees(
    tiny_model_path: Path, tmp_path: Path, whole: dict[str, str]
) -> None:
    for folder in killed_at_random(tmp_path, 12, 0.4, str(tiny_model_path)):
        assert trees(grow(folder, tiny_model_path)) == whole


def test_another_order_of_the_problems_makes_the_same_trees(
    tiny_model_path: Path, tmp_path: Path, whole: dict[str, str]
) -> None:
    numbers = random.Random(1).sample(range(NUM_PROBLEMS), NUM_PROBLEMS)
    assert trees(grow(tmp_path, tiny_model_path, numbers)) == whole


def test_shards_make_the_same_trees(tiny_model_path: Path, tmp_path: Path, whole: dict[str, str]) -> None:
    for shard in ((2, 2), (1, 2)):
        grow(tmp_path, tiny_model_path, shard=shard)
    assert trees(tmp_path) == whole


@pytest.mark.parametrize("change", [{}, {"reproducible": True, "threads": 7}])
def test_other_conditions_are_not_mixed_in(tmp_path: Path, change: dict[str, object]) -> None:
    """Other threads, or none of this: the trees would not be those of one undisturbed run."""
    for conditions in ({"reproducible": True, "threads": 1}, change):
        proposer = FakeProposer(FakeEngine(rambling(), is_reproducible=bool(conditions)))
        proposer.engine.conditions = dict(conditions)
        run = SdfRun(proposer, make_task("jsonl"), [Problem("p", "q?", "1")], tmp_path, SdfConfig(num_traces=2))
        if conditions is not change:
            list(run.run())
    with pytest.raises(DatasetError, match=r"engine\.(reproducible|threads) is .* there and .* here"):
        list(run.run())
