"""experiments/problems.py: trees are kept without the problems that are not ours, and made whole again."""

from __future__ import annotations

import gzip
import json
import runpy
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
QUESTION, ANSWER = "Ann has 3 nuts and finds 4. How many has she?", "7"
PROMPT = "Solve: {question}"


def call(*args: object) -> Result:
    script = runpy.run_path(str(EXPERIMENTS / "problems.py"))
    return CliRunner().invoke(script["main"], [str(one) for one in args])


def write_run(folder: Path) -> list[dict[str, Any]]:
    folder.mkdir()
    settings = {"task": "gsm8k", "prompt": PROMPT, "suffix": ".jsonl.gz"}
    (folder / "settings.json").write_text(json.dumps(settings))
    problem = {"id": "0", "question": QUESTION, "answer": ANSWER, "metadata": {}, "task": "gsm8k"}
    model = {"name": "m", "path": "m.gguf"}
    tree = {
        "schema": "arts-lite.tree",
        "question": PROMPT.format(question=QUESTION),
        "problem": problem,
        "model": model,
    }
    lines = [{**tree, "nodes": [{"text": "3 + 4 = 7"}]}, {**tree, "nodes": []}]
    with gzip.open(folder / "trees.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    (folder / "scores" / "probe").mkdir(parents=True)
    (folder / "scores" / "probe" / "scores.jsonl").write_text('{"problem": "0"}\n')
    return lines


def read(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt") as file:
        return [json.loads(line) for line in file]


def write_data(path: Path, question: str = QUESTION) -> Path:
    path.write_text(json.dumps({"question": question, "answer": f"3 + 4 = 7\n#### {ANSWER}"}) + "\n")
    return path


def test_what_is_kept_names_its_problems_and_holds_none_of_their_text(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    assert call("out", tmp_path / "run", tmp_path / "kept").exit_code == 0
    [path] = (tmp_path / "kept").glob("*.jsonl.gz")
    for line in read(path):
        assert line["problem"].keys() == {"id", "metadata", "task", "digest"}
        assert "nuts" not in json.dumps(line)
    assert (tmp_path / "kept" / "scores" / "probe" / "scores.jsonl").exists()


def test_with_the_data_a_run_is_whole_again(tmp_path: Path) -> None:
    lines = write_run(tmp_path / "run")
    call("out", tmp_path / "run", tmp_path / "kept")
    result = call("in", tmp_path / "kept", "--data", write_data(tmp_path / "data.jsonl"), tmp_path / "again")
    assert result.exit_code == 0, result.output
    assert read(tmp_path / "again" / "trees.jsonl.gz") == lines
    assert (tmp_path / "again" / "settings.json").read_text() == (tmp_path / "run" / "settings.json").read_text()


def test_other_data_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    call("out", tmp_path / "run", tmp_path / "kept")
    data = write_data(tmp_path / "data.jsonl", "Ann has 5 nuts. How many?")
    result = call("in", tmp_path / "kept", "--data", data, tmp_path / "again")
    assert result.exit_code == 1
    assert "has another problem 0 than the tree" in result.output


def test_a_folder_without_trees_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    result = call("out", tmp_path / "run", tmp_path / "kept")
    assert result.exit_code == 2
    assert "holds no trees" in result.output


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.rglob("*.jsonl.gz")), ids=lambda path: path.parent.name)
def test_no_published_problem_is_kept_here(path: Path) -> None:
    for line in read(path):
        assert not {"question", "answer"} & set(line["problem"])
        assert line["question"] is None
        assert "/" not in (line["model"].get("path") or "")
