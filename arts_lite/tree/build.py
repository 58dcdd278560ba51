"""From traces to a tree and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from arts_lite.tree.tree import ROOT, Origin, TraceEnd, Tree


@dataclass(frozen=True, eq=False)
class Trace:
    """One trace: what was generated after the prompt, cut into steps.

    Attributes:
        tokens: int32[num_tokens].
        step_ends: ascending positions in `tokens`; the last one is num_tokens. Empty for an empty trace.
        step_texts: one per step.
        log_pf_model, log_pf_sampling: float64[num_steps], see `step_sums`.
        parent: index of the trace that it was forked from, None for a main trace.
        num_tokens_shared: how many of its first tokens it took over from that one; 0 for a main trace.
        end: how it ended.
        log_flow: float64[num_steps], a verifier's value of the prefix that each step ends; nan, or None for all:
            none was read.
    """

    tokens: NDArray[np.int32]
    step_ends: tuple[int, ...]
    step_texts: tuple[str, ...]
    log_pf_model: NDArray[np.float64]
    log_pf_sampling: NDArray[np.float64]
    parent: int | None = None
    num_tokens_shared: int = 0
    end: TraceEnd = field(default_factory=TraceEnd)
    log_flow: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        starts = (0, *self.step_ends)
        if any(start >= end for start, end in pairwise(starts)) or starts[-1] != len(self.tokens):
            raise ValueError(f"step_ends is {self.step_ends}, but must ascend from above 0 to {len(self.tokens)}")
        for name in ("step_texts", "log_pf_model", "log_pf_sampling"):
            if len(getattr(self, name)) != len(self.step_ends):
                raise ValueError(f"{name} has {len(getattr(self, name))} values for {len(self.step_ends)} steps")
        if self.log_flow is not None and len(self.log_flow) != len(self.step_ends):
            raise ValueError(f"log_flow has {len(self.log_flow)} values for {len(self.step_ends)} steps")
        if not 0 <= self.num_tokens_shared <= len(self.tokens) or (self.parent is None and self.num_tokens_shared):
            raise ValueError(
                f"num_tokens_shared is {self.num_tokens_shared}, but must be 0 for a main trace and at most "
                f"{len(self.tokens)} for this fork"
            )


def step_sums(log_probs: ArrayLike, step_ends: Sequence[int]) -> NDArray[np.float64]:
    """Sum the log-probs of tokens over each step: float[num_tokens] -> float64[num_steps]."""
    values = np.asarray(log_probs, np.float64)
    starts = [0, *step_ends[:-1]]
    return np.add.reduceat(values, starts) if len(step_ends) else np.zeros(0)


def tree_of(traces: Sequence[Trace], origin: Origin) -> Tree:
    """Build the tree of traces; identical steps at one parent become one node (log-probs of the first one seen).

    Raises:
        ValueError: a fork names a later trace as its parent, or does not begin with that one's tokens.
    """
    nodes = _Nodes()
    ends: list[int] = []
    for index, trace in enumerate(traces):
        _check_fork(index, trace, traces)
        ends.append(nodes.add(trace))
    return nodes.to_tree(traces, ends, origin)


def traces_of(tree: Tree) -> list[Trace]:
    """Take a tree apart again; `tree_of` of the result is the same tree."""
    traces = []
    for index, end in enumerate(tree.ends):
        path = tree.path(int(tree.trace_node[index]))[1:]
        steps = [tree.tokens(node) for node in path]
        parent = int(tree.trace_parent[index])
        traces.append(
            Trace(
                np.concatenate([np.zeros(0, np.int32), *steps]),
                tuple(int(end) for end in np.cumsum([len(step) for step in steps])),
                tuple(tree.texts[node] for node in path),
                tree.log_pf_model[path],
                tree.log_pf_sampling[path],
                None if parent < 0 else parent,
                int(tree.trace_shared[index]),
                end,
                tree.log_flow[path],
            )
        )
    return traces


class _Nodes:
    """Grows a tree trace by trace."""

    def __init__(self) -> None:
        self._parents = [-1]
        self._depths = [0]
        self._num_draws = [0]
        self._log_pf_model = [0.0]
        self._log_pf_sampling = [0.0]
        self._log_flow = [float("nan")]
        self._steps: list[NDArray[np.int32]] = [np.zeros(0, np.int32)]
        self._texts = [""]
        self._by_step: dict[tuple[int, bytes], int] = {}

    def add(self, trace: Trace) -> int:
        """Add a trace's steps, and count as drawn those that it did not take over. Returns the last one's node."""
        node, start = ROOT, 0
        self._num_draws[ROOT] += trace.parent is None
        for index, end in enumerate(trace.step_ends):
            step = np.asarray(trace.tokens[start:end], np.int32)
            node = self._child(node, step, trace, index)
            self._num_draws[node] += end > trace.num_tokens_shared
            start = end
        return node

    def _child(self, parent: int, step: NDArray[np.int32], trace: Trace, index: int) -> int:
        node = self._by_step.setdefault((parent, step.tobytes()), len(self._parents))
        if node == len(self._parents):
            self._parents.append(parent)
            self._depths.append(self._depths[parent] + 1)
            self._num_draws.append(0)
            self._log_pf_model.append(float(trace.log_pf_model[index]))
            self._log_pf_sampling.append(float(trace.log_pf_sampling[index]))
            self._steps.append(step)
            self._log_flow.append(float("nan"))
            self._texts.append(trace.step_texts[index])
        if trace.log_flow is not None and np.isnan(self._log_flow[node]):
            self._log_flow[node] = float(trace.log_flow[index])
        return node

    def to_tree(self, traces: Sequence[Trace], ends: list[int], origin: Origin) -> Tree:
        """Make arrays of the lists."""
        return Tree(
            origin,
            np.array(self._parents, np.int32),
            np.array(self._depths, np.int32),
            np.array(self._log_pf_model),
            np.array(self._log_pf_sampling),
            np.array(self._num_draws, np.int32),
            np.concatenate(self._steps),
            np.cumsum([0, *map(len, self._steps)], dtype=np.int64),
            tuple(self._texts),
            np.array(ends, np.int32),
            np.array([-1 if trace.parent is None else trace.parent for trace in traces], np.int32),
            np.array([trace.num_tokens_shared for trace in traces], np.int32),
            tuple(trace.end for trace in traces),
            np.array(self._log_flow),
        )


def _check_fork(index: int, trace: Trace, traces: Sequence[Trace]) -> None:
    if trace.parent is None:
        return
    if not 0 <= trace.parent < index:
        raise ValueError(f"trace {index} has parent {trace.parent}, but a fork's parent must stand before it")
    shared = trace.num_tokens_shared
    if not np.array_equal(trace.tokens[:shared], traces[trace.parent].tokens[:shared]):
        raise ValueError(f"trace {index} does not begin with the {shared} tokens that it shares with {trace.parent}")
