"""Evaluations side by side, on the fake engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes.evaluations import sampled

from arts_lite.experiments.comparison import compare
from arts_lite.experiments.evaluation import evaluate
from arts_lite.experiments.folder import DatasetError
from arts_lite.experiments.lines import read_lines


def evaluated(folder: Path, seed: int = 0, num: int = 12) -> Path:
    sampled(folder, num, seed=seed)
    evaluate(folder, num_resamples=50)
    return folder


def test_differences_are_those_of_the_means(tmp_path: Path) -> None:
    runs = [evaluated(tmp_path / str(seed), seed) for seed in (0, 1)]
    told = compare(runs, num_resamples=200)
    assert told["num_problems"] == 12
    for row in told["rows"]:
        [difference] = row["differences"]
        assert difference["difference"] == pytest.approx(row["accuracy"][1] - row["accuracy"][0])
        assert difference["low"] <= difference["difference"] <= difference["high"]


def test_a_run_differs_from_itself_by_nothing(tmp_path: Path) -> None:
    run = evaluated(tmp_path)
    for row in compare([run, run], num_resamples=50)["rows"]:
        assert [row["differences"][0][name] for name in ("difference", "low", "high")] == [0, 0, 0]


def test_other_problems_are_refused(tmp_path: Path) -> None:
    run = evaluated(tmp_path / "a")
    with pytest.raises(DatasetError, match="2 are in the first one only, 0 in the other one only, such as 'p010'"):
        compare([run, evaluated(tmp_path / "b", num=10)])
    other = evaluated(tmp_path / "c")
    lines = list(read_lines(other / "problems.jsonl"))
    lines[3]["asked"] = "of another question"
    (other / "problems.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(DatasetError, match="1 have the same id, but another question or answer, such as 'p003'"):
        compare([run, other])


def test_one_run_is_not_enough(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two evaluations or more"):
        compare([tmp_path])
