"""`arts-lite train verifier` as a user runs it."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner, Result
from fakes.verifier_training import write_base, write_sums
from tiny_gguf import TinyModel, write_tiny_gguf

from arts_lite.cli import main
from arts_lite.engine.gguf import read_header
from arts_lite.train import verifier_command
from arts_lite.train.verifier_command import verifier
from arts_lite.verifier import read_verifier

DOCS = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def as_many_threads_as_before() -> Iterator[None]:
    num_threads = torch.get_num_threads()
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("inputs")
    trees, base = write_sums(folder / "trees.jsonl", 12), write_base(folder / "base.gguf")
    return ["--trees", str(trees), "--base", str(base), "--device", "cpu", "--threads", "1", "--batch-tokens", "150"]


def train(*args: object) -> Result:
    return CliRunner().invoke(main, ["train", "verifier", *map(str, args)])


def test_a_run_ends_with_the_verifier_where_it_was_asked_for(inputs: list[str], tmp_path: Path) -> None:
    file = tmp_path / "v.gguf"
    options = ["--objective", "prm", "--labels", "hard", "--step-separator", r";\n", "--per-node", "--file-type", "F32"]
    result = train(*inputs, *options, "--epochs", 1, "--dev-share", 0.3, "--out", tmp_path / "run", "--export", file)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    assert "trees to learn from" in result.stderr
    assert re.search(r'verifier\.gguf: \d+ steps, \d+ s; dev \{"bon_accuracy"', result.stderr)
    assert file.read_bytes() == (tmp_path / "run" / "verifier.gguf").read_bytes()
    told = read_verifier(read_header(file))
    assert (told.objective, told.estimator, told.rules.step_separator) == ("prm", "hard", ";\n")
    assert told.metrics["options"]["per_problem"] is False
    again = train(*inputs, *options, "--epochs", 1, "--dev-share", 0.3, "--out", tmp_path / "run", "--quiet")
    assert (again.exit_code, again.output) == (0, "")
    other = train(*inputs, "--epochs", 2, "--out", tmp_path / "run")
    assert other.exit_code == 3
    assert "holds a run of other settings" in other.stderr


def test_ctrl_c_keeps_what_was_learnt_and_the_same_command_goes_on(
    inputs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    show = verifier_command.TrainingDisplay.show

    def pressed(self: verifier_command.TrainingDisplay, done: int, text: str) -> None:
        show(self, done, text)
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(verifier_command.TrainingDisplay, "show", pressed)
        result = train(*inputs, "--out", tmp_path / "run")
    assert result.exit_code == 130
    assert "interrupted after 1 steps; run the same command to go on" in result.stderr
    assert not (tmp_path / "run" / "verifier.gguf").exists()
    result = train(*inputs, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.stderr
    assert "; 1 steps are done" in result.stderr
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--objective", "guess"], "--objective"),
        (["--objective", "orm", "--estimator", "sum"], "orm has no option estimator; it has leaf_power, per_problem"),
        (["--labels", "hard"], "flow has no option labels; it has estimator, deviance"),
        (["--estimator", "sum"], "deviance is 'bce' with estimator 'sum'"),
        (["--mc-share", "2"], r"mc_share is 2.0, but must be in [0, 1]"),
        (["--leaf-weight", "nan"], "leaf_weight is nan"),
        (["--epochs", "0"], "epochs is 0.0, but must be > 0"),
        (["--learning-rate", "nan"], "learning_rate is nan"),
        (["--batch-tokens", "0"], "batch_tokens is 0"),
        (["--dev-share", "1"], "dev_share is 1.0"),
        (["--rewards", "0.1", "10"], "10"),
        (["--lora-dropout", "1"], "lora_dropout 1.0"),
        (["--question-template", "no place"], "question_template is 'no place'"),
        (["--step-separator", ""], "step_separator is empty"),
        (["--file-type", "Q9"], "--file-type"),
        (["--device", "abacus"], "device 'abacus' cannot be used here"),
        (["--export", "no-such-folder/v.gguf"], "there is no folder 'no-such-folder' for --export"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_written(
    args: list[str], message: str, inputs: list[str], tmp_path: Path
) -> None:
    result = train(*inputs, *args, "--out", tmp_path / "run")
    assert (result.exit_code, result.stdout) == (2, ""), result.stderr
    assert message in " ".join(result.stderr.split())
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_used_exits_with_3(inputs: list[str], tmp_path: Path) -> None:
    trees = inputs[:2]
    model = write_tiny_gguf(tmp_path / "m.gguf", TinyModel())
    for args, message in (
        ([*inputs, "--tuning", "lora"], "choose tuning full or head"),
        ([*inputs, "--template", str(model)], "takes no template"),
        (["--trees", str(tmp_path / "none"), "--base", "tiny"], "holds no tree file"),
        ([*trees, "--base", str(tmp_path / "none.gguf")], "cannot be read"),
    ):
        result = train(*args, "--device", "cpu", "--threads", "1", "--out", tmp_path / "run")
        assert result.exit_code == 3, result.stderr
        assert message in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_help_names_the_objectives() -> None:
    result = train("--help")
    assert result.exit_code == 0
    assert "flow|detailed-balance|subtb|prm|orm|rm" in "".join(result.stdout.split())


def test_every_option_is_documented() -> None:
    documented = set(re.findall(r"`(--[\w-]+)`", "\n".join(re.findall(r"(?m)^\| `--.*$", DOCS))))
    assert documented == {name for option in verifier.params for name in (*option.opts, *option.secondary_opts)}
    for option in verifier.params:
        if isinstance(option, click.Option) and isinstance(option.default, int) and option.default > 1:
            assert f"{option.default:,}" in DOCS, option.name
