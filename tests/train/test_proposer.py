"""The run that makes a tiny proposer: it learns, resumes exactly, and outlives SIGKILL."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.training import CONFIG, training

from arts_lite.engine.gguf import read_header
from arts_lite.errors import TrainingError
from arts_lite.train.export import read_gguf
from arts_lite.train.mixture import MIXTURE
from arts_lite.train.proposer import ProposerConfig
from arts_lite.train.transformer import Shape

SCRIPT = Path(__file__).parents[1] / "fakes" / "training.py"


@pytest.fixture(autouse=True)
def as_many_threads_as_before() -> Iterator[None]:
    num_threads = torch.get_num_threads()
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert training(folder).train() == folder / "proposer.gguf"
    return folder


def metrics(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{name: value for name, value in json.loads(line).items() if name != "seconds"} for line in lines]


def assert_equal_runs(folder: Path, other: Path) -> None:
    assert (folder / "proposer.gguf").read_bytes() == (other / "proposer.gguf").read_bytes()
    assert metrics(folder) == metrics(other)


def test_a_run_ends_with_a_model_its_settings_and_its_loss_curve(finished: Path) -> None:
    header = read_header(finished / "proposer.gguf")
    rows = metrics(finished)
    shape, _ = read_gguf(finished / "proposer.gguf")
    told = json.loads((finished / "config.json").read_text(encoding="utf-8"))
    assert shape == CONFIG.shape
    assert header.metadata["arts.tasks"] == [b"countdown", b"arithmetic"]
    assert header.metadata["arts.training.num_samples"] == rows[-1]["num_samples"] >= CONFIG.num_samples
    assert header.metadata["arts.training.num_tokens"] == rows[-1]["num_tokens"]
    assert told["config"]["shape"]["dim"] == 32
    assert {one["family"] for one in told["config"]["mixture"]} == {"CountdownDifficulty", "ArithmeticDifficulty"}
    assert [row["step"] for row in rows[:-1]] == list(range(4, rows[-1]["step"] + 1, 4))
    assert rows[-1]["loss"] is None
    assert rows[-1]["dev_loss"] < rows[0]["dev_loss"] < 6


def test_a_run_that_is_stopped_and_resumed_ends_as_if_it_had_not_been(finished: Path, tmp_path: Path) -> None:
    num_steps = 0
    for stop_after in (1, 5, 4):
        one = training(tmp_path)
        assert one.step == num_steps
        one._tell = lambda *_, one=one, last=num_steps + stop_after: one.stop() if one.step == last else None  # type: ignore[misc]
        assert one.train() is None
        num_steps += stop_after
    assert not (tmp_path / "proposer.gguf").exists()
    assert training(tmp_path).train() == tmp_path / "proposer.gguf"
    assert_equal_runs(tmp_path, finished)


@pytest.mark.timeout(600)  # two processes that import torch, on a machine that may be busy
def test_a_run_that_is_killed_and_resumed_ends_as_if_it_had_not_been(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    for num_steps in (5, 2):  # the second one before a checkpoint of its own
        with subprocess.Popen([sys.executable, SCRIPT, folder], stdout=-1, stderr=-1) as process:
            assert process.stdout
            for _ in range(num_steps):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
            process.communicate()
        assert process.returncode == -signal.SIGKILL
    assert not (folder / "proposer.gguf").exists()
    assert training(folder).train() is not None
    assert_equal_runs(folder, finished)


def test_a_finished_run_only_writes_its_file_again(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in ("config.json", "metrics.jsonl", "checkpoint.pt"):
        (folder / name).write_bytes((finished / name).read_bytes())
    one = training(folder)
    one._learn = lambda: pytest.fail("there is nothing left to learn")  # type: ignore[assignment]
    one.train()
    assert_equal_runs(folder, finished)


def test_another_seed_makes_another_model(finished: Path, tmp_path: Path) -> None:
    one = training(tmp_path, dataclasses.replace(CONFIG, seed=1, num_samples=20))
    two = training(tmp_path / "b", dataclasses.replace(CONFIG, num_samples=20))
    assert not torch.equal(one.model.embedding.weight, two.model.embedding.weight)
    assert one._batch(0, "train").tokens.tolist() != two._batch(0, "train").tokens.tolist()


def test_other_settings_are_refused(finished: Path) -> None:
    with pytest.raises(TrainingError, match=r"run of other settings \(learning_rate, seed\)"):
        training(finished, dataclasses.replace(CONFIG, seed=1, learning_rate=0.1))


def test_a_full_disk_ends_the_run_with_the_checkpoint_before(
    tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]], finished: Path
) -> None:
    one = training(tmp_path)
    one._tell = lambda *_: one.stop() if one.step == 3 else None
    one.train()
    with full_disk(10_000), pytest.raises(TrainingError, match="Make room and run the same command again"):
        training(tmp_path).train()
    assert training(tmp_path).train() is not None
    assert_equal_runs(tmp_path, finished)


def test_samples_that_are_too_long_are_counted(tmp_path: Path) -> None:
    one = training(tmp_path, dataclasses.replace(CONFIG, mixture=MIXTURE))
    one._learn()
    assert one.num_left_out > 0


def test_bf16_learns_too(tmp_path: Path) -> None:
    one = training(tmp_path, dataclasses.replace(CONFIG, precision="bf16", num_samples=150))
    assert one.train() is not None
    rows = metrics(tmp_path)
    assert rows[-1]["dev_loss"] < rows[0]["dev_loss"]
    assert one.model.embedding.weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_samples": 0}, "num_samples is 0"),
        ({"save_every": 0}, "save_every is 0"),
        ({"row_length": 513}, r"row_length is 513, but must be in \[64, 512\]"),
        ({"row_length": 63}, "row_length is 63"),
        ({"learning_rate": 0.0}, "learning_rate 0.0 must be > 0"),
        ({"learning_rate": float("nan")}, "learning_rate nan"),
        ({"warmup": 1.0}, r"warmup 1.0 in \[0, 1\)"),
        ({"seed": -1}, "seed -1 >= 0"),
        ({"precision": "fp8"}, "precision is 'fp8'"),
        ({"file_type": "Q4_0"}, "file_type is 'Q4_0'"),
    ],
)
def test_settings_out_of_range_are_told(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ProposerConfig(**settings)


def test_the_default_model_has_two_million_parameters_and_fits_the_package() -> None:
    from arts_lite.train.transformer import Transformer

    num_weights = sum(weight.numel() for weight in Transformer(Shape()).parameters())
    assert 1_000_000 <= num_weights <= 5_000_000
    assert 2 * num_weights < 5_900_000
