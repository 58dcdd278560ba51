"""A run's folder: settings, metrics, and checkpoints that survive."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch

from arts_lite.errors import TrainingError
from arts_lite.train.rundir import RunDirectory, replacing

CPU = torch.device("cpu")
CONFIG = {"kind": "test", "shape": {"dim": 3}, "parts": [1, 2]}


def test_a_folder_belongs_to_one_configuration(tmp_path: Path) -> None:
    RunDirectory(tmp_path / "a" / "b", CONFIG)
    RunDirectory(tmp_path / "a" / "b", {**CONFIG, "parts": (1, 2)})
    told = json.loads((tmp_path / "a" / "b" / "config.json").read_text())
    assert told["config"] == CONFIG
    assert set(told["versions"]) >= {"python", "torch", "gguf"}
    with pytest.raises(TrainingError, match=r"run of other settings \(extra, shape\); give the same ones"):
        RunDirectory(tmp_path / "a" / "b", {**CONFIG, "shape": {"dim": 4}, "extra": 1})


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '"text"', "\x00\xff"])
def test_a_folder_whose_configuration_is_damaged_is_told(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(TrainingError, match="name another"):
        RunDirectory(tmp_path, CONFIG)


def test_a_path_that_is_no_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="cannot be used as a run's folder"):
        RunDirectory(tmp_path / "file", CONFIG)


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path, CONFIG)
    assert run.load(CPU) is None
    for step in (1, 2):
        run.save({"step": step, "weights": {"a": torch.arange(3) * step}})
    state = RunDirectory(tmp_path, CONFIG).load(CPU)
    assert state is not None
    assert state["step"] == 2
    assert state["weights"]["a"].tolist() == [0, 2, 4]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.pt", "config.json"]


@pytest.mark.parametrize("damage", [lambda content: content[:-40], lambda _: b"", lambda _: b"not a checkpoint at all"])
def test_a_damaged_checkpoint_is_told(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    run = RunDirectory(tmp_path, CONFIG)
    run.save({"step": 1, "weights": torch.zeros(1000)})
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(TrainingError, match=r"checkpoint\.pt is no checkpoint .*; remove it to start anew") as error:
        run.load(CPU)
    assert len(str(error.value).splitlines()) == 1


def test_a_full_disk_leaves_the_checkpoint_before(
    tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    run = RunDirectory(tmp_path, CONFIG)
    run.save({"step": 1, "weights": torch.zeros(10)})
    with full_disk(20_000), pytest.raises(TrainingError, match="the one before is whole"):
        run.save({"step": 2, "weights": torch.zeros(100_000)})
    state = run.load(CPU)
    assert state is not None
    assert state["step"] == 1
    assert not list(tmp_path.glob("*.new"))


def test_metrics_after_the_checkpoint_are_forgotten(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path, CONFIG)
    for step in (1, 2, 3, 4):
        run.log(step=step, loss=1.0 / step)
        if step == 2:
            run.save({"step": 2})
    with (tmp_path / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 5, "lo')
    assert [values["step"] for values in run.metrics()] == [1, 2, 3, 4]
    run.load(CPU)
    assert [values["step"] for values in run.metrics()] == [1, 2]
    run.log(step=3, loss=0.3)
    assert [values["loss"] for values in run.metrics()] == [1.0, 0.5, 0.3]


def test_a_file_takes_its_place_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")

    def crash() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        crash()
    assert path.read_text() == "before"
    with replacing(path) as temporary:
        temporary.write_text("after")
    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]


def test_a_checkpoint_comes_back_on_a_numbered_cpu(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path, CONFIG)
    run.save({"step": 1, "weight": torch.ones(2)})
    state = run.load(torch.device("cpu:0"))
    assert state is not None
    assert state["weight"].device.type == "cpu"


def test_only_the_writer_drops_later_metrics(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path, CONFIG)
    run.log(step=1)
    run.save({"step": 1})
    run.log(step=2)
    run.load(CPU, is_writer=False)
    assert [line["step"] for line in run.metrics()] == [1, 2]
    run.load(CPU)
    assert [line["step"] for line in run.metrics()] == [1]


def test_metrics_on_a_full_disk_are_told(
    tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    run = RunDirectory(tmp_path, CONFIG)
    run.log(step=1)
    with full_disk(5), pytest.raises(TrainingError, match=r"metrics\.jsonl could not be written .* Make room"):
        run.log(step=2)
