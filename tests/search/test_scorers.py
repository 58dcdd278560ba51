from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from arts_lite.search import SCORERS, Branch, make_scorer
from arts_lite.search.record import BranchState, Step
from arts_lite.search.scorers import AGGREGATIONS, score_together


def branch(*log_probs: float, state: BranchState = BranchState.ENDED) -> Branch:
    return Branch(0, None, (0,), 0, 1, 1 + len(log_probs), state, log_probs=np.array(log_probs, np.float32))


@pytest.mark.parametrize(("name", "score"), [("logprob", -1.5), ("logprob-sum", -3.0), ("length", -2.0)])
def test_a_scorer_computes_what_its_name_says(name: str, score: float) -> None:
    assert make_scorer(name).score([branch(-1.0, -2.0)]) == [score]


def test_shorter_is_better_for_length_and_sum_but_not_for_the_mean() -> None:
    short, long = branch(-1.0), branch(-1.0, -0.5)
    assert {name: make_scorer(name).score([short])[0] > make_scorer(name).score([long])[0] for name in SCORERS} == {
        "logprob": False,
        "logprob-sum": True,
        "length": True,
    }


def test_an_unknown_scorer_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ValueError, match="scorer is 'luck', but must be one of logprob, logprob-sum, length"):
        make_scorer("luck")


def test_aggregations_are_of_what_the_step_scores_are_logs_of() -> None:
    logs = [math.log(flow) for flow in (0.5, 2.0, 1.0)]
    found = {how: math.exp(aggregate(logs)) for how, aggregate in AGGREGATIONS.items()}
    assert found == pytest.approx({"last": 1.0, "min": 0.5, "mean": 3.5 / 3, "product": 1.0})


def test_the_mean_of_very_small_flows_is_no_zero() -> None:
    assert AGGREGATIONS["mean"]([-1000.0, -1000.0]) == pytest.approx(-1000.0)
    assert AGGREGATIONS["mean"]([-math.inf, -math.inf]) == -math.inf


class CountingScorer:
    def __init__(self) -> None:
        self.batches: list[int] = []

    def score(self, branches: Sequence[Branch]) -> list[float]:
        self.batches.append(len(branches))
        return [max(branch.step_scores) for branch in branches]

    def score_steps(self, branches: Sequence[Branch]) -> list[list[float]]:
        self.batches.append(len(branches))
        return [[float(step.end) for step in branch.steps] for branch in branches]


def test_branches_of_one_scorer_are_scored_in_one_batch_steps_first() -> None:
    scorer = CountingScorer()
    ended, running = branch(-1.0), branch(-1.0, state=BranchState.PAUSED)
    for one in (ended, running):
        one.steps = [Step(1, 4, "a"), Step(4, 6, "b")]
    score_together([(scorer, ended), (make_scorer("length"), branch(-1.0)), (scorer, running)])
    assert scorer.batches == [2, 1]
    assert ended.step_scores == running.step_scores == [4.0, 6.0]
    assert (ended.score, running.score) == (6.0, None)


def test_a_branch_without_tokens_gets_no_score() -> None:
    empty = branch()
    score_together([(make_scorer("logprob"), empty)])
    assert empty.score is None
