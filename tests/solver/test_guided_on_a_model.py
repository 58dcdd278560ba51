"""Strategies that are guided by step scores, on a real engine over a tiny random model."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from fakes.values import KnowingVerifier, ValueOf, arbitrary

from arts_lite import SamplingParams, Solution, Solver, SolverConfig, StepRules
from arts_lite.engine import EngineConfig
from arts_lite.proposer import Proposer

GUIDED = ("beam", "dvts", "mcts")


def config(strategy: str, **settings: object) -> SolverConfig:
    rules = StepRules(delimiters=tuple(string.ascii_letters))
    options = {"n": 6, "beam_width": 3, "max_tokens": 60, "c_puct": 5.0, "scorer": ValueOf(arbitrary), **settings}
    return SolverConfig(strategy=strategy, rules=rules, sampling=SamplingParams(temperature=1.0, top_p=1.0), **options)  # type: ignore[arg-type]


def traces(solution: Solution) -> list[tuple[object, ...]]:
    return [
        (trace.parent, trace.fork_position, trace.state, trace.text, trace.mean_log_prob) for trace in solution.traces
    ]


@pytest.mark.parametrize("strategy", GUIDED)
def test_the_tree_repeats_itself_to_the_last_bit(strategy: str, tiny_model_path: Path) -> None:
    with Solver.from_gguf(tiny_model_path, config=config(strategy), threads=1, reproducible=True) as solver:
        first, second = solver.solve("What is it?"), solver.solve("What is it?")
    assert traces(first) == traces(second)
    assert len(first.traces) > 6
    assert any(trace.parent is not None for trace in first.traces)


@pytest.mark.parametrize("strategy", GUIDED)
def test_what_siblings_share_is_decoded_once(strategy: str, tiny_model_path: Path) -> None:
    with Solver.from_gguf(tiny_model_path, config=config(strategy), threads=1) as solver:
        solution = solver.solve("What is it?")
        solver.proposer.engine.check()  # type: ignore[attr-defined]
    own = 0
    for trace in solution.traces:
        parent = None if trace.parent is None else solution.traces[trace.parent]
        own += trace.num_tokens
        if parent is not None and trace.fork_position is not None:
            shared = trace.fork_position - solution.tree.origin.num_prompt_tokens  # type: ignore[union-attr]
            assert shared > 0
            own -= shared
    assert 0 < solution.num_tokens_decoded <= own


@pytest.mark.parametrize("strategy", GUIDED)
@pytest.mark.parametrize("budget", [{"budget_tokens": 50}, {"budget_nodes": 9}, {"budget_tokens": 1}])
def test_budgets_hold(strategy: str, budget: dict[str, int], tiny_model_path: Path) -> None:
    with Solver.from_gguf(tiny_model_path, config=config(strategy, **budget), threads=1) as solver:
        solution = solver.solve("What is it?")
    (kind,) = budget
    assert solution.stopped_by is not None
    assert solution.stopped_by.value == kind
    assert solution.num_tokens_decoded <= budget.get("budget_tokens", 10_000)
    assert solution.num_nodes <= budget.get("budget_nodes", 10_000)


@pytest.mark.parametrize("concurrency", [None, 4])
@pytest.mark.parametrize("budget", [{}, {"budget_tokens": 50}, {"budget_nodes": 9}])
def test_flow_search_forks_where_it_wants_and_keeps_its_budget(
    concurrency: int | None, budget: dict[str, int], tiny_model_path: Path
) -> None:
    """Several branches may begin at one place at once, behind one that was left there."""
    model = Proposer.from_gguf(tiny_model_path, config=EngineConfig(num_traces=6, threads=1))
    told = config("flow", scorer=None, confidence=0.0, concurrency=concurrency, **budget)
    with Solver(model, KnowingVerifier(ValueOf(arbitrary)), told) as solver:
        solution = solver.solve("What is it?")
        model.engine.check()
        assert model.engine.stats().num_branches == 0
    assert solution.num_tokens_decoded <= budget.get("budget_tokens", 6 * 60 + 60)
    assert solution.num_nodes <= budget.get("budget_nodes", 10_000)
    if not budget:
        assert any(trace.parent is not None for trace in solution.traces)
