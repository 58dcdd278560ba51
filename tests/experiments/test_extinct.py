"""The extinction set: found batch after batch, of whole trees, however often the run is interrupted."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.engine import FakeEngine
from fakes.models import rambling
from fakes.proposer import FakeProposer

from arts_lite.experiments import ExtinctRun, SdfConfig
from arts_lite.experiments.extinct import extinct
from arts_lite.experiments.folder import read_folder
from arts_lite.tasks import Problem, make_task


def small_run(folder: Path, *, never: int = 3, num_traces: int = 2, **options: int) -> ExtinctRun:
    """Every `never`-th problem has an answer that no trace comes to; the others are right whatever is said."""
    task = make_task("jsonl", grader=lambda _answer, gold: gold == "any")
    problems = (Problem(f"p{n}", f"question {n}?", "none" if n % never == 0 else "any") for n in range(10_000))
    proposer = FakeProposer(FakeEngine(rambling()))
    return ExtinctRun(proposer, task, problems, folder, SdfConfig(num_traces=num_traces), batch=6, **options)


def found(folder: Path) -> list[str]:
    lines = (folder / "extinct.txt").read_text().splitlines()
    assert lines[:2] == ["# seed 0", "# proposer None"]
    return lines[2:]


def unsolved(folder: Path) -> set[str]:
    trees = [tree for batch in sorted(folder.glob("batch-*")) for tree in read_folder(batch)]
    return {str((tree.origin.problem or {})["id"]) for tree in trees if not any(end.correct for end in tree.ends)}


def test_batches_are_drawn_until_enough_problems_are_found(tmp_path: Path) -> None:
    *_, last = small_run(tmp_path, num_wanted=5).run()
    ids = found(tmp_path)
    assert len(ids) == len(set(ids)) == last.num_found == 5
    assert set(ids) <= unsolved(tmp_path)
    assert {f"p{n}" for n in range(0, last.num_asked, 3)} <= unsolved(tmp_path)  # these have no right answer
    assert last.num_asked % 6 == 0


def test_of_the_last_batch_the_first_problems_are_taken_not_those_that_ended_first(tmp_path: Path) -> None:
    list(small_run(tmp_path, never=1, num_wanted=3).run())
    asked = [str((tree.origin.problem or {})["id"]) for tree in read_folder(tmp_path / "batch-0000")]
    assert asked[:3] != found(tmp_path) == ["p0", "p1", "p2"]


def test_of_a_problem_that_is_solved_no_further_traces_are_drawn(tmp_path: Path) -> None:
    *_, last = small_run(tmp_path, num_traces=16, num_wanted=100, max_problems=6).run()
    trees = read_folder(tmp_path / "batch-0000")
    numbers = {str((tree.origin.problem or {})["id"]): len(tree.ends) for tree in trees}
    assert {number for name, number in numbers.items() if name in unsolved(tmp_path)} == {16}
    assert all(number <= 4 for name, number in numbers.items() if name not in unsolved(tmp_path))
    assert last.num_asked == 6
    assert found(tmp_path) == ["p0", "p3"]


def test_what_can_be_asked_ends_the_search(tmp_path: Path) -> None:
    *_, last = small_run(tmp_path, num_wanted=500, max_problems=9).run()
    assert last.num_asked == 9
    assert set(found(tmp_path)) == unsolved(tmp_path)


def test_an_interrupted_search_goes_on_to_the_same_set(tmp_path: Path) -> None:
    list(small_run(tmp_path / "whole", num_wanted=6).run())
    run = small_run(tmp_path / "cut", num_wanted=6)
    for progress in run.run():
        if progress.num_asked >= 6:
            run.cancel()
    assert not (tmp_path / "cut" / "extinct.txt").exists()
    list(small_run(tmp_path / "cut", num_wanted=6).run())
    assert (tmp_path / "cut" / "extinct.txt").read_text() == (tmp_path / "whole" / "extinct.txt").read_text()


def test_a_tree_with_too_few_traces_or_a_right_one_is_not_extinct(tmp_path: Path) -> None:
    list(small_run(tmp_path, num_wanted=1, max_problems=6).run())
    trees = list(read_folder(tmp_path / "batch-0000"))
    assert set(extinct(trees, 2)) == unsolved(tmp_path)
    assert extinct(trees, 3) == []


def test_numbers_out_of_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="num_wanted is 0"):
        small_run(tmp_path, num_wanted=0)
