"""The deciding experiment on a made-up evaluation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from arts_lite.experiments.ablation import (
    ARMS,
    BASELINES,
    OF_ALL_SIZES,
    PROBE,
    REFERENCE,
    TASKS,
    Ablation,
    measure_ablation,
    run_keys,
    run_name,
)
from arts_lite.experiments.ablation_report import write_ablation_report
from arts_lite.experiments.pipeline import Timing
from arts_lite.experiments.sizes import AblationSizes

SIZES = AblationSizes((10, 100), (2, 1))
_RATES = (0.5, 0.6, 0.55, 0.7, 0.65, 0.75, 0.52, 0.56, 0.54, 0.45, 0.4, 0.35)
RATES = dict(zip((*ARMS, *BASELINES, PROBE), _RATES, strict=True))
KEYS = [*((num, name) for num, _, name, _ in run_keys(SIZES, 1)), (100, PROBE)]


def write_evaluations(folder: Path) -> None:
    level = np.random.default_rng(0).random(300)
    rates = {f"best-of-n:{run_name(num, name, 0)}": RATES[name] for num, name in KEYS}
    rates |= {label.replace("best-of-n", "weighted-vote"): rate for label, rate in rates.items()}
    rates |= {f"{label}/min": rate - 0.1 for label, rate in rates.items() if "prm" in label}
    rates |= {"random": 0.3, "majority": 0.4, "best-of-n:logprob": 0.35, "oracle": 0.9}
    scorers = [
        {"scorer": run_name(100, "orm", 0), "aggregation": name, "auc": auc, "low": auc - 0.1, "high": auc + 0.1}
        for name, auc in (("min", 0.5), ("last", 0.75))
    ]
    results = {"k": [1, 16], "prefixes": {"scorers": scorers}}
    for task in TASKS:
        (folder / f"eval-{task}").mkdir(parents=True)
        (folder / f"eval-{task}" / "results.json").write_text(json.dumps(results))
        with (folder / f"eval-{task}" / "problems.jsonl").open("w") as file:
            for number, one in enumerate(level):
                values = {label: {"16": float(one < rate)} for label, rate in rates.items()}
                file.write(json.dumps({"id": f"p{number}", "values": values}) + "\n")


def test_every_run_is_compared_with_the_soft_prm_of_as_many_trees_and_its_votes_with_the_majority(
    tmp_path: Path,
) -> None:
    write_evaluations(tmp_path)
    results = measure_ablation(tmp_path, SIZES, 1)
    assert json.loads((tmp_path / "results.json").read_text()) == results
    for task in TASKS:
        told = results["tasks"][task]
        assert [(row["num_trees"], row["run"]) for row in told["runs"]] == KEYS
        for row in told["runs"]:
            rate = RATES[row["run"]]
            assert row["difference"]["value"] == pytest.approx(rate - RATES[REFERENCE], abs=0.05)
            assert row["difference"]["low"] <= row["difference"]["value"] <= row["difference"]["high"]
            assert (row["difference"]["value"] == 0) == (row["run"] == REFERENCE)
            assert row["over_majority"]["value"] == pytest.approx(rate - 0.4, abs=0.05)
            assert row["recovered"]["value"] == pytest.approx((rate - 0.3) / 0.6, abs=0.1)
            assert row["recovered"]["low"] <= row["recovered"]["value"] <= row["recovered"]["high"]
            assert set(row["aggregations"]) == ({"min"} if row["run"].startswith("prm") else set())
            assert (row["prefix_auc"] or {}).get("auc") == (0.75 if row["run"] == "orm" else None)


def test_the_report_has_a_row_per_run_and_family(tmp_path: Path) -> None:
    write_evaluations(tmp_path)
    results = measure_ablation(tmp_path, SIZES, 1)
    paths = write_ablation_report(tmp_path, results, [Timing("trees-countdown", 60, 30)])
    text = paths[0].read_text()
    for arm in ARMS:
        num_sizes = len(SIZES.num_trees) if arm in OF_ALL_SIZES else 1
        assert text.count(f"0 | {arm} | ") == num_sizes * len(TASKS)
    for name in (*BASELINES, PROBE):
        assert text.count(f"100 | {name} | ") == len(TASKS)
    assert "0.750 [0.650, 0.850]" in text
    assert "random: 0.3" in text or "random: 0.2" in text
    assert paths[1].read_text().startswith("<!doctype html>")


def test_baselines_learn_from_the_largest_number_of_the_same_trees_for_as_long() -> None:
    stages = {stage.name: stage for stage in Ablation(SIZES).stages()}
    own = stages[run_name(100, REFERENCE, 0)].command
    for name in BASELINES:
        command = stages[run_name(100, name, 0)].command
        for option in ("--max-train-trees", "--epochs", "--batch-tokens", "--seed"):
            assert command[command.index(option) + 1] == own[own.index(option) + 1]
        assert [part for part in command if part.startswith("trees-")] == [f"trees-{task}" for task in TASKS]
    for task in TASKS:
        command = stages[f"eval-{task}"].command
        assert sum(part == "--verifier" for part in command) == len(KEYS)
        assert set(stages[f"eval-{task}"].needs) == {run_name(num, name, 0) for num, name in KEYS}
