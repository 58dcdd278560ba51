"""`arts-lite sdf` as a user runs it, on a tiny model."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner

from arts_lite.cli import main
from arts_lite.cli.sdf_progress import ProgressDisplay, counters
from arts_lite.experiments import SdfProgress
from arts_lite.experiments.folder import read_folder

Sdf = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def sdf(tiny_model_path: Path) -> Sdf:
    def run(*args: object) -> subprocess.CompletedProcess[str]:
        options = ["--proposer", tiny_model_path, "--num-traces", "3", "--max-tokens", "24", "--threads", "1"]
        command = [sys.executable, "-m", "arts_lite", "sdf", *options, "--step-delimiter", "e", *args]
        folder = tiny_model_path.parent  # not the checkout, which shadows the installed package
        arguments = [str(part) for part in command]
        return subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False, cwd=folder)

    return run


def usage_error(*args: str) -> str:
    result = CliRunner().invoke(main, ["sdf", *args])
    assert result.exit_code == 2, result.output
    return result.stderr


def test_generated_problems_become_trees_and_are_counted(sdf: Sdf, tmp_path: Path) -> None:
    first = sdf("--task", "countdown", "--num-problems", "3", "--out", tmp_path / "d")
    assert first.returncode == 0, first.stderr
    assert "3 of 3 trees" in first.stderr
    again = sdf("--task", "countdown", "--num-problems", "3", "--out", tmp_path / "d")
    assert "3 of them before" in again.stderr
    trees = list(read_folder(tmp_path / "d"))
    assert len({(tree.origin.problem or {})["id"] for tree in trees}) == len(trees) == 3
    assert all(len(str(tree.origin.model["sha256"])) == 64 for tree in trees)
    stats = CliRunner().invoke(main, ["sdf", "stats", str(tmp_path / "d"), "--json"])
    assert json.loads(stats.stdout)["num_trees"] == 3
    assert "leaves per tree" in CliRunner().invoke(main, ["sdf", "stats", str(tmp_path / "d")]).stdout


def test_a_file_of_problems_is_read_with_its_columns(sdf: Sdf, tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text('{"q": "1+1?", "a": "2"}\n{"q": "1+2?", "a": "3"}\n', encoding="utf-8")
    columns = ("--question-column", "q", "--answer-column", "a", "--prompt", "Q: {question}")
    result = sdf("--task", "jsonl", "--data", tmp_path / "q.jsonl", *columns, "--out", tmp_path / "d", "--quiet")
    assert (result.returncode, result.stderr) == (0, "")
    assert sorted(tree.origin.question for tree in read_folder(tmp_path / "d")) == ["Q: 1+1?", "Q: 1+2?"]


def test_other_settings_end_with_one_clear_error(sdf: Sdf, tmp_path: Path) -> None:
    sdf("--task", "arithmetic", "--num-problems", "1", "--out", tmp_path / "d")
    result = sdf("--task", "arithmetic", "--num-problems", "1", "--out", tmp_path / "d", "--seed", "5")
    assert result.returncode == 3
    assert "search.seed is 0 there and 5 here" in result.stderr
    assert "Traceback" not in result.stderr


def test_reproducible_runs_make_equal_files_and_are_not_mixed_with_others(sdf: Sdf, tmp_path: Path) -> None:
    common = ("--task", "arithmetic", "--num-problems", "4", "--temperature", "1", "--compress", "none")
    files = []
    for folder in ("d", "e"):
        result = sdf(*common, "--reproducible", "--out", tmp_path / folder)
        assert result.returncode == 0, result.stderr
        files.append((tmp_path / folder / "trees.jsonl").read_bytes())
    assert files[0] == files[1]
    settings = json.loads((tmp_path / "d" / "settings.json").read_text(encoding="utf-8"))
    assert (settings["engine"]["reproducible"], settings["engine"]["threads"]) == (True, 1)
    assert settings["engine"]["processor"]
    for change in ((), ("--reproducible", "--threads", "2")):
        result = sdf(*common, *change, "--out", tmp_path / "d")
        assert result.returncode == 3
        assert "holds trees of other settings: engine." in result.stderr


def test_ctrl_c_keeps_the_trees_that_are_complete(sdf: Sdf, tiny_model_path: Path, tmp_path: Path) -> None:
    problem = ["--task", "countdown", "--num-problems", "2000", "--out", str(tmp_path / "d"), "--compress", "none"]
    options = ["--proposer", str(tiny_model_path), "--num-traces", "3", "--max-tokens", "24", "--threads", "1"]
    command = [sys.executable, "-m", "arts_lite", "sdf", *options, *problem]
    trees = tmp_path / "d" / "trees.jsonl"
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        while not (trees.exists() and trees.stat().st_size) and process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.01)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "of 2000 trees" in errors
    assert 0 < len(list(read_folder(tmp_path / "d"))) < 2000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "missing --task"),
        (("--task", "countdown"), "missing --out"),
        (("--task", "countdown", "--out", "d"), "--num-problems"),
        (("--task", "countdown", "--out", "d", "--proposer", "p"), "--num-problems"),
        (("--task", "countdown", "--out", "d", "--proposer", "p", "--data", "x"), "leave --data out"),
        (("--task", "gsm8k", "--out", "d", "--proposer", "p"), "needs --data"),
        (("--task", "arithmetic", "--out", "d", "--proposer", "p", "--num-problems", "1", "--shard", "3/2"), "shard"),
        (("--task", "arithmetic", "--out", "d", "--proposer", "p", "--num-problems", "1", "--split", "x"), "split"),
        (("--task", "arithmetic", "--out", "d", "--proposer", "p", "--num-problems", "1", "--prompt", "x"), "prompt"),
        (
            ("--task", "arithmetic", "--out", "d", "--proposer", "p", "--num-problems", "1", "--id-column", "x"),
            "columns",
        ),
        (
            ("--task", "arithmetic", "--out", "d", "--proposer", "p", "--num-problems", "1", "--reward-wrong", "0"),
            "reward",
        ),
        (
            (
                "--task",
                "chess",
            ),
            "chess",
        ),
    ],
)
def test_wrong_usage_is_told_before_a_model_is_loaded(arguments: tuple[str, ...], message: str) -> None:
    assert message in usage_error(*arguments)


def test_missing_files_are_told(tmp_path: Path) -> None:
    common = ["sdf", "--task", "jsonl", "--out", str(tmp_path / "d"), "--proposer", str(tmp_path / "no.gguf")]
    (tmp_path / "q.jsonl").write_text('{"problem": "1+1?", "answer": "2"}\n', encoding="utf-8")
    for data in ("no-such.jsonl", str(tmp_path / "q.jsonl")):
        result = CliRunner().invoke(main, [*common, "--data", data])
        assert result.exit_code == 3, result.output
    assert CliRunner().invoke(main, ["sdf", "stats", str(tmp_path / "nothing")]).exit_code == 3


def test_progress_tells_speed_share_and_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    progress = SdfProgress(12, 2, 1, 33, 40, 10, 5000, 10.0, "too long")
    assert counters(progress) == "1.00 trees/s, 500 tokens/s, 25.0% of 40 leaves correct, 0:00:20 left"
    now = iter((0.0, 1.0, 31.0, 31.0))
    with ProgressDisplay(clock=lambda: next(now)) as display:
        display.show(progress)
        display.show(progress)
    display.end(progress, Path("d"))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("12/33 trees, 1.00 trees/s")
    assert lines[1].startswith("12 of 33 trees in d (2 of them before)")
    assert lines[2] == "1 problems failed; the last one: too long"
