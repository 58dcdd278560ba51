"""`arts-lite report`, and `solve --html`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fakes.engine import FakeEngine
from fakes.models import rambling
from fakes.pictured import family
from fakes.proposer import FakeProposer

from arts_lite.cli import main
from arts_lite.solver import Solver, SolverConfig
from arts_lite.tree import TreeWriter, read_trees


def run(*args: str) -> Result:
    return CliRunner().invoke(main, ["report", *args])


def data_of(page: Path) -> Any:
    text = page.read_text(encoding="utf-8")
    return json.loads(text.split('<script type="application/json" id="data">')[1].split("</script>")[0])


def questions(page: Path) -> list[str]:
    return [tree["question"] for tree in data_of(page)["trees"]]


@pytest.fixture
def trees(tmp_path: Path) -> Path:
    path = tmp_path / "trees.jsonl.gz"
    with TreeWriter(path) as writer:
        for number in range(4):
            writer.write(family(f"question {number}", problem={"id": f"p{number}", "answer": "42"}))
    return path


@pytest.mark.parametrize(
    ("args", "chosen"),
    [
        ([], ["question 0"]),
        (["--index", "2"], ["question 2"]),
        (["--id", "p3", "--index", "1"], ["question 1", "question 3"]),
        (["--id", "p1", "--index", "1"], ["question 1"]),
    ],
)
def test_the_trees_that_are_named_are_on_the_page(
    trees: Path, tmp_path: Path, args: list[str], chosen: list[str]
) -> None:
    result = run("tree", str(trees), *args, "-o", str(tmp_path / "page.html"))
    assert (result.exit_code, result.output) == (0, f"{tmp_path / 'page.html'}\n")
    assert questions(tmp_path / "page.html") == chosen


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--index", "9"], "has 4 trees, but none with index 9"),
        (["--id", "p9", "--index", "0"], "none with id 'p9'"),
        ([f"--index={number}" for number in range(101)], "101 trees are asked for"),
    ],
)
def test_a_tree_that_is_not_there_is_told(trees: Path, tmp_path: Path, args: list[str], message: str) -> None:
    result = run("tree", str(trees), *args, "-o", str(tmp_path / "page.html"))
    assert result.exit_code == 3
    assert message in result.output
    assert not (tmp_path / "page.html").exists()


def solve(monkeypatch: pytest.MonkeyPatch, *args: str) -> Result:
    def from_gguf(proposer: str, verifier: object, config: SolverConfig, **options: object) -> Solver:
        return Solver(FakeProposer(FakeEngine(rambling(3))), config=config)

    monkeypatch.setattr(Solver, "from_gguf", from_gguf)
    return CliRunner().invoke(main, ["solve", "--proposer", "fake.gguf", "--n", "4", *args])


def test_solve_draws_the_tree_that_it_searched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page, trace = tmp_path / "page.html", tmp_path / "trees.jsonl"
    result = solve(monkeypatch, "How many?", "--strategy", "sdf", "--html", str(page), "--trace", str(trace))
    assert result.exit_code in (0, 1)
    assert f"the page of 1 tree: {page}" in result.stderr
    [drawn], [kept] = data_of(page)["trees"], list(read_trees(trace))
    assert drawn["nodes"]["text"] == list(kept.texts)
    assert drawn["settings"]["strategy"] == "sdf"


def test_trees_stand_in_the_order_of_their_questions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "q.txt").write_text("".join(f"question {number}\n" for number in range(103)))
    result = solve(monkeypatch, "--file", str(tmp_path / "q.txt"), "--html", str(tmp_path / "page.html"))
    assert len(questions(tmp_path / "page.html")) == 100
    assert questions(tmp_path / "page.html") == sorted(
        questions(tmp_path / "page.html"), key=lambda one: int(one.split()[1])
    )
    assert "3 trees more had no room on the page; --trace keeps all" in result.stderr


def test_a_page_that_cannot_be_written_is_told_before_the_search(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    result = solve(monkeypatch, "How many?", "--html", str(tmp_path / "none" / "page.html"))
    assert result.exit_code == 3
    assert "name a file in a folder that exists" in result.output
    assert "loading" not in result.output


def test_a_page_that_cannot_be_written_in_the_end_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "page.html.new").mkdir()
    result = solve(monkeypatch, "How many?", "--html", str(tmp_path / "page.html"))
    assert result.exit_code == 3
    assert "page.html cannot be written" in result.output


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    result = run(str(tmp_path / "missing"), "-o", str(tmp_path / "out"))
    assert result.exit_code == 3
    assert f"{tmp_path / 'missing'} does not exist" in result.output


def test_folders_are_reported_on(trees: Path, tmp_path: Path) -> None:
    result = run(str(trees.parent), "-o", str(tmp_path / "out"))
    assert (result.exit_code, result.output) == (0, f"{tmp_path / 'out/report.md'}\n{tmp_path / 'out/report.html'}\n")
    assert run("-o", str(tmp_path / "out")).exit_code == 2
    assert run(str(tmp_path / "out"), "-o", str(tmp_path / "more")).exit_code == 3


def test_without_arguments_the_help_is_shown() -> None:
    result = run()
    assert "report tree FILE -o PAGE" in " ".join(result.output.split())
