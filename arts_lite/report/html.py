"""A page that shows trees: one file that needs no network and trusts no text of a model."""

from __future__ import annotations

import json
import math
import os
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from hashlib import sha256
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arts_lite.report.files import write_whole
from arts_lite.tree import Tree

_SCRIPTS = ("model.js", "layout.js", "signs.js", "draw.js", "panel.js", "page.js", "start.js")
_PLACE = re.compile("@(SCRIPT_SHA256|STYLE_SHA256|STYLE|DATA|SCRIPT)@")
_IN_JSON = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}
_END_FIELDS = ("state", "reason", "why", "answer", "correct", "reward", "score")
_SETTINGS = (
    *("strategy", "n", "fork_prob", "max_fork_depth", "beam_width", "c_puct", "confidence", "prune_below"),
    *("flow_temperature", "log_prob_weight", "scorer", "aggregation", "max_tokens", "temperature", "top_p"),
)


def tree_page(trees: Sequence[Tree]) -> str:
    """Make the page, an HTML document in ASCII but for its own words; with several trees one is chosen on it.

    Raises:
        ValueError: there is no tree.
    """
    if not trees:
        raise ValueError("trees is empty, but a page shows at least one tree; grow one first")
    data = {"version": _version(), "trees": [_plain(tree) for tree in trees]}
    parts = {**_parts(), "DATA": json_in_html(data)}
    return _PLACE.sub(lambda match: parts[match[1]], _template("tree.html"))


def write_tree_page(path: str | os.PathLike[str], trees: Sequence[Tree]) -> None:
    """Write the page, whole or not at all. Raises ReportError: it cannot be written; and what `tree_page` raises."""
    write_whole(Path(path), tree_page(trees).encode())


def json_in_html(plain: object) -> str:
    """Write JSON that cannot leave a script element, whatever its texts hold; pure ASCII."""
    return re.sub("[<>&]", lambda match: _IN_JSON[match[0]], json.dumps(plain, allow_nan=False, separators=(",", ":")))


@cache
def _parts() -> dict[str, str]:
    script = "(() => {\n'use strict';\n" + "\n".join(map(_template, _SCRIPTS)) + "})();\n"
    style = _template("tree.css")
    return {"SCRIPT": script, "STYLE": style, "SCRIPT_SHA256": _digest(script), "STYLE_SHA256": _digest(style)}


def _template(name: str) -> str:
    return resources.files("arts_lite.report").joinpath("page").joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return b64encode(sha256(text.encode()).digest()).decode()


def _version() -> str:
    try:
        return metadata.version("arts-lite")
    except metadata.PackageNotFoundError:  # a checkout that is not installed
        return ""


def _plain(tree: Tree) -> dict[str, Any]:
    """Columns of a tree, without its tokens: they are ten times as long as everything else."""
    origin = tree.origin
    return {
        "question": origin.question,
        "answer": origin.answer,
        "gold": _text((origin.problem or {}).get("answer")),
        "stopped_by": origin.stopped_by,
        "model": _text(origin.model.get("name")),
        "verifier": None if origin.verifier is None else _text(origin.verifier.get("name")),
        "settings": _settings({**origin.settings, **origin.sampling}),
        "seed": str(origin.seed),  # may be beyond what JavaScript's numbers hold
        "num_prompt_tokens": origin.num_prompt_tokens,
        "nodes": {
            "parent": [None, *tree.parent[1:].tolist()],
            "text": tree.texts,
            "log_pf_model": _column(tree.log_pf_model),
            "log_pf_sampling": _column(tree.log_pf_sampling),
            "log_flow": _column(tree.log_flow),
            "num_draws": tree.num_draws.tolist(),
            "num_tokens": np.diff(tree.step_offsets).tolist(),
        },
        "traces": {
            "node": tree.trace_node.tolist(),
            "parent": [None if parent < 0 else parent for parent in tree.trace_parent.tolist()],
            "num_tokens_shared": tree.trace_shared.tolist(),
            **{name: [_finite(getattr(end, name)) for end in tree.ends] for name in _END_FIELDS},
        },
    }


def _settings(given: Mapping[str, object]) -> dict[str, str]:
    named = ((name, given.get(name)) for name in _SETTINGS)
    return {name.replace("_", " "): str(value)[:100] for name, value in named if isinstance(value, (str, int, float))}


def _text(value: object) -> str | None:
    return None if value is None else str(value)[:1000]


def _column(values: Iterable[float] | NDArray[np.float64]) -> list[float | None]:
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in values]


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
