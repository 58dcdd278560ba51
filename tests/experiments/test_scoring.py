"""What scorers say of a pool, kept in lines, on the fake engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fakes.evaluations import SETTINGS, sampled, sampling, scored, scoring
from fakes.judging import by_answer

from arts_lite.errors import ContextOverflowError
from arts_lite.experiments.evaluation import evaluate
from arts_lite.experiments.folder import DatasetError
from arts_lite.experiments.lines import read_lines
from arts_lite.experiments.pool import PoolProblem
from arts_lite.experiments.readers import ProbeReader, named_files
from arts_lite.experiments.scoring import Reading, ScoreRun, read_scores


def test_values_of_another_file_or_of_other_traces_are_refused(tmp_path: Path) -> None:
    pool = sampled(tmp_path)
    scored(tmp_path, pool, "flow", by_answer("1"))
    with pytest.raises(DatasetError, match="holds values of other settings: sha256"):
        scored(tmp_path, pool, "flow", by_answer("1"), sha256="ef")
    other = sampled(tmp_path / "other", seed=1)
    with pytest.raises(DatasetError, match="values of other traces"):
        read_scores(tmp_path / "scores/flow", other)
    with pytest.raises(DatasetError, match=r"search\.seed is 0 there and 1 here"):
        list(sampling(tmp_path, seed=1).run())


@pytest.mark.parametrize("change", [{"num_tokens": None}, {"values": 3}, {"values": [["x"]]}])
def test_a_damaged_line_of_values_is_told(tmp_path: Path, change: dict[str, Any]) -> None:
    pool = sampled(tmp_path, 1, 1)
    scored(tmp_path, pool, "flow", by_answer("1"))
    path = tmp_path / "scores/flow/scores.jsonl"
    if change.get("values") == [["x"]]:
        change = {"values": [["x"] * len(own) for own in pool[0].steps]}
    path.write_text(json.dumps({**next(read_lines(path)), **change}) + "\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"scores\.jsonl"):
        evaluate(tmp_path, num_resamples=10)


class FakeProbe:
    aggregation = "min"
    log_prob_weight = 0.25


class FakeStates:
    """Judges a prefix by the number of its tokens."""

    def log_flows(self, name: str, problem: PoolProblem) -> list[list[float]]:
        assert name == "probe"
        return [[float(end) for end in ends] for ends in problem.step_ends]


def test_a_probe_s_values_are_scores_that_cost_no_token(tmp_path: Path) -> None:
    pool = sampled(tmp_path, 4)
    reader = ProbeReader("probe", FakeProbe(), FakeStates(), {"sha256": "ab"})  # type: ignore[arg-type]
    list(ScoreRun(reader, pool, tmp_path).run())
    readings = read_scores(tmp_path / "scores/probe", pool)
    for one in pool:
        assert readings[one.id].values == [[float(end) for end in ends] for ends in one.step_ends]
    results = evaluate(tmp_path, num_resamples=10)
    [own] = [one for one in results["methods"] if one["label"] == "best-of-n:probe"]
    assert own["aggregation"] == "min"
    assert results["verifiers"]["probe"]["log_prob_weight"] == 0.25
    assert {point["num_verifier_tokens"] for point in own["points"]} == {0.0}


def test_a_problem_that_the_context_does_not_hold_is_left_out_and_told(tmp_path: Path) -> None:
    pool = sampled(tmp_path, 4)

    class Small:
        name, settings = "small", {**SETTINGS, "aggregation": "last"}

        def read(self, problem: PoolProblem) -> Reading:
            if problem.id == "p001":
                raise ContextOverflowError("the question has 99 tokens")
            return Reading([[1.0] * len(steps) for steps in problem.steps])

    *_, last = ScoreRun(Small(), pool, tmp_path).run()
    assert (last.num_done, last.num_problems, last.note) == (3, 4, "p001: the question has 99 tokens")
    assert read_scores(tmp_path / "scores/small", pool).keys() == {"p000", "p002", "p003"}
    assert evaluate(tmp_path, num_resamples=10)["verifiers"]["small"]["num_problems"] == 3


def test_a_cancelled_scoring_goes_on_where_it_was(tmp_path: Path) -> None:
    pool = sampled(tmp_path)
    run = scoring(tmp_path, pool, "flow", by_answer("1"))
    for now in run.run():
        if now.num_done == 5:
            run.cancel()
    first = (tmp_path / "scores/flow/scores.jsonl").read_bytes()
    *_, last = scoring(tmp_path, pool, "flow", by_answer("1")).run()
    assert (last.num_before, last.num_done) == (5, 12)
    assert (tmp_path / "scores/flow/scores.jsonl").read_bytes().startswith(first)


def test_names_of_verifiers_come_from_their_files_unless_they_are_given() -> None:
    assert named_files(("a=x/b.gguf", "x/prm-hard.gguf")) == {
        "a": Path("x/b.gguf"),
        "prm-hard": Path("x/prm-hard.gguf"),
    }
    for wrong, why in (
        (("a=x", "a=y"), "two verifiers"),
        (("majority=x",), "none of"),
        (("../a=x",), "must be letters"),
    ):
        with pytest.raises(ValueError, match=why):
            named_files(wrong)
    with pytest.raises(ValueError, match="reference is 'best'"):
        evaluate_with_unknown_reference()


def evaluate_with_unknown_reference() -> None:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        sampled(Path(folder), 2, 2)
        evaluate(Path(folder), references=["best"], num_resamples=10)
