"""What a dataset of trees holds."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

import numpy as np

from arts_lite.experiments.folder import read_folder, tree_files
from arts_lite.tree import Tree

__all__ = ["DatasetStats", "dataset_stats", "stats_of", "tree_files"]


@dataclass(frozen=True, slots=True)
class DatasetStats:
    """Counts and means; a share or mean of nothing is nan.

    Attributes:
        num_trees, num_leaves, num_nodes: in all; a leaf is a complete trace.
        leaves_per_tree, nodes_per_tree: means.
        depth: mean number of steps of a leaf.
        branching: mean number of children of nodes that have any.
        share_correct: of graded leaves.
        share_solved: trees with a correct leaf.
        share_mixed: trees with correct and wrong leaves, the useful ones.
        num_tokens: of all traces, one by one.
        num_tokens_decoded: without what forks took over from their main trace.
        share_saved: 1 - num_tokens_decoded / num_tokens.
    """

    num_trees: int
    num_leaves: int
    num_nodes: int
    leaves_per_tree: float
    nodes_per_tree: float
    depth: float
    branching: float
    share_correct: float
    share_solved: float
    share_mixed: float
    num_tokens: int
    num_tokens_decoded: int
    share_saved: float

    def to_dict(self) -> dict[str, float]:
        """Plain data, for JSON."""
        return asdict(self)


def dataset_stats(path: str | os.PathLike[str]) -> DatasetStats:
    """Read a folder of trees, or one file, and count. Raises what `read_folder` raises."""
    return stats_of(read_folder(path))


def stats_of(trees: Iterable[Tree]) -> DatasetStats:
    """Count what trees hold."""
    rows = np.array(list(_rows(trees)), np.float64).reshape(-1, 11)
    leaves, nodes, depth, children, parents, graded, correct, solved, mixed, tokens, decoded = rows.sum(0)
    return DatasetStats(
        len(rows),
        int(leaves),
        int(nodes),
        _ratio(leaves, len(rows)),
        _ratio(nodes, len(rows)),
        _ratio(depth, leaves),
        _ratio(children, parents),
        _ratio(correct, graded),
        _ratio(solved, len(rows)),
        _ratio(mixed, len(rows)),
        int(tokens),
        int(decoded),
        1 - _ratio(decoded, tokens),
    )


def _rows(trees: Iterable[Tree]) -> Iterator[tuple[float, ...]]:
    for tree in trees:
        ended = [index for index, end in enumerate(tree.ends) if end.state == "ended"]
        verdicts = [tree.ends[index].correct for index in ended if tree.ends[index].correct is not None]
        num_correct = sum(verdict is True for verdict in verdicts)
        lengths = np.diff(tree.step_offsets)
        upto = np.zeros(tree.num_nodes, np.int64)  # tokens from the root to the end of a node
        for node in range(1, tree.num_nodes):
            upto[node] = upto[tree.parent[node]] + lengths[node]
        num_tokens = int(upto[tree.trace_node].sum())
        yield (
            len(ended),
            tree.num_nodes,
            float(tree.depth[tree.trace_node[ended]].sum()),
            tree.num_nodes - 1,
            len(np.unique(tree.parent[1:])),
            len(verdicts),
            num_correct,
            num_correct > 0,
            0 < num_correct < len(verdicts),
            num_tokens,
            num_tokens - int(tree.trace_shared.sum()),
        )


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")
