from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from arts_lite.tasks import TASKS, Columns, DataError, Problem, Rewards, load_grader, make_task
from arts_lite.tasks.problem import split_of

GSM8K = {"question": "How many clips?", "answer": "She sold <<48/2=24>>24.\n#### 1,072"}
MATH = {
    "problem": "Compute $1+1$.",
    "solution": "It is $\\boxed{2}$.",
    "answer": "2",
    "subject": "Algebra",
    "level": 1,
    "unique_id": "test/algebra/1.json",
}


def write(path: Path, rows: Iterable[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_gsm8k_rows_are_read_as_published(tmp_path: Path) -> None:
    [problem] = make_task("gsm8k").read(write(tmp_path / "a.jsonl", [GSM8K]))
    assert problem == Problem("0", "How many clips?", "1072", {})


def test_math_rows_are_read_as_published(tmp_path: Path) -> None:
    [problem] = make_task("math").read(write(tmp_path / "a.jsonl", [MATH]))
    assert (problem.id, problem.question, problem.answer) == ("test/algebra/1.json", "Compute $1+1$.", "2")
    assert problem.metadata["level"] == 1


def test_columns_can_be_named_and_files_packed(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"q": "x?", "a": 3, "name": "n1"}\n\n{"q": "y?", "a": 4, "name": "n2"}\n'))
    problems = list(make_task("jsonl", columns=Columns("q", "a", "name")).read(path))
    assert [(one.id, one.question, one.answer) for one in problems] == [("n1", "x?", "3"), ("n2", "y?", "4")]


def test_json_lists_and_csv_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"problem": "x?", "answer": "3"}]', encoding="utf-8")
    (tmp_path / "a.csv").write_text('problem,answer\n"x,\ny?",3\n', encoding="utf-8")
    assert [one.answer for one in make_task("jsonl").read(tmp_path / "a.json")] == ["3"]
    assert [one.question for one in make_task("jsonl").read(tmp_path / "a.csv")] == ["x,\ny?"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"problem": "x"}\n', "row 0 has no column 'answer'"),
        (b'{"problem": " ", "answer": 1}\n', "row 0 has a blank 'problem'"),
        (b'{"problem": "x", "answer": 1, "id": 7}\n{"problem": "y", "answer": 1, "id": 7}\n', "the id '7'"),
        (b"[1]\n", "not made of JSON objects"),
        (b"{", "no data file"),
        (b"\xff\xfe{", "no data file"),
        (b"[" * 100_000, "no data file"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_with_its_row(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=message.replace("[", r"\[")):
        list(make_task("jsonl").read(tmp_path / "a.jsonl"))


def test_a_missing_file_is_told() -> None:
    with pytest.raises(DataError, match="cannot be read"):
        list(make_task("jsonl").read("no/such/file.jsonl"))


def test_a_hub_name_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"arts-lite\[data\]"):
        list(make_task("math").read("hf:HuggingFaceH4/MATH-500"))


def test_a_hub_that_cannot_be_reached_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Offline:
        @staticmethod
        def load_dataset(*_args: object, **_options: object) -> None:
            raise ConnectionError("no route")

    monkeypatch.setitem(sys.modules, "datasets", Offline)
    with pytest.raises(DataError, match="the network"):
        list(make_task("math").read("hf:HuggingFaceH4/MATH-500"))


def test_prompts_are_overridden_by_text_or_file(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("Q: {question}\nSet {{}}:", encoding="utf-8")
    problem = Problem("0", "1+1?", "2")
    assert make_task("gsm8k").prompt(problem) == "1+1?"
    assert make_task("gsm8k", prompt=tmp_path / "p.txt").prompt(problem) == "Q: 1+1?\nSet {}:"
    assert make_task("gsm8k", prompt="{question} Hm.").prompt(problem) == "1+1? Hm."
    assert "1+1?" in make_task("countdown").prompt(problem)


@pytest.mark.parametrize("prompt", ["no place", "{question} {other}", "{question", "{question!x}", "{{question}}"])
def test_a_prompt_that_cannot_be_used_is_refused(prompt: str) -> None:
    with pytest.raises(ValueError, match="prompt"):
        make_task("gsm8k", prompt=prompt)


def test_a_grader_of_the_users_is_imported_and_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_grader.py").write_text("def last(answer, gold):\n    return answer[-1] == gold[-1]\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    task = make_task("gsm8k", grader=load_grader("my_grader:last"))
    assert task.grade(Problem("0", "q", "18"), "28")
    assert not task.grade(Problem("0", "q", "18"), "19")


@pytest.mark.parametrize("name", ["x", "no_such_module:f", "json:nothing", "json:decoder", "time:time", ":", "json:"])
def test_a_grader_that_cannot_be_used_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="grader"):
        load_grader(name)


def test_every_task_is_made_by_name() -> None:
    assert [make_task(name).name for name in TASKS] == list(TASKS)
    with pytest.raises(ValueError, match="must be one of countdown"):
        make_task("chess")
    with pytest.raises(ValueError, match="reads no file"):
        make_task("countdown").read("a.jsonl")


def test_rewards_must_be_positive_and_in_order() -> None:
    assert Rewards().of(True) == 10
    assert Rewards(2, 1).to_dict() == {"correct": 2, "wrong": 1}
    for correct, wrong in ((0, -1), (1, 1), (float("inf"), 1), (1, 0)):
        with pytest.raises(ValueError, match="reward"):
            Rewards(correct, wrong)


def test_splits_have_their_shares() -> None:
    splits = [split_of(f"problem {number}") for number in range(4000)]
    assert abs(splits.count("test") / 4000 - 0.05) < 0.02
    assert abs(splits.count("train") / 4000 - 0.9) < 0.02
