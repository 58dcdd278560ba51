"""Data sets of trees for a verifier: what is read, what is left out and why, and the split by problem."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from arts_lite.errors import TrainingError
from arts_lite.experiments.folder import read_folder
from arts_lite.tasks import Rewards
from arts_lite.train.trees import ContextLimit, TrainingTree, training_tree, usable_traces
from arts_lite.tree import Tree

_REASONS = {
    "unfinished": "unfinished traces",
    "ungraded": "traces without verdict or reward",
    "bad_reward": "traces whose reward is not finite and > 0",
    "too_long": "traces longer than the verifier's context",
    "torn": "incomplete last lines of files",
    "empty": "trees without a usable trace",
    "unmixed": "trees whose leaves are all right or all wrong",
    "unneeded": "training trees beyond the number asked for",
}
"""Why something is left out, in the words of the summary."""


@dataclass(frozen=True, slots=True)
class DataConfig:
    """What to make of tree files.

    Attributes:
        dev_share: of the problems that are held out, in [0, 1).
        max_train_trees: None: all. A smaller number takes a subset of the trees that a larger one takes.
        only_mixed: leave out trees whose leaves are all correct or all wrong (the training split only).
        rewards: of the leaves; None: the files' own.

    Raises:
        ValueError: a value is outside its range.
    """

    dev_share: float = 0.1
    max_train_trees: int | None = None
    only_mixed: bool = False
    rewards: Rewards | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.dev_share < 1:
            raise ValueError(f"dev_share is {self.dev_share}, but must be in [0, 1): some problems must be learnt from")
        if self.max_train_trees is not None and self.max_train_trees < 1:
            raise ValueError(f"max_train_trees is {self.max_train_trees}, but must be >= 1, or None for all trees")

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for a run's configuration."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, eq=False)
class TreeDataset:
    """Trees to learn from and to be measured on; no problem is in both.

    Attributes:
        train, dev: in an order that is a function of their problems alone.
        rewards: of a correct and a wrong leaf.
        left_out: how many things were left out, by reason; see `summary`.
    """

    train: tuple[TrainingTree, ...]
    dev: tuple[TrainingTree, ...]
    rewards: Rewards
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def share_correct(self) -> float:
        """Of the training leaves."""
        return sum(int(tree.num_correct[0]) for tree in self.train) / sum(
            int(tree.num_leaves[0]) for tree in self.train
        )

    @property
    def leaves_per_node(self) -> float:
        """Mean number of leaves at or below a training node."""
        return sum(int(tree.num_leaves.sum()) for tree in self.train) / sum(tree.num_nodes for tree in self.train)

    def summary(self) -> str:
        """Tell in one line what was taken and what was left out."""
        solved = sum(bool(tree.num_correct[0]) for tree in self.train)
        mixed = sum(tree.is_mixed for tree in self.train)
        leaves = sum(int(tree.num_leaves[0]) for tree in self.train)
        text = (
            f"{len(self.train):,} trees to learn from ({leaves:,} leaves, {self.share_correct:.1%} correct; "
            f"{len(self.train) - solved:,} trees without a correct leaf, {mixed:,} with both kinds), "
            f"{len(self.dev):,} held out"
        )
        told = _told(self.left_out)
        return f"{text}; left out: {told}" if told else text

    def digest(self) -> str:
        """Name the trees to learn from and their order: other texts, draws or verdicts give another name."""
        told = blake2b(digest_size=16)
        for tree in self.train:
            told.update("\0".join((tree.key, *tree.texts)).encode("utf-8", "replace"))
            for array in (tree.parent, tree.draws, tree.num_ended, tree.ended_correct):
                told.update(array.tobytes())
        return told.hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Counts, for a run's log and a verifier's file."""
        return {
            "num_train": len(self.train),
            "num_dev": len(self.dev),
            "share_correct": self.share_correct,
            "rewards": self.rewards.to_dict(),
            "left_out": dict(self.left_out),
        }


