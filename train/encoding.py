"""Trees as rows of tokens: paths that share a prefix can share a row, where each token sees its own ancestors only.

How much is shared is one number, `row_tokens`: 0 encodes path by path (a shared prefix once per path), a large one puts
a whole tree into one row (each node once, but attention pays for the row's length squared).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from arts_lite.train.trees import TrainingTree
from arts_lite.tree.tree import ROOT
from arts_lite.verifier.text import InputRules, Tokenise


@dataclass(frozen=True, slots=True)
class EncodedTree:
    """A tree's tokens.

    Attributes:
        tokens: per node, of the question (the root) or of its step; int64, at least one each.
        rows: nodes of each row, in depth-first order, the root first: ancestors precede, and all of them are there.
    """

    tree: TrainingTree
    tokens: tuple[NDArray[np.int64], ...]
    rows: tuple[tuple[int, ...], ...]

    @property
    def num_tokens(self) -> int:
        """Tokens of all rows, those of shared prefixes once per row."""
        return sum(len(self.tokens[node]) for row in self.rows for node in row)


def encode_tree(tree: TrainingTree, rules: InputRules, tokenise: Tokenise, *, row_tokens: int) -> EncodedTree:
    """Tokenise a tree and lay its paths out in rows.

    Args:
        row_tokens: paths are added to a row while it has at most so many tokens; a path longer than that has one alone.
    """
    texts = [rules.question_tokens(tree.question, tokenise)]
    texts += [rules.step_tokens(text, tokenise, tree.delimiters) for text in tree.texts[1:]]
    tokens = tuple(np.array(one, np.int64) for one in texts)
    return EncodedTree(tree, tokens, tuple(_rows(tree, [len(one) for one in tokens], row_tokens)))


def _rows(tree: TrainingTree, lengths: Sequence[int], row_tokens: int) -> list[tuple[int, ...]]:
    children: list[list[int]] = [[] for _ in range(tree.num_nodes)]
    for node in range(1, tree.num_nodes):
        children[tree.parent[node]].append(node)
    rows: list[list[int]] = []
    size = 0
    waiting = [ROOT]
    while waiting:  # depth first, so that paths next to one another share most
        node = waiting.pop()
        waiting += children[node][::-1]
        if children[node]:
            continue
        path = tree.path(node)
        held = set(rows[-1]) if rows else set()
        fresh = [step for step in path if step not in held]
        added = sum(lengths[step] for step in fresh)
        if not rows or size + added > row_tokens:
            rows.append([])
            fresh, added, size = path, sum(lengths[step] for step in path), 0
        rows[-1] += fresh
        size += added
    return [tuple(row) for row in rows]


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of several trees, padded to the longest.

    Attributes:
        tokens, positions: int64[num_rows, length]; a position counts the tokens of the path before.
        visible: bool[num_rows, 1, length, length], which tokens a token sees; None: all before it (plain paths).
        lengths: int64[num_rows], without padding.
        value_row, value_column: int64[num_nodes of all trees], where each node's value is read.
    """

    tokens: NDArray[np.int64]
    positions: NDArray[np.int64]
    visible: NDArray[np.bool_] | None
    lengths: NDArray[np.int64]
    value_row: NDArray[np.int64]
    value_column: NDArray[np.int64]


def lay_out(trees: Sequence[EncodedTree], *, padding: int = 0) -> Rows:
    """Put the rows of trees together; nodes are numbered tree after tree, as in a `TreeBatch`."""
    laid = [(number, tree, row) for number, tree in enumerate(trees) for row in tree.rows]
    lengths = np.array([sum(len(tree.tokens[node]) for node in row) for _, tree, row in laid], np.int64)
    shape = (len(laid), int(lengths.max()))
    tokens = np.full(shape, padding, np.int64)
    positions = np.zeros(shape, np.int64)
    are_paths = all(_is_path(tree.tree, row) for _, tree, row in laid)
    visible = None if are_paths else np.zeros((shape[0], 1, shape[1], shape[1]), np.bool_)
    offsets = np.cumsum([0, *(tree.tree.num_nodes for tree in trees)])
    where = np.full((2, int(offsets[-1])), -1, np.int64)
    for index, (number, tree, row) in enumerate(laid):
        spans = _spans(tree, row)
        for node, (start, end, first) in spans.items():
            tokens[index, start:end] = tree.tokens[node]
            positions[index, start:end] = np.arange(first, first + end - start)
            at = offsets[number] + node
            if where[0, at] < 0:
                where[:, at] = index, end - 1
        if visible is not None:
            _show(visible[index, 0], tree.tree, spans, int(lengths[index]))
    return Rows(tokens, positions, visible, lengths, where[0], where[1])


def _is_path(tree: TrainingTree, row: Sequence[int]) -> bool:
    return all(tree.parent[node] == before for before, node in pairwise(row))


def _spans(tree: EncodedTree, row: Sequence[int]) -> dict[int, tuple[int, int, int]]:
    """Node -> (first column, column after the last, position of its first token)."""
    spans: dict[int, tuple[int, int, int]] = {}
    column = 0
    for node in row:
        parent = int(tree.tree.parent[node])
        first = 0 if parent < 0 else spans[parent][2] + spans[parent][1] - spans[parent][0]
        spans[node] = (column, column + len(tree.tokens[node]), first)
        column += len(tree.tokens[node])
    return spans


def _show(visible: NDArray[np.bool_], tree: TrainingTree, spans: dict[int, tuple[int, int, int]], length: int) -> None:
    """Let each node's tokens see those of its ancestors and their own predecessors."""
    for node, (start, end, _) in spans.items():
        parent = int(tree.parent[node])
        if parent >= 0:
            visible[start:end] = visible[spans[parent][1] - 1]  # what the parent's last token sees
        visible[start:end, start:end] = np.tri(end - start, dtype=np.bool_)
    padded = np.arange(length, len(visible))
    visible[padded, padded] = True  # a row of the softmax must not be empty
