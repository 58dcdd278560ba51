"""From made-up evaluations to figures, verdicts and the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes.miniature import write_miniature

from arts_lite.experiments.claims import CLAIMS, NOT_REPRODUCED, REPRODUCED, UNDECIDED
from arts_lite.experiments.figures import Evaluation
from arts_lite.experiments.folder import DatasetError
from arts_lite.experiments.miniature_report import write_report
from arts_lite.experiments.miniature_results import measure, search_figures
from arts_lite.experiments.pipeline import Timing


def test_figures_are_differences_of_what_was_made_up(tmp_path: Path) -> None:
    write_miniature(tmp_path)
    told = measure(tmp_path, num_seeds=2, settings={})["figures"]
    made_up = {
        "grpo/pass@1 gain": 0.12,
        "arts-sum@16 - grpo pass@1": 0.18,
        "arts-expected@16 - grpo majority@16": 0.19,
        "bon@16/arts-sum - orm": 0.05,
        "bon@16/arts-sum - prm-hard": 0.1,
        "bon@16/arts-sum - prm-hard/last": 0.04,
        "extinct/prm-hard/last - random": 0.02,
        "bon@16/arts-expected - arts-sum": 0.05,
        "vote@16/arts-expected - majority": 0.27,
        "bon@16/arts-expected + log-prob - arts-expected": 0.04,
        "vote@16/arts-expected + log-prob - majority": 0.31,
        "arts-expected + log-prob@16 - grpo majority@16": 0.23,
        "bon@16/arts-expected - prm-hard + log-prob": 0.15,
        "extinct/arts-sum - random": 0.15,
        "extinct/arts-sum + log-prob - random": 0.19,
        "extinct/prm-hard - random": -0.04,
    }
    for name, value in made_up.items():
        assert told[name]["value"] == pytest.approx(value, abs=0.05), name
        assert told[name]["low"] <= told[name]["value"] <= told[name]["high"]
    assert told["squeeze/rare"]["value"] == pytest.approx(-0.4)
    assert told["depth/arts-sum"]["value"] == pytest.approx(-1)
    assert abs(told["depth/arts-expected"]["value"]) < 0.5
    assert told["search/share of best-of-16's tokens"]["value"] == pytest.approx(0.4)
    assert told["search/share of best-of-16's decoded tokens"]["value"] == pytest.approx(40 * 1.5 / (100 * 1.4))


def test_every_claim_is_measured_and_judged(tmp_path: Path) -> None:
    write_miniature(tmp_path)
    results = measure(tmp_path, num_seeds=2, settings={"seeds": 2})
    verdicts = {one["name"]: one["verdict"] for one in results["claims"]}
    assert len(verdicts) == len(CLAIMS)
    assert not [one["name"] for one in results["claims"] if one["why"] == "not measured in this run"]
    assert verdicts.pop("endangered decays") == UNDECIDED
    assert verdicts.pop("extinction, rm") == UNDECIDED  # as random
    assert set(verdicts.values()) <= {REPRODUCED, NOT_REPRODUCED, UNDECIDED}
    for name in ("baseline", "arts matches grpo", "mode rises", "extinction, arts", "extinction, prm", "depth"):
        assert verdicts[name] == REPRODUCED, name
    assert verdicts["flow search, half the tokens"] == REPRODUCED
    assert json.loads((tmp_path / "results.json").read_text())["claims"] == results["claims"]


def test_the_report_names_each_claim_with_its_interval(tmp_path: Path) -> None:
    write_miniature(tmp_path)
    results = measure(tmp_path, num_seeds=2, settings={})
    paths = write_report(tmp_path, results, [Timing("grpo-0", 90, 120), Timing("search", 30, 60)])
    assert [path.name for path in paths] == ["report.md", "report.html"]
    text, page = (path.read_text() for path in paths)
    for claim in CLAIMS:
        assert f"| {claim.text} | {claim.source} | " in text
    assert "0.150 [" in text or "0.15" in text
    assert "| best-of-n:arts-sum | " in text
    assert "| best-of-n:arts-sum + log-prob | " in text
    assert "| all, one after another | 3.0 | 2.0 |" in text
    assert page.count("<table>") == 8
    assert "nan" not in text


def test_the_key_pictures_are_in_the_report(tmp_path: Path) -> None:
    write_miniature(tmp_path)
    drawn = tmp_path / "pictures" / "pictures"
    drawn.mkdir(parents=True)
    (tmp_path / "pictures" / "report.html").touch()
    for name in ("4-grpo-0-extinction-bin", "4-grpo-0-tuning", "6-eval-extinct-0-recovery", "2-search-by-tokens-0"):
        (drawn / f"{name}.svg").write_text("<svg/>")
    results = measure(tmp_path, num_seeds=2, settings={})
    text, page = (path.read_text() for path in write_report(tmp_path, results, []))
    assert page.count("<img ") == 3
    assert "(pictures/pictures/6-eval-extinct-0-recovery.svg)" in text
    assert "grpo-0-tuning" not in text
    assert "(pictures/report.html)" in text


def test_a_run_that_is_not_finished_is_told_so(tmp_path: Path) -> None:
    write_miniature(tmp_path)
    (tmp_path / "eval-policy-1" / "results.json").unlink()
    with pytest.raises(DatasetError, match="run the evaluation to its end"):
        measure(tmp_path, num_seeds=2, settings={})


def test_flow_search_is_compared_with_an_early_stop_over_all_budgets_at_which_both_take_the_same_tokens() -> None:
    """By hand: +0.5 at n = 4 and +1 at n = 8; at n = 2 nothing is near."""

    def method(label: str, tokens: dict[int, int], *, live: bool = True) -> dict[str, object]:
        points = [
            {"k": k, "num_tokens": num, "num_tokens_decoded": num, "num_verifier_tokens": 0}
            for k, num in tokens.items()
        ]
        own = {"live": live, "is_own": True, "scorer": "arts-expected-0", "points": points}
        return {"label": label, "strategy": label.partition("+")[0], **own}

    methods = [
        method("flow", {2: 10, 4: 100, 8: 200}),
        method("best-of-n+stop", {4: 110, 8: 210}),
        method("best-of-n", {8: 400}, live=False),
    ]
    values = {
        "flow": {2: {"a": 0.0, "b": 0.0}, 4: {"a": 1.0, "b": 0.0}, 8: {"a": 1.0, "b": 1.0}},
        "best-of-n+stop": {4: {"a": 0.0, "b": 0.0}, 8: {"a": 0.0, "b": 0.0}},
        "best-of-n": {8: {"a": 1.0, "b": 0.0}},
    }
    figures = search_figures(Evaluation({"methods": methods}, values))
    assert figures["search/flow - best-of-n with early stop"].value == pytest.approx(0.75)
    assert figures["search/flow at half the tokens - best-of-16"].value == pytest.approx(0.5)
    assert figures["search/share of best-of-16's tokens"].value == pytest.approx(0.5)