def read_dataset(
    paths: Sequence[str | os.PathLike[str]],
    config: DataConfig | None = None,
    *,
    limit: ContextLimit | None = None,
    keeps_sources: bool = False,
) -> TreeDataset:
    """Read tree files and folders of them.

    Args:
        limit: what the verifier can read; traces beyond it are left out.
        keeps_sources: fill in `TrainingTree.source`.

    Raises:
        DatasetError: a path holds no tree file.
        TraceFormatError: a file is damaged (a last line that was cut off is counted instead).
        TrainingError: nothing is left to learn from, or trees were graded with different rewards.
    """
    left_out: Counter[str] = Counter()
    return dataset_of(_trees(paths, left_out), config, limit=limit, left_out=left_out, keeps_sources=keeps_sources)


def dataset_of(
    trees: Iterable[Tree],
    config: DataConfig | None = None,
    *,
    limit: ContextLimit | None = None,
    left_out: Counter[str] | None = None,
    keeps_sources: bool = False,
) -> TreeDataset:
    """Make a data set of trees; `left_out` takes the counts. Raises TrainingError, see `read_dataset`."""
    config = config or DataConfig()
    left_out = Counter() if left_out is None else left_out
    rewards = config.rewards
    train: list[TrainingTree] = []
    dev: list[TrainingTree] = []
    for tree in trees:
        traces, reasons = usable_traces(tree, limit, needs_reward=config.rewards is None)
        left_out.update(reasons)
        if not traces or not any(tree.trace_node[traces]):
            left_out["empty"] += 1
            continue
        if config.rewards is None:
            rewards = _same_rewards(tree, rewards)
        made = training_tree(tree, traces, config.rewards)
        if keeps_sources:
            made = dataclasses.replace(made, source=tree)
        if is_held_out(made.key, config.dev_share):
            dev.append(made)
        elif config.only_mixed and not made.is_mixed:
            left_out["unmixed"] += 1
        else:
            train.append(made)
    train.sort(key=_place)
    dev.sort(key=_place)
    if config.max_train_trees is not None:
        left_out["unneeded"] += max(0, len(train) - config.max_train_trees)
        train = train[: config.max_train_trees]
    if not train or rewards is None:
        raise TrainingError(
            f"there is no tree to learn from ({_told(left_out) or 'no tree at all'}, {len(dev):,} held out); make more "
            "with arts-lite sdf, or loosen what is left out"
        )
    return TreeDataset(tuple(train), tuple(dev), rewards, +left_out)


def is_held_out(key: str, dev_share: float) -> bool:
    """Whether a problem belongs to the dev split: a function of its key alone."""
    return _level("held out", key) < dev_share


def _place(tree: TrainingTree) -> tuple[float, str]:
    """Sort problems at random, but always alike."""
    return _level("order", tree.key), tree.key


def _level(purpose: str, key: str) -> float:
    """Draw a number in [0, 1) for a problem."""
    return (
        int.from_bytes(blake2b(f"verifier {purpose} {key}".encode("utf-8", "replace"), digest_size=8).digest(), "big")
        / 2**64
    )


def _trees(paths: Sequence[str | os.PathLike[str]], left_out: Counter[str]) -> Iterator[Tree]:
    for path in paths:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            trees = list(read_folder(Path(path)))
        for one in caught:
            if "incomplete" in str(one.message):
                left_out["torn"] += 1
            else:
                warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
        yield from trees


def _same_rewards(tree: Tree, before: Rewards | None) -> Rewards:
    problem = f"the tree of {_problem_text(tree)}"
    if tree.origin.rewards is None:
        raise TrainingError(f"{problem} has rewards, but does not say what a correct answer is worth; name the rewards")
    try:
        rewards = Rewards(**tree.origin.rewards)
    except (ValueError, TypeError) as error:
        raise TrainingError(f"{problem} was graded with rewards that cannot be learnt: {error}") from error
    if before is not None and rewards != before:
        raise TrainingError(
            f"{problem} was graded with {rewards.to_dict()}, others with {before.to_dict()}; train on trees of one "
            "kind, or name the rewards"
        )
    return rewards


def _problem_text(tree: Tree) -> str:
    """Show a tree's problem in a message."""
    text = tree.origin.question
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _told(left_out: Counter[str]) -> str:
    return ", ".join(f"{left_out[reason]:,} {words}" for reason, words in _REASONS.items() if left_out[reason])
