from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from arts_lite.cli import main


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, ["grade", *arguments], input=stdin)


def lines(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


ROWS = (
    '{"id": 1, "answer": "So it is \\\\boxed{\\\\frac{1}{2}}.", "gold": "0.5"}\n\n'
    '{"id": 2, "answer": "18 dollars", "gold": "#### 19"}\n'
    '{"id": 3, "answer": null, "gold": 7}\n'
)


def test_each_row_comes_back_with_its_verdict(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(ROWS, encoding="utf-8")
    result = run(str(tmp_path / "rows.jsonl"))
    assert result.exit_code == 0
    assert [(row["id"], row["correct"], row["extracted"]) for row in lines(result)] == [
        (1, True, "\\frac{1}{2}"),
        (2, False, "18 dollars"),
        (3, False, None),
    ]
    assert "1 of 3 correct" in result.stderr


def test_rows_come_from_stdin_and_columns_are_named() -> None:
    result = run("-", "--answer-column", "a", "--gold-column", "b", stdin='{"a": "3", "b": "3"}\n')
    assert [row["correct"] for row in lines(result)] == [True]


def test_a_users_grader_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "length_grader.py").write_text("def same(a, b): return len(a) == len(b)\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    result = run("-", "--grader", "length_grader:same", stdin='{"answer": "12", "gold": "34"}\n')
    assert [row["correct"] for row in lines(result)] == [True]


@pytest.mark.parametrize(
    ("stdin", "message"),
    [("{", "line 1, is no JSON"), ("[]\n", "no JSON object"), ('\n{"answer": "1"}\n', "line 2, has no column 'gold'")],
)
def test_a_row_that_cannot_be_read_is_told_with_its_line(stdin: str, message: str) -> None:
    result = run("-", stdin=stdin)
    assert result.exit_code == 3
    assert message in result.stderr


def test_wrong_names_are_told() -> None:
    assert run("no-such-file.jsonl").exit_code == 3
    assert run("-", "--grader", "nothing").exit_code == 2
