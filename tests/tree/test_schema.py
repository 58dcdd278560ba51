"""Trees as JSON: the schema that is shipped, and what a reader refuses."""

from __future__ import annotations

import copy
import json
from importlib import resources
from typing import Any

import jsonschema
import numpy as np
import pytest
from fakes.trees import ORIGINS, small_trace, trace_lists
from hypothesis import given

from arts_lite.tree import Origin, Trace, tree_from_json, tree_of, tree_to_json

SCHEMA = json.loads(resources.files("arts_lite.tree").joinpath("tree.schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


@given(trace_lists(), ORIGINS)
def test_every_tree_keeps_to_the_shipped_schema_and_reads_back_equal(traces: list[Trace], origin: Origin) -> None:
    tree = tree_of(traces, origin)
    plain = json.loads(json.dumps(tree_to_json(tree), allow_nan=False))
    VALIDATOR.validate(plain)
    again = tree_from_json(plain)
    assert again.origin == origin
    assert again.ends == tree.ends
    assert again.texts == tree.texts
    for name in (
        *("parent", "depth", "log_pf_model", "log_pf_sampling", "log_flow", "num_draws", "step_tokens", "step_offsets"),
    ):
        np.testing.assert_array_equal(getattr(again, name), getattr(tree, name))
        assert getattr(again, name).dtype == getattr(tree, name).dtype
    for name in ("trace_node", "trace_parent", "trace_shared"):
        np.testing.assert_array_equal(getattr(again, name), getattr(tree, name))


def plain_tree() -> dict[str, Any]:
    return tree_to_json(tree_of([small_trace()], Origin("q")))


def test_the_schema_itself_is_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


BEYOND_THE_SCHEMA = [  # it cannot compare an index with another one, and JSON has no nan
    r"nodes\[1\].parent is 1",
    r"nodes\[1\].log_pf_sampling",
    r"traces\[0\].node is 9",
    r"traces\[0\].parent",
]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["schema"], "other", "it is no tree"),
        (["version"], 2, "version is 2"),
        (["question"], None, "question is None"),
        (["nodes"], [], "nodes is empty"),
        (["nodes"], {}, "nodes must be a list"),
        (["nodes", 0, "parent"], 0, r"nodes\[0\].parent"),
        (["nodes", 1, "parent"], 1, r"nodes\[1\].parent is 1"),
        (["nodes", 1, "parent"], None, r"nodes\[1\].parent is None"),
        (["nodes", 1, "tokens"], [-1], r"nodes\[1\].tokens"),
        (["nodes", 1, "tokens"], [2**31], r"nodes\[1\].tokens"),
        (["nodes", 1, "tokens"], [True], r"nodes\[1\].tokens"),
        (["nodes", 1, "log_pf_model"], "x", r"nodes\[1\].log_pf_model"),
        (["nodes", 1, "log_pf_sampling"], float("nan"), r"nodes\[1\].log_pf_sampling"),
        (["nodes", 1, "log_flow"], "high", r"nodes\[1\].log_flow"),
        (["nodes", 1, "num_draws"], 0.5, r"nodes\[1\].num_draws"),
        (["nodes", 1, "text"], 5, r"nodes\[1\].text"),
        (["traces", 0, "node"], 9, r"traces\[0\].node is 9"),
        (["traces", 0, "parent"], 0, r"traces\[0\].parent"),
        (["traces", 0, "state"], "dead", r"traces\[0\].state"),
        (["traces", 0, "correct"], "yes", r"traces\[0\].correct"),
        (["traces", 0, "reward"], "10", r"traces\[0\].reward"),
        (["traces", 0, "answer"], 10, r"traces\[0\].answer"),
        (["seed"], -1, "seed is -1"),
        (["model"], None, "model is None"),
    ],
)
def test_a_wrong_field_is_named(path: list[Any], value: Any, message: str) -> None:
    plain = copy.deepcopy(plain_tree())
    *parents, last = path
    target: Any = plain
    for key in parents:
        target = target[key]
    target[last] = value
    with pytest.raises(ValueError, match=message):
        tree_from_json(plain)
    assert VALIDATOR.is_valid(plain) is (message in BEYOND_THE_SCHEMA)


def test_fields_of_a_later_writer_are_left_out() -> None:
    tree = tree_from_json({**plain_tree(), "colour": "green"})
    assert tree.num_nodes == 3


def test_scores_that_are_not_finite_become_null() -> None:
    plain = tree_to_json(tree_of([small_trace(score=float("-inf"))], Origin("q")))
    assert plain["traces"][0]["score"] is None


def test_a_file_of_an_earlier_writer_has_no_log_flow() -> None:
    plain = plain_tree()
    assert all("log_flow" not in node for node in plain["nodes"])
    assert np.isnan(tree_from_json(plain).log_flow).all()
    plain["nodes"][1]["log_flow"] = None
    assert np.isnan(tree_from_json(plain).log_flow).all()
