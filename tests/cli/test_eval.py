"""`arts-lite eval` and `arts-lite compare` on a random tiny model and the embedded one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fakes.verifiers import write_random_verifier

from arts_lite.cli import main
from arts_lite.cli.stages import StageDisplay

Eval = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run_eval(tmp_path: Path) -> Eval:
    def run(*args: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "arts_lite", "eval", *map(str, args), "--threads", "1"]
        return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, cwd=tmp_path)

    return run


@pytest.fixture
def tiny(tiny_model_path: Path) -> tuple[object, ...]:
    return "--proposer", tiny_model_path, "--max-tokens", "24", "--step-delimiter", "e", "--task", "arithmetic"


@pytest.fixture(scope="module")
def verifier_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_verifier(tmp_path_factory.mktemp("verifier") / "random-flow.gguf", "log_flow")


@pytest.fixture(scope="module")
def order_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_verifier(tmp_path_factory.mktemp("verifier") / "random-rm.gguf", "score")


def test_the_embedded_proposer_is_evaluated_with_a_verifier_added_later(
    run_eval: Eval, verifier_path: Path, tmp_path: Path
) -> None:
    common = (
        "--task",
        "arithmetic",
        "--num-problems",
        "6",
        "--n",
        "2,4",
        "--max-tokens",
        "120",
        "--out",
        tmp_path / "d",
    )
    first = run_eval(*common)
    assert first.returncode == 0, first.stderr
    assert "majority" in first.stdout
    pool = (tmp_path / "d" / "trees.jsonl.gz").read_bytes()
    strategies = ("--strategies", "best-of-n,vote,weighted-vote,vote+stop,beam", "--prefixes", "--num-rollouts", "3")
    second = run_eval(*common, "--verifier", f"flow={verifier_path}", *strategies, "--json", "--quiet")
    assert (second.returncode, second.stderr) == (0, "")
    assert (tmp_path / "d" / "trees.jsonl.gz").read_bytes() == pool
    results = json.loads(second.stdout)
    labels = {one["label"]: one for one in results["methods"]}
    assert {"best-of-n:flow", "best-of-n:flow/min", "weighted-vote:flow", "vote+stop", "beam:flow"} <= labels.keys()
    assert [point["k"] for point in labels["beam:flow"]["points"]] == [2, 4]
    assert results["num_problems"] == 6
    assert len(results["verifiers"]["flow"]["sha256"]) == 64
    assert {one["scorer"] for one in results["prefixes"]["scorers"]} == {"logprob", "flow"}
    again = CliRunner().invoke(main, ["eval", "results", str(tmp_path / "d"), "--json"])
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout) == results
    table = CliRunner().invoke(main, ["eval", "results", str(tmp_path / "d"), "--all"]).stdout
    assert "best-of-n:flow/product" in table


def test_a_verifier_that_is_not_there_is_told_before_anything_is_sampled(run_eval: Eval, tmp_path: Path) -> None:
    options = ("--task", "countdown", "--num-problems", "2", "--n", "2", "--out", tmp_path / "d")
    result = run_eval(*options, "--verifier", tmp_path / "missing.gguf")
    assert result.returncode == 3
    assert "missing.gguf does not exist; check the path" in result.stderr
    assert not (tmp_path / "d").exists()


def test_what_needs_flows_is_left_out_with_a_verifier_that_only_orders(
    run_eval: Eval, order_path: Path, tmp_path: Path
) -> None:
    common = ("--task", "arithmetic", "--num-problems", "2", "--n", "2", "--max-tokens", "120", "--out", tmp_path / "d")
    told = run_eval(*common, "--verifier", f"rm={order_path}", "--strategies", "best-of-n,flow,beam")
    assert told.returncode == 0, told.stderr
    assert "flow-n2-rm: 0/2, left out: rm gives no flows" in told.stderr
    results = results_of(tmp_path / "d")
    assert {one["label"] for one in results["methods"] if one["live"]} == {"beam:rm"}
    assert results["calibration"] == {"rm": None}


def results_of(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return told


def test_the_extinction_set_is_judged_on_fresh_samples(
    run_eval: Eval, tiny: tuple[object, ...], tmp_path: Path
) -> None:
    common = (*tiny, "--num-problems", "5", "--n", "2", "--quiet")
    assert run_eval(*common, "--out", tmp_path / "d").returncode == 0
    ids = tmp_path / "ids.txt"
    chosen = CliRunner().invoke(main, ["eval", "extinct", str(tmp_path / "d"), "-o", str(ids)])
    assert "5 of 5 problems" in chosen.stderr  # a random model solves nothing
    ids.write_text("\n".join(ids.read_text(encoding="utf-8").splitlines()[:5]), encoding="utf-8")
    stale = run_eval(*common, "--only", ids, "--out", tmp_path / "e")
    assert stale.returncode == 2
    assert "give another --seed" in stale.stderr
    fresh = run_eval(*common, "--only", ids, "--seed", "1", "--out", tmp_path / "e")
    assert fresh.returncode == 0, fresh.stderr
    assert results_of(tmp_path / "e")["num_problems"] == 3
    mixed = CliRunner().invoke(main, ["compare", str(tmp_path / "d"), str(tmp_path / "e")])
    assert mixed.exit_code == 3
    assert "are of different problems: 2 are in the first one only, 0" in mixed.stderr


def test_runs_of_the_same_problems_are_compared(run_eval: Eval, tiny: tuple[object, ...], tmp_path: Path) -> None:
    for seed in ("0", "1"):
        told = run_eval(*tiny, "--num-problems", "3", "--n", "2", "--seed", seed, "--out", tmp_path / seed)
        assert told.returncode == 0, told.stderr
    both = [str(tmp_path / "0"), str(tmp_path / "1")]
    told = json.loads(CliRunner().invoke(main, ["compare", *both, "--json"]).stdout)
    assert (told["num_problems"], told["runs"]) == (3, both)
    assert {row["k"] for row in told["rows"]} == {1, 2}
    assert "majority" in CliRunner().invoke(main, ["compare", *both]).stdout
    assert "--k is 7" in CliRunner().invoke(main, ["compare", *both, "--k", "7"]).stderr


def test_other_settings_end_with_one_clear_error(run_eval: Eval, tiny: tuple[object, ...], tmp_path: Path) -> None:
    common = (*tiny, "--num-problems", "2", "--n", "2", "--out", tmp_path / "d")
    assert run_eval(*common).returncode == 0
    other = run_eval(*common, "--seed", "5")
    assert other.returncode == 3
    assert "search.seed is 0 there and 5 here" in other.stderr
    assert "Traceback" not in other.stderr
    not_one = run_eval(*common, "--verifier", tmp_path / "none.gguf")
    assert not_one.returncode == 3
    assert "none.gguf" in not_one.stderr
    unknown = run_eval(*common, "--reference", "best")
    assert unknown.returncode == 2
    assert "reference is 'best', but must be one of random" in unknown.stderr


def test_ctrl_c_keeps_what_is_complete(tiny: tuple[object, ...], tmp_path: Path) -> None:
    options = [*map(str, tiny), "--num-problems", "2000", "--n", "2", "--out", str(tmp_path / "d"), "--threads", "1"]
    trees = tmp_path / "d" / "trees.jsonl.gz"
    command = [sys.executable, "-m", "arts_lite", "eval", *options]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        while not (trees.exists() and trees.stat().st_size) and process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.01)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "pool: " in errors
    results = CliRunner().invoke(main, ["eval", "results", str(tmp_path / "d"), "--json"])
    assert 0 < json.loads(results.stdout)["num_problems"] < 2000
    assert json.loads(results.stdout)["num_missing"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "missing --task"),
        (("--task", "arithmetic"), "missing --out"),
        (("--n", "2,x"), "--n is '2,x'"),
        (("--n", "0"), "--n is '0'"),
        (("--strategies", "chess"), "strategy is 'chess'"),
        (("--strategies", "beam"), "is guided by the score of every step"),
        (("--strategies", "flow"), "flow"),
        (("--verifier", "a=x", "--verifier", "a=y"), "two verifiers are called 'a'"),
        (("--strategies", "sdf", "--set", "speed=3"), "--set names 'speed'"),
        (("--strategies", "sdf", "--set", "fork_prob=3"), "fork_prob is 3"),
        (("--only", "no-such-file"), "cannot be read"),
    ],
)
def test_wrong_usage_is_told_before_a_model_is_loaded(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    common = ("--task", "arithmetic", "--num-problems", "2", "--out", str(tmp_path / "d"), "--proposer", "none")
    given = arguments if "missing" in message else (*common, *arguments)
    result = CliRunner().invoke(main, ["eval", *given])
    assert result.exit_code == 2, result.output
    assert message in result.stderr


def test_ids_that_there_are_not_are_told(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("arithmetic-none\n", encoding="utf-8")
    only = ["--only", str(tmp_path / "ids.txt"), "--out", str(tmp_path / "d")]
    result = CliRunner().invoke(main, ["eval", "--task", "arithmetic", "--num-problems", "2", *only])
    assert result.exit_code == 2
    assert "names 1 problems that there are not, such as 'arithmetic-none'" in result.stderr


def test_one_run_or_no_evaluation_cannot_be_compared(tmp_path: Path) -> None:
    assert "needs two evaluations" in CliRunner().invoke(main, ["compare", str(tmp_path)]).stderr
    nothing = CliRunner().invoke(main, ["compare", str(tmp_path), str(tmp_path)])
    assert nothing.exit_code == 3
    assert "results.json cannot be read" in nothing.stderr


def test_stages_are_told_in_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    now = iter((0.0, 1.0, 31.0, 31.0, 31.0, 32.0, 33.0))
    with StageDisplay(clock=lambda: next(now)) as display:
        display.show("pool", 1, 9, "slow")
        display.show("pool", 2, 9)
        display.show("flow", 9, 9)
    assert capsys.readouterr().err.splitlines() == ["pool: 2/9", "flow: 9/9"]
