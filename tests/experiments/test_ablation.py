"""The deciding experiment on a made-up evaluation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from arts_lite.experiments.ablation import ARMS, REFERENCE, measure_ablation, run_name, write_ablation_report
from arts_lite.experiments.pipeline import Timing
from arts_lite.experiments.sizes import AblationSizes

SIZES = AblationSizes((10, 100), (2, 1))
RATES = dict(zip(ARMS, (0.5, 0.6, 0.55, 0.7), strict=True))


def write_evaluation(folder: Path) -> None:
    level = np.random.default_rng(0).random(300)
    rates = {f"best-of-n:{run_name(num, arm, 0)}": rate for num in SIZES.num_trees for arm, rate in RATES.items()}
    rates |= {label.replace("best-of-n", "weighted-vote"): rate for label, rate in rates.items()}
    rates |= {"random": 0.3, "majority": 0.4, "oracle": 0.9}
    (folder / "eval").mkdir(parents=True)
    (folder / "eval" / "results.json").write_text(json.dumps({"k": [1, 16]}))
    with (folder / "eval" / "problems.jsonl").open("w") as file:
        for number, one in enumerate(level):
            values = {label: {"16": float(one < rate)} for label, rate in rates.items()}
            file.write(json.dumps({"id": f"p{number}", "values": values}) + "\n")


def test_every_run_is_compared_with_the_soft_prm_of_its_trees(tmp_path: Path) -> None:
    write_evaluation(tmp_path)
    results = measure_ablation(tmp_path, SIZES, 1)
    assert [(row["num_trees"], row["arm"]) for row in results["runs"]] == [(n, a) for n in (10, 100) for a in ARMS]
    for row in results["runs"]:
        wanted = RATES[row["arm"]] - RATES[REFERENCE]
        assert row["difference"]["value"] == pytest.approx(wanted, abs=0.05)
        assert row["difference"]["low"] <= row["difference"]["value"] <= row["difference"]["high"]
        assert (row["difference"]["value"] == 0) == (row["arm"] == REFERENCE)


def test_the_report_has_a_row_per_run(tmp_path: Path) -> None:
    write_evaluation(tmp_path)
    paths = write_ablation_report(tmp_path, measure_ablation(tmp_path, SIZES, 1), [Timing("trees", 60, 30)])
    text = paths[0].read_text()
    for arm in ARMS:
        assert text.count(f"| {arm} | ") == len(SIZES.num_trees)
    assert "random: 0.3" in text or "random: 0.2" in text
    assert paths[1].read_text().startswith("<!doctype html>")
