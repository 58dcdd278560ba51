"""The order of a search's branches, freed from what happened to run beside it."""

from __future__ import annotations

import dataclasses

from arts_lite.search import SearchResult, SearchTree, Strategy


def in_path_order(result: SearchResult, strategy: Strategy) -> SearchResult:
    """Number the branches by their paths, parents before their forks, and decide again.

    Branches are opened as events come in, which depends on the other problems in the batch; their paths do not.
    """
    record = result.tree
    branches = sorted(record.branches, key=lambda branch: branch.path)
    number = {branch.index: place for place, branch in enumerate(branches)}
    ordered = SearchTree(record.seed, record.num_prompt_tokens, record.max_tokens, record.budget, record.same)
    ordered.num_main_traces = record.num_main_traces
    ordered.num_tokens, ordered.num_nodes = record.num_tokens, record.num_nodes
    for place, branch in enumerate(branches):
        parent = None if branch.parent is None else number[branch.parent]
        moved = dataclasses.replace(branch, index=place, parent=parent, group=None)
        ordered.branches.append(moved)
        ordered.set_answer(moved, moved.answer)
    return dataclasses.replace(result, tree=ordered, decision=strategy.decide(ordered))
