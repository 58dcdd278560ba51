"""`arts-lite train proposer` as a user runs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner, Result

from arts_lite.cli import main
from arts_lite.train import commands
from arts_lite.train.commands import pick_device, pick_precision, proposer
from arts_lite.train.export import read_gguf

DOCS = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
SMALL = ["--dim", "32", "--layers", "1", "--heads", "1", "--kv-heads", "1", "--ff-dim", "32"]
SHORT = [*SMALL, "--num-rows", "2", "--samples", "40", "--threads", "1", "--device", "cpu"]


@pytest.fixture(autouse=True)
def as_many_threads_as_before() -> Iterator[None]:
    num_threads = torch.get_num_threads()
    yield
    torch.set_num_threads(num_threads)


def train(*args: object) -> Result:
    return CliRunner().invoke(main, ["train", "proposer", *map(str, args)])


def test_a_run_ends_with_the_model_where_it_was_asked_for(tmp_path: Path) -> None:
    result = train(*SHORT, "--out", tmp_path / "run", "--export", tmp_path / "tiny.gguf", "--file-type", "Q8_0")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    assert (tmp_path / "tiny.gguf").read_bytes() == (tmp_path / "run" / "proposer.gguf").read_bytes()
    assert read_gguf(tmp_path / "tiny.gguf")[0].dim == 32
    assert "parameters on cpu, " in result.stderr
    assert re.search(r"proposer\.gguf: \d+ samples, [\d,]+ tokens, \d+ s\n$", result.stderr)


def test_quiet_says_nothing(tmp_path: Path) -> None:
    result = train(*SHORT, "--out", tmp_path / "run", "--quiet")
    assert (result.exit_code, result.output) == (0, "")


def test_ctrl_c_keeps_what_was_learnt_and_the_same_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGINT)
    show = commands.TrainingDisplay.show

    def pressed(self: commands.TrainingDisplay, done: int, text: str) -> None:
        show(self, done, text)
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(commands.TrainingDisplay, "show", pressed)
        result = train(*SHORT, "--out", tmp_path / "run")
    assert result.exit_code == 130
    found = re.search(r"interrupted after (\d+) samples; run the same command to go on", result.stderr)
    assert found is not None
    assert 0 < int(found[1]) < 40
    assert signal.getsignal(signal.SIGINT) is before
    assert not (tmp_path / "run" / "proposer.gguf").exists()
    result = train(*SHORT, "--out", tmp_path / "run")
    assert result.exit_code == 0
    assert f"; {found[1]} samples are done" in result.stderr


def test_a_second_ctrl_c_ends_it_at_once() -> None:
    stopped: list[bool] = []
    with commands.stopped_by_interrupt(lambda: stopped.append(True)):
        os.kill(os.getpid(), signal.SIGINT)
        assert stopped == [True]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "Missing option '--out'"),
        (("--dim", "100"), "dim 100, num_heads 3 and num_kv_heads 1 must each divide"),
        (("--ff-dim", "100"), "multiples of 32"),
        (("--samples", "0"), "--samples"),
        (("--learning-rate", "0"), "--learning-rate"),
        (("--learning-rate", "nan"), "learning_rate nan"),
        (("--file-type", "Q4_0"), "--file-type"),
        (("--device", "abacus"), "device 'abacus' cannot be used here"),
        (("--export", "no-such-folder/tiny.gguf"), "there is no folder 'no-such-folder' for --export"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_written(args: tuple[str, ...], message: str, tmp_path: Path) -> None:
    out = ["--out", tmp_path / "run"] if args else []
    result = train(*args, *out)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


def test_other_settings_for_the_same_folder_exit_with_3(tmp_path: Path) -> None:
    assert train(*SHORT, "--out", tmp_path / "run", "--quiet").exit_code == 0
    result = train(*SHORT, "--out", tmp_path / "run", "--seed", "1")
    assert result.exit_code == 3
    assert "holds a run of other settings (seed)" in result.stderr


def test_a_damaged_checkpoint_exits_with_3(tmp_path: Path) -> None:
    assert train(*SHORT, "--out", tmp_path / "run", "--quiet").exit_code == 0
    (tmp_path / "run" / "checkpoint.pt").write_bytes(b"damaged")
    result = train(*SHORT, "--out", tmp_path / "run")
    assert result.exit_code == 3
    assert "remove it to start anew" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_every_option_is_documented() -> None:
    table = DOCS.partition("### arts-lite train proposer")[2].partition("\n#")[0]
    documented = set(re.findall(r"`(--[\w-]+)`", re.sub(r"(?m)^[^|].*$", "", table)))
    assert documented == {name for option in proposer.params for name in option.opts}
    for option in proposer.params:
        if isinstance(option, click.Option) and isinstance(option.default, int) and option.default > 1:
            assert f"{option.default:,}" in table, option.name


def test_help_names_the_trainers_without_torch_and_a_run_says_what_is_missing() -> None:
    code = "import sys\nsys.modules['torch'] = None\nfrom arts_lite.cli import main\nmain({})"
    told = subprocess.run(
        [sys.executable, "-c", code.format(["train", "--help"])], capture_output=True, text=True, timeout=120
    )
    assert told.returncode == 0, told.stderr
    assert "proposer" in told.stdout
    run = ["train", "proposer", "--out", "d"]
    told = subprocess.run([sys.executable, "-c", code.format(run)], capture_output=True, text=True, timeout=120)
    assert told.returncode == 3
    assert told.stderr.splitlines() == [
        "Error: arts_lite.train needs torch, which is not installed. Run: pip install 'arts-lite[train]'"
    ]


def test_devices_and_precisions() -> None:
    cpu = pick_device("cpu")
    assert cpu.type == "cpu"
    assert pick_precision("bf16", cpu) == "bf16"
    assert pick_precision("auto", torch.device("cpu")) in ("fp32", "bf16")
    if not torch.cuda.is_available():
        assert pick_device("auto").type == "cpu"
        with pytest.raises(click.UsageError, match="try --device cpu"):
            pick_device("cuda")
