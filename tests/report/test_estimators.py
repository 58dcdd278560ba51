"""Every estimator against the plain enumeration of all subsets."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arts_lite.report.estimators import best_of_k, ordered_pairs, pass_at_k

samples = st.lists(st.tuples(st.integers(-2, 2), st.booleans()), min_size=1, max_size=7)


@given(st.integers(1, 8), st.data())
def test_pass_at_k_is_the_share_of_subsets_with_a_correct_sample(num: int, data: st.DataObject) -> None:
    num_correct = data.draw(st.integers(0, num))
    k = data.draw(st.integers(1, num))
    chosen = list(combinations(range(num), k))
    share = sum(min(subset) < num_correct for subset in chosen) / len(chosen)
    assert pass_at_k(num_correct, num, k) == pytest.approx(share)


@given(samples, st.data())
def test_best_of_k_is_the_mean_over_subsets_with_ties_shared(
    drawn: list[tuple[int, bool]], data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, len(drawn)))
    found = []
    for subset in combinations(drawn, k):
        best = max(score for score, _ in subset)
        tied = [correct for score, correct in subset if score == best]
        found.append(sum(tied) / len(tied))
    scores, correct = zip(*drawn, strict=True)
    assert best_of_k(scores, correct, k) == pytest.approx(sum(found) / len(found))


def test_the_worst_score_may_be_infinite_and_a_constant_one_is_a_random_choice() -> None:
    assert best_of_k([-math.inf, 0.0], [1, 0], 2) == 0.0
    assert best_of_k([-math.inf, 0.0], [1, 0], 1) == 0.5
    assert best_of_k(np.zeros(16), [1] * 4 + [0] * 12, 5) == pytest.approx(0.25)


def test_the_oracle_is_best_of_k_by_the_verdicts() -> None:
    correct = [1, 0, 0, 1, 0, 0]
    for k in range(1, 7):
        assert best_of_k(correct, correct, k) == pytest.approx(pass_at_k(2, 6, k))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=6))
def test_pairs_in_order_are_counted_with_the_difference_of_their_labels(drawn: list[tuple[int, int]]) -> None:
    in_order = total = 0.0
    for (value, label), (other_value, other_label) in combinations(drawn, 2):
        gap = abs(label - other_label)
        total += gap
        agreement = (value - other_value) * (label - other_label)
        in_order += gap * (0.5 if value == other_value else float(agreement > 0))
    values, labels = zip(*drawn, strict=True)
    assert ordered_pairs(values, labels) == (pytest.approx(in_order), pytest.approx(total))


@pytest.mark.parametrize("k", [0, 4])
def test_k_beyond_the_samples_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match=rf"k is {k}, but must be in \[1, 3\]"):
        best_of_k([1, 2, 3], [0, 0, 1], k)
    with pytest.raises(ValueError, match=rf"k is {k}, but must be in \[1, 3\]"):
        pass_at_k(1, 3, k)


def test_a_score_that_is_no_number_and_an_impossible_count_are_refused() -> None:
    with pytest.raises(ValueError, match="1 of 2 scores are nan"):
        best_of_k([1, math.nan], [0, 1], 1)
    with pytest.raises(ValueError, match="num_correct is 4"):
        pass_at_k(4, 3, 1)
