"""A verifier's and a probe's judgement as a scorer of one question's traces."""

from __future__ import annotations

import math
from collections.abc import Sequence

from arts_lite.search import AGGREGATIONS, Branch, BranchState
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
        return [self._aggregate(steps) if steps else _NOTHING for steps in self._read(branches)]

    def score_steps(self, branches: Sequence[Branch]) -> list[list[float]]:
        """Score every step, in one batch; a last one without visible text is worth what the step before it is."""
        read = zip(branches, self._read(branches), strict=True)
        return [steps + steps[-1:] * (len(branch.steps) - len(steps)) for branch, steps in read]

    def _read(self, branches: Sequence[Branch]) -> list[list[float]]:
        traces = [[step.text for step in branch.steps] for branch in branches]
        for texts in traces:
            if len(texts) > 1 and not texts[-1].strip():  # of a fork that ended at once: nothing to be read
                texts.pop()
        return [[float(value) for value in values] for values in self._tree.log_flows(traces)]

    def close(self) -> None:
        """Let go of the verifier's cache."""
        self._tree.close()


class ProbeScorer:
    """Implements `arts_lite.search.StepScorer` by what the engine has read while it generated (`Branch.values`).

    A step at whose end nothing was read (of a trace that was cut in the middle of it) repeats the value before it.

    Args:
        aggregation: one of `arts_lite.search.AGGREGATIONS`, for whole traces.
    """

    def __init__(self, aggregation: str = "last") -> None:
        self._aggregate = AGGREGATIONS[aggregation]

    def score(self, branches: Sequence[Branch]) -> list[float]:
        """Score whole traces by their log-flow."""
        return [self._aggregate(steps) if steps else _NOTHING for steps in self.score_steps(branches)]

    def score_steps(self, branches: Sequence[Branch]) -> list[list[float]]:
        """Score every step; nothing is decoded for it."""
        return [_carried(branch.values) for branch in branches]


class ProbeThenVerifier:
    """Implements `arts_lite.search.StepScorer` by both: the probe scores steps, the verifier whole traces.

    What a strategy has pruned is never shown to the verifier: it keeps the probe's score.
    """

    def __init__(self, probe: ProbeScorer, verifier: VerifierScorer) -> None:
        self._probe = probe
        self._verifier = verifier

    def score(self, branches: Sequence[Branch]) -> list[float]:
        """Score whole traces by the verifier, those that could be an answer."""
        shown = [branch for branch in branches if branch.state is not BranchState.PRUNED]
        judged = iter(self._verifier.score(shown) if shown else [])
        return [
            self._probe.score([branch])[0] if branch.state is BranchState.PRUNED else next(judged)
            for branch in branches
        ]

    def score_steps(self, branches: Sequence[Branch]) -> list[list[float]]:
        """Score every step by the probe."""
        return self._probe.score_steps(branches)


def _carried(values: Sequence[float]) -> list[float]:
    carried, last = list[float](), _NOTHING
    for value in values:
        last = last if math.isnan(value) else value
        carried.append(last)
    return carried
