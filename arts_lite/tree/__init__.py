"""Trees of reasoning steps as plain arrays, and the file format in which they are kept. Knows no engine."""

from __future__ import annotations

from arts_lite.tree.build import Trace, step_sums, traces_of, tree_of
from arts_lite.tree.file import TreeWriter, read_trees
from arts_lite.tree.schema import SCHEMA_VERSION, tree_from_json, tree_to_json
from arts_lite.tree.tree import Origin, TraceEnd, Tree

__all__ = [
    "SCHEMA_VERSION",
    "Origin",
    "Trace",
    "TraceEnd",
    "Tree",
    "TreeWriter",
    "read_trees",
    "step_sums",
    "traces_of",
    "tree_from_json",
    "tree_of",
    "tree_to_json",
]
