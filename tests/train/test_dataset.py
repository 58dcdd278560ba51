"""Data sets of trees: what is taken, what is left out, and how it is told."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable
from pathlib import Path
from random import Random

import pytest
from fakes.sdf_trees import sdf_tree, trace

from arts_lite.errors import TraceFormatError, TrainingError
from arts_lite.experiments.folder import DatasetError
from arts_lite.tasks import Rewards
from arts_lite.train.dataset import DataConfig, dataset_of, is_held_out, read_dataset
from arts_lite.train.trees import ContextLimit
from arts_lite.tree import Origin, TraceEnd, Tree, TreeWriter, tree_of

REWARDS = {"correct": 10.0, "wrong": 0.1}


def trees_of(num: int, **settings: object) -> list[Tree]:
    rng = Random(0)
    return [sdf_tree(rng, question=f"{number} + 1", **settings) for number in range(num)]  # type: ignore[arg-type]


def write(path: Path, trees: Iterable[Tree]) -> Path:
    with TreeWriter(path) as writer:
        for tree in trees:
            writer.write(tree)
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_trees_are_read_from_files_and_folders(tmp_path: Path, suffix: str) -> None:
    trees = trees_of(30)
    write(tmp_path / f"trees-1{suffix}", trees[:10])
    write(tmp_path / f"trees-2{suffix}", trees[10:20])
    other = write(tmp_path / f"other{suffix}", trees[20:])
    data = read_dataset([tmp_path, other], DataConfig(dev_share=0.2))
    assert len(data.train) + len(data.dev) == 30
    assert data.dev
    assert data.rewards == Rewards()
    assert not data.left_out
    leaves = sum(int(tree.num_leaves[0]) for tree in data.train)
    correct = sum(int(tree.num_correct[0]) for tree in data.train)
    assert data.share_correct == correct / leaves
    assert data.summary().startswith(f"{len(data.train)} trees to learn from ({leaves} leaves, ")
    assert "left out" not in data.summary()
    json.dumps(data.to_dict())


def test_no_problem_is_in_both_splits_and_its_split_does_not_depend_on_the_others() -> None:
    trees = trees_of(60)
    again = trees_of(60, num_mains=2)
    data = dataset_of(trees + again, DataConfig(dev_share=0.3))
    train, dev = ({tree.key for tree in part} for part in (data.train, data.dev))
    assert not train & dev
    assert len(train | dev) == 60
    assert len(data.train) + len(data.dev) == 120
    assert 8 <= len(dev) <= 28
    alone = dataset_of(trees[:20], DataConfig(dev_share=0.3))
    assert {tree.key for tree in alone.dev} <= dev
    assert all(is_held_out(key, 0.3) for key in dev)
    assert not any(is_held_out(key, 0.0) for key in dev)


def test_fewer_trees_are_a_subset_of_more_and_leave_the_dev_split_alone() -> None:
    trees = trees_of(40)
    taken = [dataset_of(trees[::order], DataConfig(max_train_trees=num)) for num, order in ((5, 1), (12, -1))]
    few, more = ([tree.key for tree in data.train] for data in taken)
    assert len(few) == 5
    assert few == more[:5]
    assert [tree.key for tree in taken[0].dev] == [tree.key for tree in taken[1].dev]
    assert taken[0].left_out["unneeded"] == 40 - 5 - len(taken[0].dev)
    assert "training trees beyond the number asked for" in taken[0].summary()


def test_a_last_line_that_was_cut_off_is_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "trees.jsonl", trees_of(5))
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    data = read_dataset([path], DataConfig(dev_share=0))
    assert len(data.train) == 4
    assert data.left_out == {"torn": 1}
    assert "left out: 1 incomplete last lines of files" in data.summary()


def test_a_damaged_line_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = write(tmp_path / "trees.jsonl", trees_of(3))
    lines = path.read_text().splitlines()
    lines[1] = lines[1][:-50]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(TraceFormatError, match="line 2"):
        read_dataset([path])


@pytest.mark.parametrize("reward", ["NaN", "Infinity", '"10"'])
def test_a_reward_that_is_no_number_is_an_error_that_names_it(tmp_path: Path, reward: str) -> None:
    path = write(tmp_path / "trees.jsonl", trees_of(2))
    path.write_text(path.read_text().replace('"reward": 0.1', f'"reward": {reward}'))
    with pytest.raises(TraceFormatError, match=r"line 1: traces\[\d+\].reward is .* must be a finite number or null"):
        read_dataset([path])


def test_a_folder_without_trees_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds no tree file"):
        read_dataset([tmp_path])


def with_ends(tree: Tree, *ends: TraceEnd) -> Tree:
    return dataclasses.replace(tree, ends=(*ends, *tree.ends[len(ends) :]))


def test_traces_and_trees_that_cannot_be_learnt_are_counted() -> None:
    nan = TraceEnd(correct=True, reward=math.nan)
    empty = tree_of([], Origin("none", rewards=REWARDS))
    stepless = tree_of([trace((), end=TraceEnd(correct=False, reward=0.1))], Origin("stepless", rewards=REWARDS))
    cut = tree_of([trace(("a",), end=TraceEnd("cut"))], Origin("cut", rewards=REWARDS))
    broken = with_ends(trees_of(1)[0], TraceEnd("pruned"), nan)
    data = dataset_of([empty, stepless, cut, broken, *trees_of(9)[1:]], DataConfig(dev_share=0))
    assert data.left_out == {"empty": 3, "unfinished": 2, "bad_reward": 1}
    told = data.summary()
    for words in (
        "9 trees to learn from",
        "2 unfinished traces",
        "1 traces whose reward is not finite and > 0",
        "3 trees without a usable trace",
    ):
        assert words in told


def test_trees_without_a_correct_leaf_are_learnt_from_and_told() -> None:
    wrong = trees_of(3, is_correct=lambda _question, _steps: False)
    data = dataset_of(wrong, DataConfig(dev_share=0))
    assert len(data.train) == 3
    assert data.share_correct == 0
    assert "3 trees without a correct leaf, 0 with both kinds" in data.summary()


def test_trees_of_one_kind_of_leaf_can_be_left_out_of_the_training_split() -> None:
    trees = [*trees_of(20), *trees_of(40, is_correct=lambda _question, _steps: False)[20:]]
    plain, mixed = (dataset_of(trees, DataConfig(dev_share=0.3, only_mixed=flag)) for flag in (False, True))
    assert all(tree.is_mixed for tree in mixed.train)
    assert mixed.left_out["unmixed"] == len(plain.train) - len(mixed.train) > 0
    assert [tree.key for tree in mixed.dev] == [tree.key for tree in plain.dev]


def test_traces_beyond_the_context_are_counted() -> None:
    trees = trees_of(10)
    limit = ContextLimit(12, lambda _question: 5, lambda _step, _delimiters: 3)
    data = dataset_of(trees, DataConfig(dev_share=0), limit=limit)
    assert max(int(tree.depth.max()) for tree in data.train) == 2
    assert data.left_out["too_long"] == sum(int((tree.depth[tree.trace_node] > 2).sum()) for tree in trees) > 0
    with pytest.raises(TrainingError, match=r"no tree to learn from .* traces longer than the verifier's context"):
        dataset_of(trees, limit=ContextLimit(4, lambda _question: 5, lambda _step, _delimiters: 3))


def test_nothing_to_learn_from_is_an_error_that_says_why() -> None:
    with pytest.raises(TrainingError, match=r"no tree to learn from \(no tree at all, 0 held out\); make more"):
        dataset_of([])
    with pytest.raises(TrainingError, match="traces without verdict or reward, 2 trees without a usable trace"):
        dataset_of(trees_of(2, rewards=None))


def test_trees_of_different_rewards_are_refused_unless_the_rewards_are_named() -> None:
    trees = [*trees_of(3), *trees_of(3, rewards=Rewards(1.0, 0.01))]
    with pytest.raises(TrainingError, match=r"the tree of .* was graded with .*train on trees of one kind"):
        dataset_of(trees)
    data = dataset_of(trees, DataConfig(rewards=Rewards(5.0, 0.5), dev_share=0))
    assert data.rewards == Rewards(5.0, 0.5)
    assert len(data.train) == 6


def test_rewards_that_cannot_be_learnt_are_refused() -> None:
    tree = trees_of(1)[0]
    cases = [(None, "does not say what a correct answer is worth"), ({"correct": 0.1, "wrong": 1.0}, "must exceed")]
    for rewards, told in cases:
        bad = dataclasses.replace(tree, origin=dataclasses.replace(tree.origin, rewards=rewards))
        with pytest.raises(TrainingError, match=told):
            dataset_of([bad])


@pytest.mark.parametrize(
    ("options", "told"), [({"dev_share": 1.0}, "dev_share is 1.0"), ({"max_train_trees": 0}, "max_train_trees is 0")]
)
def test_bad_settings_are_named(options: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        DataConfig(**options)  # type: ignore[arg-type]
