from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fakes.engine import FakeEngine
from fakes.models import endless, rambling, scripted
from fakes.proposer import FakeProposer
from fakes.searches import search

from arts_lite.search import Branch, SearchTree
from arts_lite.search.actions import Action, Fork, Open, Park, Stop
from arts_lite.search.ballot import Decision, by_vote
from arts_lite.solver import Solution, Solver, SolverConfig
from arts_lite.solver.trees import tree_of_search
from arts_lite.tree import Tree, TreeWriter, read_trees, traces_of
from arts_lite.types import StopReason


def solve(engine: FakeEngine, **settings: object) -> Solution:
    with Solver(FakeProposer(engine), config=SolverConfig(**{"n": 4, "max_tokens": 60, **settings})) as solver:  # type: ignore[arg-type]
        return solver.solve("How many?")


def tree_of(solution: Solution) -> Tree:
    assert solution.tree is not None
    return solution.tree


@pytest.mark.parametrize("strategy", ["vote", "sdf"])
@pytest.mark.parametrize("seed", range(10))
def test_the_tree_holds_what_the_traces_hold(strategy: str, seed: int) -> None:
    solution = solve(FakeEngine(rambling(4)), strategy=strategy, seed=seed)
    tree = tree_of(solution)
    assert tree.num_traces == solution.num_traces
    assert tree.num_nodes == solution.num_nodes
    for trace, kept in zip(solution.traces, traces_of(tree), strict=True):
        assert (kept.parent, kept.step_texts) == (trace.parent, trace.steps)
        assert len(kept.tokens) == trace.num_tokens
        assert (kept.end.state, kept.end.answer, kept.end.score) == (trace.state.value, trace.answer, trace.score)
        assert kept.end.reason == (None if trace.reason is None else trace.reason.value)
        assert trace.mean_log_prob is not None
        assert kept.log_pf_model.sum() == pytest.approx(trace.mean_log_prob * trace.num_tokens, rel=1e-5)
        if trace.fork_position is not None:
            assert kept.num_tokens_shared == trace.fork_position - tree.origin.num_prompt_tokens


def test_identical_steps_at_one_node_are_one_node() -> None:
    solution = solve(FakeEngine(scripted({"so\n\n=1": 0.5, "so\n\n=2": 0.5})), n=16, early_stop=False)
    tree = tree_of(solution)
    assert tree.num_nodes == 4
    assert tree.num_draws[:2].tolist() == [16, 16]
    assert np.exp(tree.log_pf_model) == pytest.approx([1, 1, 0.5, 0.5])


def test_the_tree_tells_where_it_comes_from() -> None:
    solution = solve(FakeEngine(rambling(3)), strategy="sdf", seed=5)
    origin = tree_of(solution).origin
    assert (origin.question, origin.seed, origin.answer) == ("How many?", 5, solution.answer)
    assert (origin.num_prompt_tokens, origin.stopped_by) == (len("How many?"), "complete")
    assert origin.model == {"name": "fake", "sha256": None}
    assert origin.settings["strategy"] == "sdf"
    assert origin.sampling["temperature"] == 1.0
    assert origin.rules["delimiters"] == ["\n\n"]


@pytest.mark.parametrize(
    "settings",
    [
        {"budget_tokens": 1},
        {"budget_tokens": 50},
        {"budget_nodes": 2},
        {"budget_nodes": 9, "strategy": "sdf"},
        {"strategy": "sdf", "fork_prob": 1.0, "budget_tokens": 200},
    ],
)
def test_a_tree_of_any_search_can_be_written_and_read_again(tmp_path: Path, settings: dict[str, object]) -> None:
    trees = [tree_of(solve(FakeEngine(model), **settings)) for model in (rambling(4), endless)]
    with TreeWriter(tmp_path / "t.jsonl") as writer:
        for tree in trees:
            writer.write(tree)
    for tree, again in zip(trees, read_trees(tmp_path / "t.jsonl"), strict=True):
        assert again.texts == tree.texts
        assert again.ends == tree.ends
        assert again.step_tokens.tolist() == tree.step_tokens.tolist()


class MiddleFork:
    """Forks in the middle of the first step and stops before the fork has written anything."""

    def __init__(self, reason: StopReason) -> None:
        self._reason = reason

    def start(self, tree: SearchTree) -> list[Action]:
        return [Open(pause_on_step=True)]

    def react(self, tree: SearchTree, branch: Branch) -> list[Action]:
        return [Fork(0, branch.steps[0].end - 3), Park(1), Stop(self._reason)]

    def decide(self, tree: SearchTree) -> Decision:
        return by_vote(tree)


def test_a_fork_in_the_middle_of_a_step_that_never_ran_is_a_node() -> None:
    result = search(FakeEngine(scripted({"one\n\n=1": 1.0})), MiddleFork(StopReason.COMPLETE))
    tree = tree_of_search("q", result, settings={"proposer": {}, "sampling": {}, "rules": {}}, versions={})
    assert tree.texts == ("", "one\n\n", "on")
    assert [end.state for end in tree.ends] == ["pruned", "pruned"]
    assert [end.why for end in tree.ends] == ["the search is over", "parked; the search is over"]
    assert np.isnan(tree.log_flow).all()


def test_a_parked_branch_that_a_budget_cut_is_told_apart() -> None:
    result = search(FakeEngine(scripted({"one\n\n=1": 1.0})), MiddleFork(StopReason.BUDGET_TOKENS))
    assert [(branch.state.value, branch.why) for branch in result.tree.branches] == [("cut", ""), ("cut", "parked")]
