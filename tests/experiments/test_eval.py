"""An evaluation from the pool to its figures, on the fake engine."""

from __future__ import annotations

import json
import warnings
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from experiments.killed_eval import NUM_PROBLEMS, stages
from experiments.killing import killed_at_random
from fakes.evaluations import proposer, sampled, sampling, scored, searching
from fakes.judging import FakeVerifier, by_answer

from arts_lite.experiments.evaluation import evaluate
from arts_lite.experiments.folder import read_folder
from arts_lite.experiments.lines import read_lines
from arts_lite.experiments.pool import PoolProblem, read_pool
from arts_lite.experiments.readers import VerifierReader
from arts_lite.experiments.scoring import ScoreRun
from arts_lite.tree import tree_to_json

KS = (2, 4)


def method(results: dict[str, Any], label: str) -> dict[int, dict[str, Any]]:
    [found] = [one for one in results["methods"] if one["label"] == label]
    return {point["k"]: point for point in found["points"]}


def enumerated(pool: list[PoolProblem], k: int, choose: Any) -> float:
    """Mean over problems and subsets of the share of right traces among those that are chosen."""
    means = []
    for problem in pool:
        shares = []
        for subset in combinations(range(problem.num_samples), k):
            chosen = choose(problem, list(subset))
            shares.append(np.mean([problem.correct[one] for one in chosen]) if chosen else 0.0)
        means.append(np.mean(shares))
    return float(np.mean(means))


def best(values: dict[str, list[float]]) -> Any:
    def choose(problem: PoolProblem, subset: list[int]) -> list[int]:
        answered = [one for one in subset if problem.classes[one] >= 0]
        top = max(values[problem.id][one] for one in answered)
        return [one for one in answered if values[problem.id][one] == top]

    return choose


def most(problem: PoolProblem, subset: list[int]) -> list[int]:
    """One trace of each answer that most gave."""
    names = [int(problem.classes[one]) for one in subset]
    top = max(names.count(name) for name in names)
    return [subset[names.index(name)] for name in sorted(set(names)) if names.count(name) == top]


def test_figures_of_the_pool_are_means_over_all_subsets(tmp_path: Path) -> None:
    pool = sampled(tmp_path, 8, 5)
    scored(tmp_path, pool, "flow", by_answer("1"))
    results = evaluate(tmp_path, ks=KS, num_resamples=200)
    values = {one.id: [by_answer("1")("".join(steps)) for steps in one.steps] for one in pool}
    logs = {one.id: [own[-1] for own in one.log_probs] for one in pool}
    joint = {
        one.id: [value + log for value, log in zip(values[one.id], one.total_log_probs, strict=True)] for one in pool
    }
    path = tmp_path / "scores" / "flow" / "settings.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "log_prob_weight": 1.0}))
    own = evaluate(tmp_path, ks=KS, num_resamples=200)
    for k in KS:
        assert method(results, "majority")[k]["accuracy"] == pytest.approx(enumerated(pool, k, most))
        assert method(results, "best-of-n:flow")[k]["accuracy"] == pytest.approx(enumerated(pool, k, best(values)))
        joined = pytest.approx(enumerated(pool, k, best(joint)))
        assert method(results, "best-of-n:flow/joint")[k]["accuracy"] == joined
        assert method(own, "best-of-n:flow")[k]["accuracy"] == joined
        assert method(own, "best-of-n:flow/last") == method(results, "best-of-n:flow")
        assert method(results, "best-of-n:logprob")[k]["accuracy"] == pytest.approx(enumerated(pool, k, best(logs)))
        assert method(results, "random")[k]["accuracy"] == pytest.approx(enumerated(pool, k, lambda _, subset: subset))
        right = {one.id: list(one.correct) for one in pool}
        assert method(results, "oracle")[k]["accuracy"] == pytest.approx(enumerated(pool, k, best(right)))


def test_a_verifier_that_knows_the_answer_chooses_it_whenever_it_is_there(tmp_path: Path) -> None:
    pool = sampled(tmp_path)
    list(ScoreRun(Knowing("all"), pool, tmp_path).run())
    results = evaluate(tmp_path, ks=KS, num_resamples=200)
    for k in KS:
        oracle = method(results, "oracle")[k]["accuracy"]
        assert method(results, "best-of-n:all")[k]["accuracy"] == pytest.approx(oracle)
        assert method(results, "weighted-vote:all")[k]["accuracy"] == pytest.approx(oracle)
        assert oracle > method(results, "majority")[k]["accuracy"] + 0.1
    assert results["calibration"]["all"]["ece"] == pytest.approx(0.0, abs=1e-9)
    told = {(one["method"], one["reference"], one["k"]): one for one in results["differences"]}
    assert told["best-of-n:all", "random", 4]["low"] > 0
    assert ("random", "best-of-n:all", 4) in told


