"""The pool of an evaluation as arrays."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from fakes.evaluations import sampled

from arts_lite.experiments.folder import DatasetError
from arts_lite.experiments.pool import extinct, pool_settings, read_pool
from arts_lite.experiments.sdf import SdfConfig


def test_traces_are_independent_graded_and_ordered_by_problem(tmp_path: Path) -> None:
    pool = sampled(tmp_path)
    assert [one.id for one in pool] == [f"p{number:03}" for number in range(12)]
    for number, one in enumerate(pool):
        assert one.num_samples == 6
        assert (one.tree.trace_parent < 0).all()
        assert one.groups == {"level": str(number % 2)}
        answers = [end.answer for end in one.tree.ends]
        assert one.correct.tolist() == [float(answer == one.problem.answer) for answer in answers]
        for (a, first), (b, second) in combinations(zip(answers, one.classes, strict=True), 2):
            assert (first == second) == (a == b)


def test_steps_tokens_and_log_probs_are_those_of_each_trace(tmp_path: Path) -> None:
    for one in sampled(tmp_path, 4):
        for trace, steps in enumerate(one.steps):
            tokens = [token for node in one.paths[trace] for token in one.tree.tokens(node).tolist()]
            assert bytes(token for token in tokens if token < 256).decode() == "".join(steps)
            assert one.num_tokens[trace] == len(tokens) == one.step_ends[trace][-1]
            total = sum(one.tree.log_pf_model[node] for node in one.paths[trace])
            assert one.log_probs[trace][-1] == pytest.approx(total / len(tokens))
            assert one.total_log_probs[trace] == pytest.approx(total)


def test_distinct_tokens_are_the_mean_over_all_subsets(tmp_path: Path) -> None:
    for one in sampled(tmp_path, 3):
        traces = [tuple(token for node in path for token in one.tree.tokens(node).tolist()) for path in one.paths]
        for k in (1, 2, 5, 6):
            counts = []
            for chosen in combinations(traces, k):
                counts.append(len({trace[:end] for trace in chosen for end in range(1, len(trace) + 1)}))
            assert one.num_distinct_tokens(k) == pytest.approx(np.mean(counts))


def test_extinct_problems_are_those_without_a_right_sample(tmp_path: Path) -> None:
    pool = sampled(tmp_path)
    named = extinct(pool)
    assert {"p003", "p007", "p011"} <= set(named) < {one.id for one in pool}
    assert set(named) == {one.id for one in pool if one.problem.answer not in {end.answer for end in one.tree.ends}}


def test_a_folder_that_is_no_evaluation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no evaluation"):
        read_pool(tmp_path / "nothing")
    from fakes.evaluations import problems, proposer, task

    from arts_lite.experiments import SdfRun

    list(SdfRun(proposer(), task(), problems(2), tmp_path, SdfConfig(num_traces=2)).run())
    with pytest.raises(DatasetError, match="no evaluation"):
        pool_settings(tmp_path)
