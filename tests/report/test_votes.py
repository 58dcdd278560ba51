"""Votes among samples against the plain enumeration of all subsets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arts_lite.report.votes import MAX_SUBSETS, NUM_DRAWN, Ballots, subsets, vote_at_k

answers = st.lists(st.integers(-1, 3), min_size=1, max_size=7)


def enumerated(classes: list[int], verdicts: Mapping[int, float], weights: list[float], k: int) -> float:
    """Mean over all subsets of size k, ties shared."""
    found = []
    for subset in combinations(range(len(classes)), k):
        totals: dict[int, float] = {}
        for sample in subset:
            if classes[sample] >= 0:
                totals[classes[sample]] = totals.get(classes[sample], 0.0) + weights[sample]
        best = max(totals.values(), default=0.0)
        tied = [name for name, total in totals.items() if math.isclose(total, best, rel_tol=1e-9)]
        found.append(sum(verdicts[name] for name in tied) / len(tied) if tied else 0.0)
    return sum(found) / len(found)


@given(answers, st.sets(st.integers(0, 3)), st.data())
def test_a_vote_is_the_mean_over_subsets_with_ties_shared(
    classes: list[int], right: set[int], data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, len(classes)))
    verdicts = {name: float(name in right) for name in range(-1, 4)}
    ballots = Ballots(classes, [verdicts[name] for name in classes])
    assert vote_at_k(ballots, k) == pytest.approx(enumerated(classes, verdicts, [1.0] * len(classes), k))


@given(answers, st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=4, max_size=4), st.data())
def test_a_weighted_vote_is_the_mean_over_subsets_of_verdicts_of_any_size(
    classes: list[int], drawn: list[float], data: st.DataObject
) -> None:
    verdicts = {-1: 0.0, **dict(enumerate(drawn))}
    k = data.draw(st.integers(1, len(classes)))
    logs = data.draw(st.lists(st.integers(-6, 6), min_size=len(classes), max_size=len(classes)))
    ballots = Ballots(classes, [verdicts[name] for name in classes])
    weights = [math.exp(log) for log in logs]
    assert vote_at_k(ballots, k, logs) == pytest.approx(enumerated(classes, verdicts, weights, k))


def test_equal_weights_are_no_weights_however_small() -> None:
    ballots = Ballots([0, 0, 1, 2, -1, 1], [1, 1, 0, 0, 0, 0])
    for k in range(1, 7):
        plain = vote_at_k(ballots, k)
        assert vote_at_k(ballots, k, [-4000.0] * 6) == pytest.approx(plain)
        assert vote_at_k(ballots, k, [-math.inf] * 6) == pytest.approx(plain)


def test_a_vote_that_weighs_nothing_still_beats_no_vote() -> None:
    assert vote_at_k(Ballots([-1, 0], [0, 1]), 2, [0.0, -math.inf]) == 1.0


def test_many_subsets_are_drawn_evenly_and_always_the_same() -> None:
    assert math.comb(32, 8) > MAX_SUBSETS
    rows = subsets(32, 8)
    assert rows.shape == (32, NUM_DRAWN)
    assert (rows.sum(0) == 8).all()
    subsets.cache_clear()
    np.testing.assert_array_equal(subsets(32, 8), rows)
    share = rows.mean(1)
    assert np.abs(share - 0.25).max() < 5 * (0.25 * 0.75 / NUM_DRAWN) ** 0.5
    ballots = Ballots([0] * 20 + [1] * 12, [1] * 20 + [0] * 12)
    chances = [math.comb(20, a) * math.comb(12, 8 - a) / math.comb(32, 8) for a in range(9)]
    exact = sum(chances[5:]) + chances[4] / 2
    assert vote_at_k(ballots, 8) == pytest.approx(exact, abs=0.02)


def test_without_an_answer_nothing_is_right_and_bad_numbers_are_refused() -> None:
    assert vote_at_k(Ballots([-1, -1], [0, 0]), 2) == 0.0
    with pytest.raises(ValueError, match="k is 3"):
        vote_at_k(Ballots([0, 0], [1, 1]), 3)
    with pytest.raises(ValueError, match="nan or infinite"):
        vote_at_k(Ballots([0, 0], [1, 1]), 1, [math.nan, 0.0])
