"""`arts-lite miniature` and `ablate` from the command line: their plans, and what they say when a stage fails."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from arts_lite.cli import main
from arts_lite.experiments.ablation import BASELINES, Ablation
from arts_lite.experiments.miniature import VERIFIERS, Miniature
from arts_lite.experiments.pipeline import Pipeline
from arts_lite.experiments.sizes import FULL, FULL_ABLATION, QUICK, QUICK_ABLATION
from arts_lite.experiments.stage import Stage


def planned(tmp_path: Path, *args: str) -> tuple[list[str], float]:
    result = CliRunner().invoke(main, [*args, "--out", str(tmp_path / "run"), "--dry-run", "--jobs", "2"])
    assert result.exit_code == 0, result.output
    assert not (tmp_path / "run").exists()
    *lines, last = result.stdout.splitlines()
    minutes = re.fullmatch(r"\d+ stages, about (\d+) minutes 2 side by side on two CPU cores, \1 to do", last)
    assert minutes is not None, last
    return [line.split()[3] for line in lines], float(minutes[1])


def test_the_quick_plan_is_printed_with_its_minutes(tmp_path: Path) -> None:
    names, minutes = planned(tmp_path, "miniature", "--quick")
    assert names[0] == "trees-arithmetic-0"
    assert [f"verifier-arithmetic-0-{kind}" for kind in VERIFIERS] == names[1:7]
    assert {"bank", "grpo-0", "eval-arithmetic", "search", "eval-policy-0", "extinct-0", "eval-extinct-0"} <= set(names)
    assert minutes <= 10


def test_the_whole_plan_has_three_seeds_and_countdown_within_ninety_minutes(tmp_path: Path) -> None:
    names, minutes = planned(tmp_path, "miniature")
    assert len(names) == len(set(names))
    assert {"grpo-2", "eval-extinct-2", "verifier-countdown-0-rm", "eval-countdown"} <= set(names)
    assert "grpo-countdown-0" not in names
    assert minutes <= 90


def test_a_proposer_from_scratch_comes_first_and_is_what_all_use(tmp_path: Path) -> None:
    names, _ = planned(tmp_path, "miniature", "--quick", "--from-scratch")
    assert names[0] == "proposer"
    stages = Miniature(QUICK, 1, from_scratch=True).stages()
    assert all("proposer" in stage.needs for stage in stages[1:])
    asked = [stage for stage in stages if stage.name.startswith(("trees", "bank", "grpo", "verifier"))]
    assert all("proposer/proposer.gguf" in stage.command for stage in asked)


def test_the_deciding_experiment_varies_target_ranking_and_trees(tmp_path: Path) -> None:
    names, _ = planned(tmp_path, "ablate")
    of_largest = 2 + len(BASELINES) + 1  # leaves ranked with either target, baselines, the probe
    assert len(names) == 2 + 2 * 2 * 3 + of_largest + 2
    assert planned(tmp_path, "ablate", "--quick")[1] <= 10
    runs = {stage.command for stage in Ablation(FULL_ABLATION).stages() if "--mc-share" in stage.command}
    assert len(runs) == 12 + 2
    for quick in Ablation(QUICK_ABLATION).stages()[2:-2]:
        assert quick.needs == ("trees-countdown", "trees-arithmetic")


@pytest.mark.parametrize("sizes", [FULL, QUICK])
def test_what_a_stage_reads_is_what_the_stages_that_it_needs_write(sizes: object) -> None:
    stages = Miniature(sizes, 2).stages()  # type: ignore[arg-type]
    outputs = {stage.name for stage in stages}
    for stage in stages:
        named = {re.sub(r"^[a-z0-9-]+=", "", part).split("/")[0] for part in stage.command} & outputs
        assert named - {stage.name} == set(stage.needs), stage.name


def parsed(arguments: list[str]) -> str:
    """Parse a command line as the program does, without running it; returns the command's name."""
    command: click.Command = main
    context = click.Context(main)
    while isinstance(command, click.Group) and not getattr(command, "invoke_without_command", False):
        name, command, arguments = command.resolve_command(context, arguments)  # type: ignore[assignment]
        context = click.Context(command, info_name=name, parent=context)
    command.make_context(command.name, arguments, parent=context.parent)
    return str(command.name)


@pytest.mark.parametrize(
    "stages", [Miniature(FULL, 1, threads=2, from_scratch=True).stages(), Ablation(FULL_ABLATION, threads=2).stages()]
)
def test_every_stage_is_a_command_that_the_program_understands(stages: list[Stage]) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("accelerate")
    seen = set()
    for stage in stages:
        assert stage.command[:2] == ("-m", "arts_lite")
        seen.add(parsed(list(stage.command[2:])))
    assert {"sdf", "verifier"} < seen


def test_draws_that_must_be_fresh_have_seeds_of_their_own() -> None:
    stages = {stage.name: stage.command for stage in Miniature(FULL, 3).stages()}

    def option(stage: str, name: str) -> str:
        return stages[stage][stages[stage].index(name) + 1]

    for seed in range(3):
        assert option(f"extinct-{seed}", "--seed") != option(f"eval-extinct-{seed}", "--seed")
        assert option(f"extinct-{seed}", "--problem-seed") == option(f"eval-extinct-{seed}", "--problem-seed")
        assert option(f"grpo-{seed}", "--problem-seed") == option(f"trees-arithmetic-{seed}", "--problem-seed")
        assert option(f"grpo-{seed}", "--num-problems") == option(f"trees-arithmetic-{seed}", "--num-problems")
    splits = {name: option(name, "--split") for name in ("trees-arithmetic-0", "bank", "eval-arithmetic")}
    assert splits == {"trees-arithmetic-0": "train", "bank": "dev", "eval-arithmetic": "test"}


def test_options_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    arguments = ["miniature", "--out", str(tmp_path), "--from-scratch", "--proposer", "x.gguf"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "leave --proposer out" in result.stderr
    missing = CliRunner().invoke(main, ["ablate", "--out", str(tmp_path), "--proposer", "no.gguf"])
    assert missing.exit_code == 3
    assert "cannot be read" in missing.stderr


def test_without_the_trainers_the_first_message_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import arts_lite.cli.miniature as command\n"
        "command.find_spec = lambda name: None\n"
        "from arts_lite.cli import main; main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, "miniature", "--quick", "--out", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 3
    assert "arts-lite[grpo,report]" in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_dry_run_tells_what_is_done_and_what_has_other_settings(tmp_path: Path) -> None:
    out = tmp_path / "run"
    first, second = Miniature(QUICK, 1).stages()[:2]
    Pipeline(out, [Stage(first.name, ("-c", ""), settings={})]).run()
    result = CliRunner().invoke(main, ["miniature", "--quick", "--out", str(out), "--dry-run"])
    lines = result.stdout.splitlines()
    assert lines[0].endswith("other settings")
    assert lines[1].endswith(second.name)
