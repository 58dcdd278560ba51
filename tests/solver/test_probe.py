"""A probe's judgement: read by the engine while it writes, kept with each step, with and without a verifier."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import gguf
import numpy as np
import pytest
from fakes.proposer import FakeInfo, FakeProposer
from numpy.typing import NDArray
from tiny_gguf import TinyModel, write_tiny_gguf

from arts_lite.engine import EngineConfig
from arts_lite.errors import VerifierError
from arts_lite.proposer import Proposer
from arts_lite.search import Branch, BranchState, Step
from arts_lite.solver import Solution, Solver, SolverConfig
from arts_lite.solver.judging import ProbeScorer, ProbeThenVerifier, VerifierScorer
from arts_lite.types import BranchId, StepRules
from arts_lite.verifier import Head, ProbeFormat
from arts_lite.verifier.probe import Probe
from arts_lite.verifier.probe_format import ARCHITECTURE

NAN = math.nan


class FakeProbe:
    """What it reads is a position's own number, but for the last token of a trace, which is never decoded."""

    aggregation = "last"
    rewards = (0.1, 10.0)
    log_prob_weight = 0.0

    def __init__(self, proposer: FakeProposer) -> None:
        self.engine = proposer.engine
        self.info = FakeInfo()
        self.num_read = 0

    def read(self, branch: BranchId, positions: Sequence[int]) -> NDArray[np.float64]:
        self.num_read += len(positions)
        state = self.engine.branches[branch]
        is_open = state.reason is None
        return np.array([float(one) if is_open or one < state.length else NAN for one in positions])


class FakeTree:
    """Judges a trace by minus its number of steps; remembers what it was shown."""

    def __init__(self) -> None:
        self.shown: list[list[str]] = []

    def log_flows(self, traces: Sequence[Sequence[str]]) -> list[NDArray[np.float64]]:
        self.shown += [list(steps) for steps in traces]
        return [np.full(len(steps), -float(len(steps))) for steps in traces]

    def close(self) -> None:
        pass


class FakeVerifier:
    aggregation = "last"
    rewards = (0.1, 10.0)
    log_prob_weight = 0.0

    def __init__(self) -> None:
        self.trees: list[FakeTree] = []
        self.info = FakeInfo()

    def tree(self, question: str, delimiters: Sequence[str] = ()) -> FakeTree:
        self.trees.append(FakeTree())
        return self.trees[-1]

    def close(self) -> None:
        pass


def branch(values: Sequence[float], state: BranchState = BranchState.ENDED) -> Branch:
    steps = [Step(n, n + 1, "x") for n in range(len(values))]
    return Branch(0, None, (0,), 0, 0, 10, state, steps=steps, values=list(values))


def solve(config: SolverConfig, verifier: FakeVerifier | None = None) -> Solution:
    proposer = FakeProposer()
    with Solver(proposer, verifier, config, probe=FakeProbe(proposer)) as solver:
        return solver.solve("what is it?")


def test_a_step_that_was_not_read_repeats_the_value_before_it() -> None:
    scorer = ProbeScorer()
    assert scorer.score_steps([branch([1.0, NAN, 2.0, NAN]), branch([NAN])]) == [[1.0, 1.0, 2.0, 2.0], [-math.inf]]
    assert scorer.score([branch([1.0, 3.0]), branch([]), branch([NAN])]) == [3.0, -math.inf, -math.inf]
    assert ProbeScorer("min").score([branch([2.0, 1.0, NAN])]) == [1.0]


def test_a_probe_alone_scores_steps_and_traces() -> None:
    judged = solve(SolverConfig(n=6))
    assert judged.chosen_by == "weighted vote"
    assert judged.settings["strategy"] == "weighted-vote"
    assert judged.settings["probe"] == {"name": "fake"}
    num_prompt = len("what is it?")
    for trace in judged.traces:
        assert trace.score == num_prompt + trace.num_tokens - 1  # the end is read before the last token


