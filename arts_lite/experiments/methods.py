"""Ways to choose one of a pool's k traces: what each makes of every problem, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from arts_lite.experiments.pool import PoolProblem, aggregated
from arts_lite.experiments.scoring import Reading, Scores
from arts_lite.report.estimators import best_of_k, pass_at_k
from arts_lite.report.votes import Ballots, vote_at_k
from arts_lite.search.scorers import AGGREGATIONS

JOINT = "joint"
"""Beside the aggregations: the last step's score plus the whole trace's log-prob, whatever the scorer's own weight is.

With log-flows, the log-flow of the target pi(x) R(x) (arXiv 2602.12846, section 3).
"""
POOL_STRATEGIES = ("random", "oracle", "majority", "best-of-n", "weighted-vote")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one method makes of one problem at one k: share of right answers, and mean tokens.

    Attributes:
        num_tokens: drawn by all traces together.
        num_tokens_decoded: of these, what the engine decoded: equal beginnings once.
        num_verifier_tokens: read by the verifier, equal beginnings once.
    """

    accuracy: float
    num_tokens: float
    num_tokens_decoded: float
    num_verifier_tokens: float = 0.0


@dataclass(frozen=True, eq=False)
class Method:
    """A way to choose; see docs/eval-format.md.

    Attributes:
        outcomes: by k, by problem's id; problems without a value are missing.
    """

    strategy: str
    scorer: str | None = None
    aggregation: str | None = None
    is_own: bool = False
    live: bool = False
    early_stop: bool = False
    outcomes: dict[int, dict[str, Outcome]] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Names it within an evaluation."""
        label = self.strategy + ("+stop" if self.early_stop else "")
        if self.scorer is not None:
            label += f":{self.scorer}"
        return label if self.aggregation is None or self.is_own else f"{label}/{self.aggregation}"


def pool_methods(
    pool: Sequence[PoolProblem], scores: Sequence[Scores], ks: Sequence[int], strategies: Sequence[str]
) -> Iterator[Method]:
    """Compute what every method makes of a pool; at k above a problem's number of traces it has no value there."""
    ballots = {problem.id: Ballots(problem.classes, problem.correct) for problem in pool}
    plain: Mapping[str, Callable[[PoolProblem, int], float]] = {
        "random": lambda problem, _: float(problem.correct.mean()),
        "oracle": lambda problem, k: pass_at_k(int(problem.correct.sum()), problem.num_samples, k),
        "majority": lambda problem, k: vote_at_k(ballots[problem.id], k),
    }
    for name, accuracy in plain.items():
        yield _method(Method(name), pool, ks, accuracy)
    for name, aggregation, is_own, values, readings in _scored(pool, scores):
        if "best-of-n" in strategies:
            method = Method("best-of-n", name, aggregation, is_own)

            def best(problem: PoolProblem, k: int, values: dict[str, NDArray[np.float64]] = values) -> float:
                return best_of_k(_answered(values[problem.id], problem), problem.correct, k)

            yield _method(method, pool, ks, best, values, readings)
        if "weighted-vote" in strategies and name != "logprob":
            method = Method("weighted-vote", name, aggregation, is_own)

            def vote(problem: PoolProblem, k: int, values: dict[str, NDArray[np.float64]] = values) -> float:
                return vote_at_k(ballots[problem.id], k, values[problem.id])

            yield _method(method, pool, ks, vote, values, readings)


def _scored(
    pool: Sequence[PoolProblem], scores: Sequence[Scores]
) -> Iterator[tuple[str, str | None, bool, dict[str, NDArray[np.float64]], Mapping[str, Reading]]]:
    """Yield every scorer with every aggregation: its name, what it is, and one score per trace by problem's id."""
    whole = {one.id: np.array([own[-1] if own else -math.inf for own in one.log_probs]) for one in pool}
    yield "logprob", None, True, whole, {}
    for scorer in scores:
        own = scorer.aggregation, scorer.log_prob_weight
        ways = [(own[0], *own), *((name, name, 0.0) for name in AGGREGATIONS), (JOINT, "last", 1.0)]
        for place, (name, aggregation, weight) in enumerate(ways):
            if place and (aggregation, weight) == own:
                continue
            values = {
                one.id: _of_traces(scorer.readings[one.id], one, aggregation, weight)
                for one in pool
                if one.id in scorer.readings
            }
            yield scorer.name, name, place == 0, values, scorer.readings


def _of_traces(reading: Reading, problem: PoolProblem, aggregation: str, weight: float) -> NDArray[np.float64]:
    scores = np.array([aggregated(list(own), AGGREGATIONS[aggregation]) for own in reading.values])
    return np.asarray(scores + weight * problem.total_log_probs)


def _method(
    method: Method,
    pool: Sequence[PoolProblem],
    ks: Sequence[int],
    accuracy: Callable[[PoolProblem, int], float],
    among: Mapping[str, object] | None = None,
    readings: Mapping[str, Reading] | None = None,
) -> Method:
    for k in ks:
        own = method.outcomes[k] = {}
        for problem in pool:
            if k > problem.num_samples or (among is not None and problem.id not in among):
                continue
            decoded = problem.num_distinct_tokens(k)
            num_read = 0.0
            if readings and (reading := readings.get(problem.id)) is not None:  # read as traces share it when written
                share = decoded / max(problem.num_distinct_tokens(problem.num_samples), 1.0)
                num_read = reading.num_question_tokens + share * (reading.num_tokens - reading.num_question_tokens)
            drawn = problem.mean_num_tokens * k
            own[problem.id] = Outcome(accuracy(problem, k), drawn, decoded, num_read)
    return method


def _answered(scores: NDArray[np.float64], problem: PoolProblem) -> NDArray[np.float64]:
    """Put traces without an answer below all others: as long as there is an answer, one is given."""
    return np.where(problem.classes < 0, -math.inf, np.maximum(scores, -1e300))
