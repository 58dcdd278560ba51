"""Trees that a tiny random model really wrote, graded by what its states can tell."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from arts_lite.solver import Solver, SolverConfig
from arts_lite.tasks import Rewards
from arts_lite.tree import Tree, TreeWriter
from arts_lite.types import StepRules

CONFIG = SolverConfig(strategy="sdf", n=6, max_tokens=40, rules=StepRules(delimiters=("\n", " ")), early_stop=False)


def is_right(text: str) -> bool:
    """Whether the last character but one is a digit or one of the first letters: the last that the model has read.

    The last character itself is drawn and never decoded, so no state of the model could tell it.
    """
    return text[-2:-1].isdigit() or text[-2:-1] in set("abcdefgh")


def write_trees(path: Path, proposer: Path, num_trees: int = 24) -> Path:
    """Let a model write trees of as many problems."""
    with Solver.from_gguf(proposer, config=CONFIG, threads=1, ctx_size=256, num_cells=4096) as solver:
        sha256 = solver.proposer.engine.model.sha256  # type: ignore[attr-defined]
        with TreeWriter(path) as writer:
            for solution in solver.solve_many([f"{number} + 1 = ?" for number in range(num_trees)]):
                assert solution.tree is not None
                writer.write(graded(solution.tree, sha256))
    return path


def graded(tree: Tree, sha256: str | None) -> Tree:
    """Grade a tree's traces by `is_right`."""
    rewards = Rewards()
    ends = []
    for node, end in zip(tree.trace_node, tree.ends, strict=True):
        text = "".join(tree.texts[one] for one in tree.path(int(node)))
        ends.append(dataclasses.replace(end, correct=is_right(text), reward=rewards.of(is_right(text))))
    model = {**tree.origin.model, "sha256": sha256}
    question = tree.origin.question
    problem = {"question": question, "task": "digits"}
    origin = dataclasses.replace(tree.origin, model=model, problem=problem, rewards=rewards.to_dict())
    return dataclasses.replace(tree, origin=origin, ends=tuple(ends))
