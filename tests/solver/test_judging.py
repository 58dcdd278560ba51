"""A verifier's judgement: what it is shown, what becomes of its values, and that nothing of it is left behind."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from fakes.proposer import FakeInfo, FakeProposer
from numpy.typing import NDArray

from arts_lite.search import AGGREGATIONS, Branch, Step
from arts_lite.solver import Solver, SolverConfig
from arts_lite.solver.judging import VerifierScorer


class FakeTree:
    """Judges a trace by its last step's length; remembers what it was shown."""

    def __init__(self, question: str) -> None:
        self.question = question
        self.is_open = True
        self.shown: list[list[str]] = []

    def log_flows(self, traces: Sequence[Sequence[str]]) -> list[NDArray[np.float64]]:
        assert self.is_open
        self.shown += [list(steps) for steps in traces]
        return [np.array([float(len(step)) for step in steps]) for steps in traces]

    def close(self) -> None:
        self.is_open = False


class FakeVerifier:
    """Implements `arts_lite.solver.protocols.Verifier`."""

    aggregation = "last"
    rewards = (0.1, 10.0)
    log_prob_weight = 0.0

    def __init__(self) -> None:
        self.trees: list[FakeTree] = []
        self.info = FakeInfo()
        self.is_closed = False

    def tree(self, question: str, delimiters: Sequence[str] = ()) -> FakeTree:
        self.trees.append(FakeTree(question))
        return self.trees[-1]

    def close(self) -> None:
        self.is_closed = True


def branch(*steps: str) -> Branch:
    return Branch(0, None, (0,), 0, 0, 10, steps=[Step(n, n + 1, text) for n, text in enumerate(steps)])


def test_aggregations_are_of_the_flows_themselves() -> None:
    flows = [0.5, 2.0, 1.0]
    logs = [math.log(flow) for flow in flows]
    assert math.exp(AGGREGATIONS["last"](logs)) == pytest.approx(1.0)
    assert math.exp(AGGREGATIONS["min"](logs)) == pytest.approx(0.5)
    assert math.exp(AGGREGATIONS["mean"](logs)) == pytest.approx(3.5 / 3)
    assert math.exp(AGGREGATIONS["product"](logs)) == pytest.approx(1.0)
    assert AGGREGATIONS["mean"]([-1000.0, -1000.0]) == pytest.approx(-1000.0)


def test_a_trace_without_a_step_is_worth_nothing() -> None:
    assert VerifierScorer(FakeTree("q")).score([branch(), branch("abc")]) == [-math.inf, 3.0]


def test_the_verifier_decides_unless_told_otherwise() -> None:
    verifier = FakeVerifier()
    with Solver(FakeProposer(), verifier, SolverConfig(n=4)) as solver:
        judged = solver.solve("what is it?")
        assert judged.chosen_by == "weighted vote"
        assert judged.settings["strategy"] == "weighted-vote"
        assert "verifier" in judged.settings
        weights: dict[str, float] = {}
        for trace in judged.traces:
            if trace.answer is not None and trace.score is not None:
                weights[trace.answer] = weights.get(trace.answer, 0.0) + math.exp(trace.score)
        assert judged.answer == max(weights, key=weights.__getitem__)
        assert verifier.trees[0].question == "what is it?"
        assert all(len(trace.steps) == 0 or list(trace.steps) in verifier.trees[0].shown for trace in judged.traces)
        voted = solver.solve("what is it?", SolverConfig(strategy="vote", n=4))
        assert voted.chosen_by == "vote"
        solver.solve("what is it?", SolverConfig(strategy="best-of-n", scorer="length", n=4))
        assert len(verifier.trees) == 2  # the scorer that was asked for needs no verifier
    assert verifier.is_closed
    assert not any(tree.is_open for tree in verifier.trees)


@pytest.mark.parametrize("strategy", ["best-of-n", "weighted-vote"])
def test_what_the_proposer_finds_likely_counts_as_the_verifiers_file_says_unless_the_user_says_otherwise(
    strategy: str,
) -> None:
    """Scores stay the verifier's own; a trace counts as its flow times its likelihood to that power."""
    config = SolverConfig(strategy=strategy, n=8)
    verifier = FakeVerifier()
    with Solver(FakeProposer(), verifier, config) as solver:
        plain = solver.solve("what is it?")
        verifier.log_prob_weight = 1000.0
        fitted = solver.solve("what is it?")
        told = solver.solve("what is it?", replace(config, log_prob_weight=0.0))
    totals = {trace.text: (trace.mean_log_prob or 0) * trace.num_tokens for trace in plain.traces if trace.answer}
    assert fitted.text == max(totals, key=lambda text: totals[text])
    assert plain.text == told.text != fitted.text
    assert [trace.score for trace in fitted.traces] == [trace.score for trace in plain.traces]


def test_the_tree_keeps_what_the_verifier_said_of_every_step() -> None:
    with Solver(FakeProposer(), FakeVerifier(), SolverConfig(n=4)) as solver:
        tree = solver.solve("what is it?").tree
    assert tree is not None
    assert tree.num_nodes > 2
    assert math.isnan(tree.log_flow[0])
    assert tree.log_flow[1:].tolist() == [float(len(text)) for text in tree.texts[1:]]


def test_a_call_that_is_left_leaves_nothing_of_the_verifier() -> None:
    verifier = FakeVerifier()
    with Solver(FakeProposer(), verifier, SolverConfig(n=4)) as solver:
        with solver.stream_many(["one", "two"]) as events:
            next(events)
        assert not any(tree.is_open for tree in verifier.trees)


def test_an_unknown_aggregation_is_refused() -> None:
    with pytest.raises(ValueError, match="aggregation is 'median', but must be one of last, min, mean, product"):
        SolverConfig(aggregation="median")