def test_a_scorer_that_was_asked_for_stands_before_the_probe() -> None:
    judged = solve(SolverConfig(n=4, strategy="best-of-n", scorer="length"))
    assert {trace.score for trace in judged.traces} == {-float(trace.num_tokens) for trace in judged.traces}


def test_with_both_the_probe_guides_and_the_verifier_judges() -> None:
    verifier = FakeVerifier()
    judged = solve(SolverConfig(n=6), verifier)
    assert {"probe", "verifier"} <= set(judged.settings)
    assert {trace.score for trace in judged.traces} == {-float(len(trace.steps)) for trace in judged.traces}


def test_the_verifier_never_sees_what_was_pruned() -> None:
    tree = FakeTree()
    both = ProbeThenVerifier(ProbeScorer(), VerifierScorer(tree))
    branches = [branch([1.0, 2.0], BranchState.PRUNED), branch([5.0]), branch([1.0], BranchState.CUT)]
    assert both.score(branches) == [2.0, -1.0, -1.0]
    assert len(tree.shown) == 2
    assert both.score([branches[0]]) == [2.0]
    assert both.score_steps(branches) == [[1.0, 2.0], [5.0], [1.0]]


@pytest.mark.parametrize("strategy", ["beam", "dvts", "mcts", "sdf", "weighted-vote"])
def test_every_strategy_can_be_guided_by_a_probe_alone(strategy: str) -> None:
    assert solve(SolverConfig(strategy=strategy, n=4, max_tokens=64)).answer is not None


@pytest.fixture(scope="module")
def probe_path(tiny_model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with Proposer.from_gguf(tiny_model_path, config=EngineConfig(threads=1, ctx_size=256)) as proposer:
        model = proposer.engine.model
        weight = np.random.default_rng(0).normal(0, 0.1, proposer.engine.num_embd).astype(np.float32)
        told = ProbeFormat("flow", Head(weight, 0.0), model.sha256, model.name, output="logit")
    path = tmp_path_factory.mktemp("probe") / "probe.gguf"
    writer = gguf.GGUFWriter(path, ARCHITECTURE)
    for key, value in told.keys().items():
        {str: writer.add_string, int: writer.add_uint32, float: writer.add_float64}[type(value)](key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


@pytest.fixture
def solver(tiny_model_path: Path, probe_path: Path) -> Iterator[Solver]:
    config = SolverConfig(n=8, max_tokens=60, rules=StepRules(delimiters=("\n",)))
    with Solver.from_gguf(tiny_model_path, config=config, probe=probe_path, threads=1, ctx_size=256) as solver:
        yield solver
        engine = solver.proposer.engine
        assert engine.stats().num_branches == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("strategy", ["best-of-n", "sdf"])
def test_values_while_searching_are_those_of_reading_the_traces_again(solver: Solver, strategy: str) -> None:
    found = solver.solve("2 + 3 = ?", dataclasses.replace(solver.config, strategy=strategy, fork_prob=1.0))
    tree = found.tree
    assert tree is not None
    probe = solver.probe
    assert isinstance(probe, Probe)
    prompt = solver.proposer.encode_prompt("2 + 3 = ?")
    paths = [tree.path(int(node))[1:] for node in tree.trace_node]
    again = probe.log_flows(prompt, [[tree.tokens(node).tolist() for node in path] for path in paths])
    assert any(len(path) > 2 for path in paths)
    for path, end, values in zip(paths, tree.ends, again, strict=True):
        np.testing.assert_allclose(tree.log_flow[path], values, atol=5e-3)
        assert end.score == pytest.approx(values[-1], abs=5e-3)


def test_a_probe_of_another_proposer_is_refused(probe_path: Path, tmp_path: Path) -> None:
    other = write_tiny_gguf(tmp_path / "other.gguf", TinyModel(seed=1))
    with pytest.raises(VerifierError, match="Train a probe for this file"):
        Solver.from_gguf(other, probe=probe_path, threads=1, ctx_size=256)
