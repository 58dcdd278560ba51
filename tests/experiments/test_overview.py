"""One report of many folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fakes.pictured import family

from arts_lite.errors import ArtsError, ReportError
from arts_lite.experiments.overview import write_overview
from arts_lite.tree import TreeWriter


def point(k: int, accuracy: float) -> dict[str, Any]:
    tokens = {"num_tokens": 50.0 * k, "num_tokens_decoded": 40.0 * k, "num_verifier_tokens": 0.0}
    return {"k": k, "accuracy": accuracy, "low": accuracy - 0.05, "high": accuracy + 0.05, **tokens, "num_problems": 40}


def method(label: str, *accuracies: float, aggregation: str | None = None, is_own: bool = False) -> dict[str, Any]:
    strategy, _, scorer = label.partition(":")
    return {
        "label": label,
        "strategy": strategy,
        "scorer": scorer or None,
        "aggregation": aggregation,
        "is_own": is_own,
        "live": strategy == "flow",
        "early_stop": False,
        "points": [point(k, accuracy) for k, accuracy in zip((2, 4), accuracies, strict=False)],
    }


def results(**changes: Any) -> dict[str, Any]:
    scorers = [method(f"best-of-n:v{n}", 0.5, 0.6, aggregation="last", is_own=True) for n in range(7)]
    return {
        "schema": "arts-lite.eval",
        "version": 1,
        "task": "arithmetic",
        "num_problems": 40,
        "num_samples": 4,
        "proposer": {"name": "tiny", "sha256": None},
        "k": [2, 4],
        "verifiers": {"v0": {}},
        "methods": [
            *(method("random", 0.3, 0.3), method("oracle", 0.6, 0.8), method("majority", 0.4, 0.5)),
            *(
                *scorers,
                method("best-of-n:v0/min", 0.1, 0.2, aggregation="min"),
                method("flow:v0", 0.5, 0.7, is_own=True),
            ),
        ],
        "references": ["majority"],
        "differences": [
            {"method": "flow:v0", "reference": "majority", "k": 4, "difference": 0.2, "low": 0.1, "high": 0.3}
        ],
        "prefixes": None,
        "calibration": {
            "v0": {
                "ece": 0.1,
                "brier": 0.2,
                "bins": [{"low": 0.0, "high": 0.1, "num": 9, "predicted": 0.05, "observed": 0.2}],
            },
            "v1": None,
        },
        "depth": {"v0": [{"depth": 1, "mean_correct": 1.0, "mean_wrong": 0.5, "num_correct": 9, "num_wrong": 9}]},
        **changes,
    }


def evaluation(folder: Path, **changes: Any) -> Path:
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps(results(**changes)))
    return folder


def tuning(folder: Path) -> Path:
    folder.mkdir(parents=True)
    rows: list[dict[str, Any]] = [
        {"step": 0, "dev_pass_at_1": 0.5, "num_dev": 8},
        {"step": 1, "reward": 0.5, "frac_reward_zero_std": 0.25},
        {"step": 2, "dev_pass_at_1": 0.75, "num_dev": 8},
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    change = {"mean_delta_log10_prob": -0.5, "low": -0.75, "high": None, "num_traces": 5, "num_problems": 2}
    probes = [{"step": 2, "by": "bin", "name": name, **change, "high": -0.25} for name in ("mode", "rare")]
    (folder / "extinction.jsonl").write_text("".join(json.dumps(row) + "\n" for row in probes))
    return folder


def pictures(out: Path) -> set[str]:
    return {path.stem for path in (out / "pictures").iterdir()}


def test_an_evaluation_is_drawn_and_tabulated(tmp_path: Path) -> None:
    out = tmp_path / "out"
    paths = write_overview([evaluation(tmp_path / "e")], out)
    assert paths == [out / "report.md", out / "report.html"]
    text = paths[0].read_text(encoding="utf-8")
    assert "| flow:v0 | 50.0 [45.0, 55.0] | 70.0 [65.0, 75.0] | 200 + 0 |" in text
    assert "| flow:v0 | +20.0 [+10.0, +30.0] |" in text
    assert "best-of-n:v0/min" not in text
    # Ten methods are too many for one picture; the plain ones are in each.
    assert pictures(out) == {
        *("1-e-by-k-0", "1-e-by-k-1", "1-e-by-tokens-0", "1-e-by-tokens-1", "1-e-by-tokens-decoded-0"),
        *("1-e-by-tokens-decoded-1", "1-e-calibration-0", "1-e-depth-0"),
    }
    assert all((out / "pictures" / f"{stem}.{kind}").is_file() for stem in pictures(out) for kind in ("svg", "png"))
    page = paths[1].read_text(encoding="utf-8")
    assert page.count("data:image/svg+xml;base64,") == 8
    assert "http" not in page.replace("http://www.w3.org", "")


def test_an_extinction_set_shows_its_recovery(tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "e")
    write_overview([], tmp_path / "out", extinct=[folder])
    assert "1-e-recovery" in pictures(tmp_path / "out")
    assert "Recovery on the extinction set at k = 4" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")


def test_a_tuning_run_and_the_runs_of_a_sweep_are_drawn(tmp_path: Path) -> None:
    write_overview([tuning(tmp_path / "run")], tmp_path / "out")
    assert pictures(tmp_path / "out") == {"1-run-tuning", "1-run-extinction-bin"}
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "pass@1 on 8 dev problems: 50.0 % at step 0, 75.0 % at step 2." in text
    assert "| mode | 2 | -0.500 [-0.750, -0.250] | 5 | 2 |" in text
    for rate in ("1e-4", "3e-4"):
        tuning(tmp_path / "sweep" / f"lr-{rate}")
    write_overview([tmp_path / "sweep"], tmp_path / "swept")
    assert "2-lr-3e-4-tuning" in pictures(tmp_path / "swept")


@pytest.mark.parametrize("as_file", [False, True])
def test_trees_are_counted(tmp_path: Path, as_file: bool) -> None:
    with TreeWriter(tmp_path / "trees.jsonl.gz") as writer:
        writer.write(family())
    write_overview([tmp_path / "trees.jsonl.gz" if as_file else tmp_path], tmp_path / "out")
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "| trees | 1 |" in text
    assert "| nodes | 12 |" in text


def test_a_folder_without_anything_to_draw_is_told(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="holds nothing that can be drawn"):
        write_overview([tmp_path], tmp_path / "out")


@pytest.mark.parametrize("as_extinct", [False, True])
def test_a_folder_that_does_not_exist_is_told_and_nothing_is_made(tmp_path: Path, as_extinct: bool) -> None:
    there, missing = evaluation(tmp_path / "there"), tmp_path / "ther"
    with pytest.raises(ReportError, match=r"ther does not exist; check the path \(relative paths start at"):
        write_overview([there] if as_extinct else [there, missing], tmp_path / "out", extinct=[missing])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "no evaluation of version 1"),
        (json.dumps({**results(), "version": 2}), "no evaluation of version 1"),
        (json.dumps({"schema": "arts-lite.eval", "version": 1}), "is damaged, or another version"),
        (json.dumps({**results(), "methods": [{}]}), "is damaged, or another version"),
        (json.dumps({**results(), "k": None}), "is damaged, or another version"),
    ],
)
def test_damaged_results_are_told(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "results.json").write_text(content)
    with pytest.raises(ArtsError, match=message):
        write_overview([tmp_path / "e"], tmp_path / "out")


def test_a_report_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(ReportError, match="cannot be made"):
        write_overview([evaluation(tmp_path / "e")], tmp_path / "out")
