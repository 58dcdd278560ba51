"""Prefixes labelled by rollouts, and the AUC of scorers on them, on the fake engine."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from fakes.evaluations import labelling, sampled, scored

from arts_lite.experiments.evaluation import evaluate
from arts_lite.experiments.lines import read_lines
from arts_lite.experiments.prefixes import PrefixConfig, chosen_prefixes

KS = (2, 4)


def test_prefixes_are_halves_of_different_beginnings_and_rollouts_go_on_from_them(tmp_path: Path) -> None:
    pool = sampled(tmp_path)
    list(labelling(tmp_path, pool, num_prefixes=3, num_rollouts=4).run())
    lines = list(read_lines(tmp_path / "prefixes/prefixes.jsonl"))
    by_id = {one.id: one for one in pool}
    wanted = {one.key for problem in pool for one in chosen_prefixes(problem, PrefixConfig(3, 4))}
    assert {(line["problem"], line["trace"]) for line in lines} == wanted
    for line in lines:
        problem = by_id[line["problem"]]
        assert line["num_steps"] == len(problem.steps[line["trace"]]) // 2 >= 1
        assert line["num_rollouts"] == 4
        assert (line["num_correct"] == 0) >= (problem.problem.answer == "4")
    ends = [(line["problem"], by_id[line["problem"]].paths[line["trace"]][line["num_steps"] - 1]) for line in lines]
    assert len(set(ends)) == len(ends)
    shares = [line["num_correct"] / 4 for line in lines if by_id[line["problem"]].problem.answer == "1"]
    assert 0.1 < float(np.mean(shares)) < 0.7


def test_the_auc_of_prefixes_is_that_of_the_pairs(tmp_path: Path) -> None:
    pool = sampled(tmp_path, 20)
    list(labelling(tmp_path, pool, num_prefixes=4, num_rollouts=4).run())
    scored(tmp_path, pool, "flow", lambda text: float(text.count("a")))
    told = evaluate(tmp_path, ks=KS, num_resamples=200)["prefixes"]
    by_id = {one.id: one for one in pool}
    above = below = 0.0
    lines = list(read_lines(tmp_path / "prefixes/prefixes.jsonl"))
    for first, second in combinations(lines, 2):
        if first["problem"] != second["problem"]:
            continue
        gap = (first["num_correct"] - second["num_correct"]) / 4
        texts = ["".join(by_id[one["problem"]].steps[one["trace"]][: one["num_steps"]]) for one in (first, second)]
        values = [text.count("a") for text in texts]
        above += abs(gap) * (0.5 if values[0] == values[1] else float((values[0] - values[1]) * gap > 0))
        below += abs(gap)
    [own] = [one for one in told["scorers"] if (one["scorer"], one["aggregation"]) == ("flow", "last")]
    assert own["auc"] == pytest.approx(above / below)
    assert own["low"] <= own["auc"] <= own["high"]
    assert told["num_prefixes"] == len(lines)
