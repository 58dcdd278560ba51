"""`arts-lite sdf` as a user runs it, on a real model: word problems of our own, few tokens."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest

from arts_lite.experiments.folder import read_folder
from arts_lite.tree import traces_of

PROBLEMS = (
    ("Mia packs 4 boxes with 6 pears each and gives 5 pears away. How many pears does she keep?", "24 - 5\n#### 19"),
    ("A bus ride costs 3 coins. Ole rides twice a day on 5 days. How many coins does he pay?", "3 * 2 * 5\n#### 30"),
)
NUM_TRACES = 4


@pytest.fixture
def model(real_model: Callable[[str], Path]) -> Path:
    """The larger of the real models that are there."""
    try:
        return real_model("qwen2.5-coder-1.5b")
    except pytest.skip.Exception:
        return real_model("smollm2-135m")


@pytest.mark.model
def test_trees_of_word_problems_share_prefixes_and_are_not_made_twice(model: Path, tmp_path: Path) -> None:
    rows = [{"id": str(number), "question": text, "answer": gold} for number, (text, gold) in enumerate(PROBLEMS)]
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    out = tmp_path / "trees"

    def sdf(*args: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "arts_lite", "sdf", *args]
        return subprocess.run(
            [str(part) for part in command], capture_output=True, text=True, timeout=220, check=False, cwd=tmp_path
        )

    task = ("--task", "gsm8k", "--data", tmp_path / "problems.jsonl", "--proposer", model, "--out", out)
    size = ("--num-traces", NUM_TRACES, "--max-tokens", 40, "--step-delimiter", r"\n", "--ctx-size", 512)
    more = ("--compress", "none", "--threads", 1)
    first = sdf(*task, *size, *more)
    assert first.returncode == 0, first.stderr
    assert "2 of 2 trees" in first.stderr

    written = (out / "trees.jsonl").read_bytes()
    schema = json.loads(files("arts_lite.tree").joinpath("tree.schema.json").read_text(encoding="utf-8"))
    for line in written.decode().splitlines():
        jsonschema.Draft202012Validator(schema).validate(json.loads(line))
    trees = list(read_folder(out))
    assert {str((tree.origin.problem or {})["id"]) for tree in trees} == {"0", "1"}
    for tree in trees:
        assert sum(tree.trace_parent < 0) == NUM_TRACES
        assert {end.reward for end in tree.ends} <= {0.1, 10.0}
    whole = sum(len(trace.tokens) for tree in trees for trace in traces_of(tree))
    shared = sum(int(tree.trace_shared.sum()) for tree in trees)
    assert 0 < shared < whole

    counted = json.loads(sdf("stats", out, "--json").stdout)
    assert counted["num_trees"] == 2
    assert counted["num_leaves"] == sum(tree.num_traces for tree in trees)
    assert (counted["num_tokens"], counted["num_tokens_decoded"]) == (whole, whole - shared)

    again = sdf(*task, *size, *more)
    assert again.returncode == 0, again.stderr
    assert "2 of 2 trees" in again.stderr
    assert "(2 of them before)" in again.stderr
    assert (out / "trees.jsonl").read_bytes() == written
