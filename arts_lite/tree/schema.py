"""A tree as one JSON object. The schema is tree.schema.json; docs/trace-format.md explains it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from itertools import chain
from typing import Any

import numpy as np

from arts_lite.tree.tree import Origin, TraceEnd, Tree

SCHEMA = "arts-lite.tree"
SCHEMA_VERSION = 1
_ORIGIN = [field.name for field in dataclasses.fields(Origin)]
_END = [field.name for field in dataclasses.fields(TraceEnd)]
_STATES = ("ended", "cut", "pruned")
_INT32 = 2**31


def tree_to_json(tree: Tree) -> dict[str, Any]:
    """Turn a tree into plain data, one line of a trace file; numbers that are not finite become None."""
    nodes = [
        {
            "parent": int(tree.parent[node]) if node else None,
            "text": tree.texts[node],
            "tokens": tree.tokens(node).tolist(),
            "log_pf_model": float(tree.log_pf_model[node]),
            "log_pf_sampling": float(tree.log_pf_sampling[node]),
            "num_draws": int(tree.num_draws[node]),
            **({"log_flow": float(tree.log_flow[node])} if np.isfinite(tree.log_flow[node]) else {}),
        }
        for node in range(tree.num_nodes)
    ]
    traces = [
        {
            "node": int(tree.trace_node[index]),
            "parent": int(tree.trace_parent[index]) if tree.trace_parent[index] >= 0 else None,
            "num_tokens_shared": int(tree.trace_shared[index]),
            **{name: _finite(getattr(end, name)) for name in _END},
        }
        for index, end in enumerate(tree.ends)
    ]
    origin = {name: getattr(tree.origin, name) for name in _ORIGIN}
    plain = {"schema": SCHEMA, "version": SCHEMA_VERSION, **origin, "nodes": nodes, "traces": traces}
    return {name: dict(value) if isinstance(value, Mapping) else value for name, value in plain.items()}


def tree_from_json(plain: Any) -> Tree:
    """Read a tree back; fields that are not known are left out.

    Raises:
        ValueError: a field is missing or has a wrong value; the text names it.
    """
    if not isinstance(plain, dict) or plain.get("schema") != SCHEMA:
        raise ValueError(f'it is no tree (its "schema" must be "{SCHEMA}")')
    if plain.get("version") != SCHEMA_VERSION:
        raise ValueError(
            f"its version is {plain.get('version')!r}, but this arts-lite reads version {SCHEMA_VERSION}; "
            "read it with the arts-lite that wrote it, or a newer one"
        )
    nodes, traces = _rows(plain, "nodes"), _rows(plain, "traces")
    if not nodes:
        raise ValueError("nodes is empty, but must begin with the root")
    _check_nodes(nodes)
    _check_traces(traces, len(nodes))
    parents = [-1, *(node["parent"] for node in nodes[1:])]
    depths = [0]
    for parent in parents[1:]:
        depths.append(depths[parent] + 1)
    return Tree(
        _origin(plain),
        np.array(parents, np.int32),
        np.array(depths, np.int32),
        np.array([node["log_pf_model"] for node in nodes], np.float64),
        np.array([node["log_pf_sampling"] for node in nodes], np.float64),
        np.array([node["num_draws"] for node in nodes], np.int32),
        np.array(list(chain.from_iterable(node["tokens"] for node in nodes)), np.int32),
        np.cumsum([0, *(len(node["tokens"]) for node in nodes)], dtype=np.int64),
        tuple(node["text"] for node in nodes),
        np.array([trace["node"] for trace in traces], np.int32),
        np.array([-1 if trace["parent"] is None else trace["parent"] for trace in traces], np.int32),
        np.array([trace["num_tokens_shared"] for trace in traces], np.int32),
        tuple(TraceEnd(**{name: trace.get(name, getattr(TraceEnd(), name)) for name in _END}) for trace in traces),
        np.array([np.nan if node.get("log_flow") is None else node["log_flow"] for node in nodes], np.float64),
    )


def _origin(plain: dict[str, Any]) -> Origin:
    _require("question" in plain and isinstance(plain["question"], str), "question", plain.get("question"), "a text")
    defaults = Origin("")
    values = {name: plain.get(name, getattr(defaults, name)) for name in _ORIGIN}
    for name in ("model", "sampling", "rules", "settings", "versions"):
        _require(isinstance(values[name], Mapping), name, values[name], "an object")
    for name in ("problem", "verifier", "rewards"):
        _require(values[name] is None or isinstance(values[name], Mapping), name, values[name], "an object or null")
    for name in ("stopped_by", "answer"):
        _require(values[name] is None or isinstance(values[name], str), name, values[name], "a text or null")
    for name in ("seed", "num_prompt_tokens"):
        _require(_is_whole(values[name], 0, 2**64), name, values[name], "a whole number >= 0")
    return Origin(**values)


def _check_nodes(nodes: list[dict[str, Any]]) -> None:
    for index, node in enumerate(nodes):
        where = f"nodes[{index}]"
        parent = node.get("parent")
        if index == 0:
            _require(parent is None, f"{where}.parent", parent, "null: the first node is the root")
        else:
            _require(_is_whole(parent, 0, index), f"{where}.parent", parent, f"a node before it, 0 to {index - 1}")
        _require(isinstance(node.get("text"), str), f"{where}.text", node.get("text"), "a text")
        tokens = node.get("tokens")
        is_tokens = isinstance(tokens, list) and all(_is_whole(token, 0, _INT32) for token in tokens)
        _require(is_tokens, f"{where}.tokens", tokens, "a list of token ids")
        for name in ("log_pf_model", "log_pf_sampling"):
            _require(_is_number(node.get(name)), f"{where}.{name}", node.get(name), "a finite number")
        flow = node.get("log_flow")
        _require(flow is None or _is_number(flow), f"{where}.log_flow", flow, "a finite number or null")
        _require(_is_whole(node.get("num_draws"), 0, _INT32), f"{where}.num_draws", node.get("num_draws"), "a count")


def _check_traces(traces: list[dict[str, Any]], num_nodes: int) -> None:
    for index, trace in enumerate(traces):
        where = f"traces[{index}]"
        node, parent, shared = trace.get("node"), trace.get("parent"), trace.get("num_tokens_shared")
        _require(_is_whole(node, 0, num_nodes), f"{where}.node", node, f"a node, 0 to {num_nodes - 1}")
        is_parent = parent is None or _is_whole(parent, 0, index)
        _require(is_parent, f"{where}.parent", parent, "null or a trace before it")
        _require(_is_whole(shared, 0, _INT32), f"{where}.num_tokens_shared", shared, "a count")
        _require(trace.get("state") in _STATES, f"{where}.state", trace.get("state"), f"one of {', '.join(_STATES)}")
        for name in ("reason", "answer"):
            value = trace.get(name)
            _require(value is None or isinstance(value, str), f"{where}.{name}", value, "a text or null")
        _require(isinstance(trace.get("why", ""), str), f"{where}.why", trace.get("why"), "a text")
        for name in ("reward", "score"):
            value = trace.get(name)
            _require(value is None or _is_number(value), f"{where}.{name}", value, "a finite number or null")
        _require(trace.get("correct") in (None, True, False), f"{where}.correct", trace.get("correct"), "true or false")


def _rows(plain: dict[str, Any], name: str) -> list[dict[str, Any]]:
    rows = plain.get(name)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{name} must be a list of objects")
    return rows


def _require(holds: bool, name: str, value: object, rule: str) -> None:
    if not holds:
        shown = repr(value)
        raise ValueError(f"{name} is {shown if len(shown) <= 60 else shown[:57] + '...'}, but must be {rule}")


def _is_whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value < high


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
