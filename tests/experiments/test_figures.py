"""Means over problems and seeds, and their intervals."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from arts_lite.experiments.figures import Evaluation, Figure, difference, mean, recovered, whole_range
from arts_lite.experiments.folder import DatasetError


def column(values: list[float]) -> dict[str, float]:
    return {f"p{place}": value for place, value in enumerate(values)}


def test_with_one_seed_the_interval_is_that_of_a_mean_over_problems() -> None:
    values = np.random.default_rng(1).normal(0.3, 1.0, 400)
    told = mean([column(list(values))])
    assert told.value == pytest.approx(values.mean())
    half = 1.96 * values.std() / math.sqrt(400)
    assert told.high - told.low == pytest.approx(2 * half, rel=0.1)
    assert (told.num_problems, told.num_seeds) == (400, 1)


def test_seeds_that_differ_widen_the_interval() -> None:
    same = mean([column([0.0, 1.0] * 100)] * 3)
    apart = mean([column([shift, 1.0 + shift] * 100) for shift in (-0.5, 0.0, 0.5)])
    assert same.value == pytest.approx(0.5)
    assert apart.value == pytest.approx(0.5)
    assert apart.high - apart.low > 3 * (same.high - same.low)


def test_differences_are_paired_by_problem_and_seed() -> None:
    hard = [0.0, 0.0, 1.0, 1.0] * 25
    better = [value + 0.1 for value in hard]
    told = difference([column(better), column(better)], [column(hard)])
    assert (told.value, told.low, told.high) == pytest.approx((0.1, 0.1, 0.1))


def test_problems_that_one_side_lacks_do_not_count() -> None:
    told = difference([{"a": 1.0, "b": 0.5}], [{"b": 0.0, "c": 1.0}])
    assert (told.value, told.num_problems) == (0.5, 1)
    sets = mean([{"a": 1.0}, {"b": 0.0, "c": 0.0}])  # each seed has problems of its own
    assert sets.value == pytest.approx(1 / 3)
    assert 0 <= sets.low <= sets.high <= 1


def test_nothing_has_no_figure() -> None:
    told = difference([{}], [{}])
    assert math.isnan(told.value)
    assert told.to_dict()["low"] is None
    assert math.isnan(whole_range([told]).value)


def test_the_range_of_seeds_holds_all_their_intervals() -> None:
    told = whole_range([Figure(0.2, 0.1, 0.3, 10), Figure(0.4, 0.35, 0.5, 20)])
    assert (told.value, told.low, told.high, told.num_problems, told.num_seeds) == (pytest.approx(0.3), 0.1, 0.5, 20, 2)


def test_an_evaluation_is_read_by_label_k_and_problem(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="run the evaluation"):
        Evaluation.load(tmp_path)
    (tmp_path / "results.json").write_text(json.dumps({"k": [1, 2, 8]}))
    lines = [{"id": "a", "values": {"majority": {"2": 0.25, "8": 1.0}}}, {"id": "b", "values": {"majority": {"8": 0}}}]
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    told = Evaluation.load(tmp_path)
    assert told.at("majority", 8) == {"a": 1.0, "b": 0.0}
    assert told.at("majority", 2) == {"a": 0.25}
    assert told.at("other", 8) == {}
    assert told.top_k == 8


def test_what_a_method_recovers_is_its_share_of_the_gap_with_an_interval_that_narrows() -> None:
    rng = np.random.default_rng(5)

    def at(num: int) -> Figure:
        floor = {f"p{i}": float(value) for i, value in enumerate(rng.random(num) * 0.4)}
        ceiling = {name: value + float(rng.random()) for name, value in floor.items()}
        method = {name: value + 0.6 * (ceiling[name] - value) + 0.1 * rng.normal() for name, value in floor.items()}
        return recovered([method], [floor], [ceiling])

    small, large = at(60), at(2000)
    for one in (small, large):
        assert one.low < one.value < one.high
        assert one.low < 0.6 < one.high
    assert large.high - large.low < 0.4 * (small.high - small.low)
    same = {"p": 0.5}
    assert np.isnan(recovered([same], [same], [same]).value)  # there is no gap
    assert np.isnan(recovered([{}], [same], [same]).value)
