"""Teacher forcing: an engine reads the prefixes of given trees, every shared one once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from arts_lite.engine.engine import Engine
from arts_lite.types import BranchId, EventKind, SamplingParams, StepRules

_SAMPLING = SamplingParams()  # nothing is drawn
_RULES = StepRules(delimiters=())
_FIRST = 0  # number of the root
_TICK_S = 0.25  # so often Python looks whether Ctrl-C was pressed
_Number = TypeVar("_Number", np.float32, np.float64)


@dataclass(frozen=True, eq=False)
class TokenTree:
    """Prefixes that share their beginnings; read at their last tokens.

    Attributes:
        tokens: per node, those that it adds to its parent's; the root's, at least one, are the prompt.
        parent: per node; the root's is -1, and parents precede their children. A node without tokens is its parent.

    Raises:
        ValueError: no root, a root without tokens, or a parent that does not precede.
    """

    tokens: Sequence[NDArray[np.int32]]
    parent: Sequence[int]

    def __post_init__(self) -> None:
        if len(self.tokens) != len(self.parent) or not self.parent or not len(self.tokens[_FIRST]):
            raise ValueError("a token tree needs one parent per node, and a root with at least one token")
        for node, parent in enumerate(self.parent):
            if not (parent == -1 if node == _FIRST else 0 <= parent < node):
                raise ValueError(f"the parent of node {node} is {parent}, but must precede it (the root's is -1)")

    @property
    def num_tokens(self) -> int:
        """Tokens of all nodes: what reading costs."""
        return sum(map(len, self.tokens))


def token_trie(prompt: Sequence[int], traces: Sequence[Sequence[Sequence[int]]]) -> tuple[TokenTree, list[list[int]]]:
    """Make one tree of traces (tokens of their steps); returns it with each trace's nodes below the root."""
    tokens = [np.asarray(prompt, np.int32)]
    parents = [-1]
    known: dict[tuple[int, bytes], int] = {}
    paths = []
    for steps in traces:
        path, node = [], _FIRST
        for step in steps:
            own = np.asarray(step, np.int32)
            child = known.setdefault((node, own.tobytes()), len(parents))
            if child == len(parents):
                tokens.append(own)
                parents.append(node)
            node = child
            path.append(node)
        paths.append(path)
    return TokenTree(tokens, parents), paths


def read_values(engine: Engine, trees: Sequence[TokenTree]) -> list[NDArray[np.float64]]:
    """Read the head's value at the end of every node, in one batch: per tree float64[num_nodes].

    Raises:
        ContextOverflowError: a path is longer than the context.
        ValueError: the engine has no head, or lacks a token.
    """
    with _reading(engine, trees, keep_states=False) as readings:
        return [one.gather(engine.values) for one in readings]


def read_states(engine: Engine, trees: Sequence[TokenTree]) -> list[NDArray[np.float32]]:
    """Read the hidden state at the end of every node, in one batch: per tree float32[num_nodes, num_embd].

    Raises what `read_values` raises; no head is needed.
    """
    with _reading(engine, trees, keep_states=True) as readings:
        return [one.gather(engine.hidden_states) for one in readings]


def read_both(engine: Engine, trees: Sequence[TokenTree]) -> list[tuple[NDArray[np.float64], NDArray[np.float32]]]:
    """Read the head's values and the hidden states in one batch; see `read_values` and `read_states`."""
    with _reading(engine, trees, keep_states=True) as readings:
        return [(one.gather(engine.values), one.gather(engine.hidden_states)) for one in readings]


class _Reading:
    """One tree in an engine. A branch holds a chain of nodes, each the first child of the one before."""

    def __init__(self, engine: Engine, tree: TokenTree) -> None:
        self._engine = engine
        self._tree = tree
        self._same = list(range(len(tree.parent)))  # the node that a node is read as: its own, or its parent's
        self._ends = [len(tree.tokens[_FIRST])] * len(tree.parent)
        self._chain_of = [0] * len(tree.parent)
        self._chains = [[_FIRST]]
        self.branches: list[BranchId] = []
        for node in range(1, len(tree.parent)):
            self._place(node)

    def _place(self, node: int) -> None:
        above = self._same[self._tree.parent[node]]
        self._ends[node] = self._ends[above] + len(self._tree.tokens[node])
        if not len(self._tree.tokens[node]):
            self._same[node] = above
            return
        chain = self._chain_of[above]
        if self._chains[chain][-1] == above:
            self._chains[chain].append(node)
        else:
            chain = len(self._chains)
            self._chains.append([node])
        self._chain_of[node] = chain

    def begin(self, *, keep_states: bool) -> None:
        """Give the engine its branches, whose tokens the next calls of `advance` decode."""
        for chain in self._chains:
            own = chain
            if chain[0] == _FIRST:
                prompt = self._tree.tokens[_FIRST]
                branch = self._engine.open(prompt, sampling=_SAMPLING, rules=_RULES, seed=0, stream=0, max_tokens=1)
                own = chain[1:]
            else:
                above = self._same[self._tree.parent[chain[0]]]
                branch = self._engine.fork(self.branches[self._chain_of[above]], self._ends[above])
            self.branches.append(branch)
            tokens = np.concatenate([np.zeros(0, np.int32), *(self._tree.tokens[node] for node in own)])
            marks = [self._ends[node] for node in chain]
            self._engine.append(branch, tokens, marks=marks, keep_states=keep_states)

    def gather(self, read: Callable[[BranchId, list[int]], NDArray[_Number]]) -> NDArray[_Number]:
        """Put what was read in the order of the nodes."""
        parts = [read(branch, [self._ends[node] for node in chain]) for branch, chain in self._pairs()]
        joined = np.concatenate(parts)
        place = np.empty(len(self._same), np.int64)
        place[np.concatenate(self._chains)] = np.arange(len(joined))
        return np.asarray(joined[place[self._same]])

    def _pairs(self) -> Iterator[tuple[BranchId, list[int]]]:
        return zip(self.branches, self._chains, strict=True)


@contextmanager
def _reading(engine: Engine, trees: Sequence[TokenTree], *, keep_states: bool) -> Iterator[list[_Reading]]:
    readings = [_Reading(engine, tree) for tree in trees]
    try:
        for one in readings:
            one.begin(keep_states=keep_states)
        waiting = {branch for one in readings for branch in one.branches}
        while waiting:
            for event in engine.advance(_TICK_S):
                if event.kind is EventKind.APPENDED and event.branch is not None:
                    waiting.discard(event.branch)
        yield readings
    finally:
        for one in readings:
            for branch in one.branches:
                engine.close(branch)