class Knowing:
    """A scorer of whole traces that knows each problem's answer."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.settings = {"aggregation": "last", "output": "log_flow", "rewards": {"correct": 10.0, "wrong": 0.1}}

    def read(self, problem: PoolProblem) -> Any:
        verifier = FakeVerifier(by_answer(problem.problem.answer, float(np.log(10)), float(np.log(0.1))))
        reading = VerifierReader(self.name, verifier, {}).read(problem)
        flat = [[np.log(10.0) if own[-1] > 0 else np.log(0.1) for _ in own] for own in reading.values]
        return type(reading)(flat, reading.num_tokens, reading.num_question_tokens)


def test_costs_are_those_of_k_traces(tmp_path: Path) -> None:
    pool = sampled(tmp_path)
    scored(tmp_path, pool, "flow", by_answer("1"))
    points = method(evaluate(tmp_path, ks=KS, num_resamples=200), "best-of-n:flow")
    for k in KS:
        assert points[k]["num_tokens"] == pytest.approx(k * np.mean([one.num_tokens.mean() for one in pool]))
        distinct = np.mean([one.num_distinct_tokens(k) for one in pool])
        assert points[k]["num_tokens_decoded"] == pytest.approx(distinct)
    assert points[1]["num_verifier_tokens"] > np.mean([len(one.tree.origin.question) for one in pool])
    assert points[2]["num_verifier_tokens"] < points[4]["num_verifier_tokens"]


def test_live_searches_stand_beside_the_pool_and_see_the_same_draws(tmp_path: Path) -> None:
    pool = sampled(tmp_path)
    scored(tmp_path, pool, "flow", by_answer("1"))
    list(searching(tmp_path, pool, "sdf", 6, by_answer("1")).run())
    list(searching(tmp_path, pool, "best-of-n", 6, by_answer("1")).run())
    results = evaluate(tmp_path, ks=(6,), num_resamples=200)
    [live] = [one for one in results["methods"] if one["live"] and one["strategy"] == "best-of-n"]
    from_pool = [one for one in results["methods"] if one["label"] == "best-of-n:flow" and not one["live"]]
    assert live["points"][0]["accuracy"] == pytest.approx(from_pool[0]["points"][-1]["accuracy"])
    assert live["points"][0]["num_tokens"] == pytest.approx(from_pool[0]["points"][-1]["num_tokens"])
    assert live["points"][0]["num_verifier_tokens"] == pytest.approx(from_pool[0]["points"][-1]["num_verifier_tokens"])
    assert method(results, "sdf:flow")[6]["num_tokens"] > live["points"][0]["num_tokens"]


def test_an_answer_of_a_live_search_is_never_chosen_by_the_checker(tmp_path: Path) -> None:
    pool = sampled(tmp_path, 8)
    list(searching(tmp_path, pool, "best-of-n", 6, by_answer("1")).run())
    for line in read_lines(tmp_path / "live" / "best-of-n-n6-flow" / "outcomes.jsonl"):
        assert line["answer"] in ("1", "2", "3")
        assert line["correct"] == (
            line["answer"] == next(one for one in pool if one.id == line["problem"]).problem.answer
        )


def test_groups_and_outcomes_of_each_problem_add_up(tmp_path: Path) -> None:
    pool = sampled(tmp_path)
    results = evaluate(tmp_path, ks=KS, num_resamples=200)
    lines = list(read_lines(tmp_path / "problems.jsonl"))
    assert [line["id"] for line in lines] == [one.id for one in pool]
    assert results == json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    for level in ("0", "1"):
        told = results["groups"]["level"][level]
        own = [line["values"]["majority"]["4"] for line in lines if line["groups"]["level"] == level]
        assert told["num_problems"] == len(own) == 6
        assert told["accuracy"]["majority"]["4"] == pytest.approx(np.mean(own), abs=1e-5)


def test_another_verifier_is_added_without_sampling_again(tmp_path: Path) -> None:
    pool = sampled(tmp_path)
    scored(tmp_path, pool, "one", by_answer("1"))
    before = (tmp_path / "trees.jsonl.gz").read_bytes(), (tmp_path / "scores/one/scores.jsonl").read_bytes()
    engine = proposer().engine
    list(sampling(tmp_path).run())
    scored(tmp_path, pool, "two", by_answer("2"))
    assert before == ((tmp_path / "trees.jsonl.gz").read_bytes(), (tmp_path / "scores/one/scores.jsonl").read_bytes())
    assert engine.rows_per_decode == []
    results = evaluate(tmp_path, ks=KS, order=["two", "one"], num_resamples=200)
    assert results["verifiers"]["two"]["order"] == 0
    assert "best-of-n:two" in results["references"]
    assert {"best-of-n:one", "best-of-n:two"} <= {one["label"] for one in results["methods"]}


def test_killed_at_random_moments_and_resumed_it_comes_to_the_same_files(tmp_path: Path) -> None:
    list(stages(tmp_path / "whole"))
    for folder in killed_at_random(tmp_path, 12, 0.4, script="killed_eval.py"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a torn last line is told
            list(stages(folder))
        for name in ("scores/flow/scores", "live/best-of-n-n3-flow/outcomes", "prefixes/prefixes"):
            assert _sorted(folder / f"{name}.jsonl") == _sorted(tmp_path / "whole" / f"{name}.jsonl")
        trees = [
            sorted(json.dumps(tree_to_json(tree)) for tree in read_folder(one)) for one in (folder, tmp_path / "whole")
        ]
        assert trees[0] == trees[1]
        assert len(read_pool(folder)) == NUM_PROBLEMS


def _sorted(path: Path) -> list[str]:
    return sorted(json.dumps({**line, "seconds": 0}, sort_keys=True) for line in read_lines(path))
