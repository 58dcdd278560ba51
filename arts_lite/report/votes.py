"""Votes among k of n samples, plain or weighted, in expectation over which k."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from arts_lite.report.estimators import pass_at_k

MAX_SUBSETS = 20_000
"""Up to so many subsets all are counted, so that the expectation is exact: C(16, 8) is 12,870."""
NUM_DRAWN = 4096
"""Else so many are drawn, the same ones for every problem and method; a problem's error is then below 0.008 (SD)."""
_SEED = 20260212
_TINY = 1e-290  # a vote that weighs nothing still beats no vote
_CLOSE = 1e-12


class Ballots:
    """The answers of one problem's samples.

    Args:
        classes: int[n], number of the class of equal answers that a sample's answer belongs to; -1: it gave none, and
            does not vote.
        correct: float[n], of each sample; one verdict for a class is taken to be that of its first sample.
    """

    def __init__(self, classes: ArrayLike, correct: ArrayLike) -> None:
        own = np.asarray(classes, np.int64)
        verdicts = np.asarray(correct, np.float64)
        names, first = np.unique(own, return_index=True)
        kept = names >= 0
        self.num_samples = len(own)
        self.num_votes = int((own >= 0).sum())
        self.verdicts: NDArray[np.float64] = verdicts[first[kept]]
        self.members: NDArray[np.float64] = (names[kept][:, None] == own[None, :]).astype(np.float64)


def vote_at_k(ballots: Ballots, k: int, log_weights: ArrayLike | None = None) -> float:
    """Chance that the answer which wins the vote of k samples is correct; ties are broken evenly.

    Over all subsets of size k where these are at most `MAX_SUBSETS`, else over `NUM_DRAWN` drawn ones.

    Args:
        log_weights: float[n], natural logs of what the samples' votes weigh (self-consistency weighted by a verifier's
            flow: its log-flows); None: all the same. -inf weighs next to nothing.

    Raises:
        ValueError: k is not in [1, n], or a weight is nan or +inf.
    """
    if not 1 <= k <= ballots.num_samples:
        raise ValueError(f"k is {k}, but must be in [1, {ballots.num_samples}], the number of samples")
    verdicts = ballots.verdicts
    if not len(verdicts):
        return 0.0
    weights = _weights(log_weights, ballots.num_samples)
    if (verdicts == verdicts[0]).all():  # whoever wins: only a subset without any vote is wrong
        return float(verdicts[0]) * pass_at_k(ballots.num_votes, ballots.num_samples, k)
    totals = (ballots.members * weights) @ subsets(ballots.num_samples, k)
    right, wrong = totals[verdicts == 1].max(axis=0, initial=0.0), totals[verdicts < 1].max(axis=0, initial=0.0)
    won = right * (1 - _CLOSE) > wrong
    rest = ~won if ((verdicts != 0) & (verdicts != 1)).any() else ~won & (wrong * (1 - _CLOSE) <= right)
    shares = won.sum()  # for sure; of the rest, every one has to be looked at
    if rest.any():
        shares += _shares(totals[:, rest], verdicts).sum()
    return float(shares / totals.shape[1])


def _shares(totals: NDArray[np.float64], verdicts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean verdict of the answers that win, float[num_subsets]; 0 where nobody votes."""
    wins = (totals >= totals.max(axis=0) * (1 - _CLOSE)) & (totals > 0)
    return np.asarray((verdicts @ wins) / np.maximum(wins.sum(axis=0), 1))


@lru_cache(maxsize=16)
def subsets(num_samples: int, k: int) -> NDArray[np.float64]:
    """List subsets of size k as columns of zeros and ones, float64[n, num_subsets]."""
    rows: Sequence[Sequence[int]] | NDArray[np.int64]
    if math.comb(num_samples, k) <= MAX_SUBSETS:
        rows = np.array(list(combinations(range(num_samples), k)), np.int64)
    else:
        keys = np.random.default_rng((_SEED, num_samples, k)).random((NUM_DRAWN, num_samples))
        rows = np.argpartition(keys, k - 1, axis=1)[:, :k].astype(np.int64)
    found = np.zeros((len(rows), num_samples))
    np.put_along_axis(found, rows, 1.0, axis=1)
    columns = np.ascontiguousarray(found.T)
    columns.setflags(write=False)
    return columns


def _weights(log_weights: ArrayLike | None, num_samples: int) -> NDArray[np.float64]:
    if log_weights is None:
        return np.ones(num_samples)
    logs = np.asarray(log_weights, np.float64)
    if np.isnan(logs).any() or (logs == math.inf).any():
        raise ValueError("a vote's weight is nan or infinite; a verifier must give a finite log-flow")
    best = logs.max()
    return np.maximum(np.exp(logs - best), _TINY) if math.isfinite(best) else np.ones(num_samples)
