"""A verifier's judgement as a scorer of one question's traces."""

from __future__ import annotations

import math
from collections.abc import Sequence

from arts_lite.search import AGGREGATIONS, Branch
from arts_lite.solver.protocols import JudgedTree

_NOTHING = -math.inf  # of a trace without a step: there is nothing that could be right


class VerifierScorer:
    """Implements `arts_lite.search.StepScorer`: a step's score is the log-flow of the prefix that it ends.

    Args:
        tree: the verifier's mirror of this question's tree.
        aggregation: one of `arts_lite.search.AGGREGATIONS`, for whole traces.
    """

    def __init__(self, tree: JudgedTree, aggregation: str = "last") -> None:
        self._tree = tree
        self._aggregate = AGGREGATIONS[aggregation]

    def score(self, branches: Sequence[Branch]) -> list[float]:
        """Score whole traces by their log-flow; what `score_steps` has read is not read again."""
        return [self._aggregate(steps) if steps else _NOTHING for steps in self.score_steps(branches)]

    def score_steps(self, branches: Sequence[Branch]) -> list[list[float]]:
        """Score every step, in one batch."""
        traces = [[step.text for step in branch.steps] for branch in branches]
        return [[float(value) for value in values] for values in self._tree.log_flows(traces)]

    def close(self) -> None:
        """Let go of the verifier's cache."""
        self._tree.close()
