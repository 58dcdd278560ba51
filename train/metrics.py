"""How good a verifier's values are on trees that it has not learnt from. Numpy only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from arts_lite.report.estimators import best_of_k
from arts_lite.tasks import Rewards
from arts_lite.train.trees import TrainingTree, log_targets

Floats = NDArray[np.float64]
_LEAST_PROB = 1e-6  # no verdict is taken for more certain
_NUM_HALVINGS = 12


class Calibrated(Protocol):
    """What turns values into probabilities, such as an `Objective`."""

    def prob_correct(self, values: Floats, rewards: Rewards) -> Floats:
        """Turn values into P(correct)."""
        ...


def auc(scores: ArrayLike, positives: ArrayLike, negatives: ArrayLike) -> float:
    """Chance that a positive scores above a negative, ties counting half (Mann and Whitney 1947).

    Of leaves, each under the score of a prefix above it; `arts_lite.report.estimators.ordered_pairs` is of prefixes
    that have a share of right rollouts each, and weighs a pair by how far these are apart.

    Args:
        scores: float[n].
        positives, negatives: how many of each stand behind a score, [n], >= 0.

    Returns:
        nan if there is no positive or no negative.
    """
    values, ups, downs = _finite(scores), np.asarray(positives, np.float64), np.asarray(negatives, np.float64)
    total = ups.sum() * downs.sum()
    if total == 0:
        return math.nan
    _, place = np.unique(values, return_inverse=True)
    up, down = (np.bincount(place, weights=weights) for weights in (ups, downs))
    return float((up * (np.cumsum(down) - down / 2)).sum() / total)


def pairwise_accuracy(scores: ArrayLike, pairs: NDArray[np.int32], weights: ArrayLike | None = None) -> float:
    """Share of pairs (better, worse) whose scores say the same, ties counting half; nan without a pair.

    Args:
        scores: float[n].
        pairs: int[num_pairs, 2], places in `scores`.
        weights: of the pairs.
    """
    values = _finite(scores)
    if not len(pairs):
        return math.nan
    gap = np.sign(values[pairs[:, 0]] - values[pairs[:, 1]])
    return float(np.average((gap + 1) / 2, weights=None if weights is None else np.asarray(weights, np.float64)))


def brier(prob: ArrayLike, num_correct: ArrayLike, num_leaves: ArrayLike) -> float:
    """Mean of (p - y)^2 over leaves with verdict y, each predicted by p at a node above it (Brier 1950)."""
    p, ups, all_leaves = (np.asarray(one, np.float64) for one in (prob, num_correct, num_leaves))
    if not len(p):
        return math.nan
    return float((ups * (p - 1) ** 2 + (all_leaves - ups) * p**2).sum() / all_leaves.sum())


def expected_calibration_error(
    prob: ArrayLike, num_correct: ArrayLike, num_leaves: ArrayLike, num_bins: int = 10
) -> float:
    """Mean gap between predicted and observed share of correct leaves, over bins of equal width in p (Guo et al. 2017).

    Args:
        prob: float[n], in [0, 1].
        num_correct, num_leaves: of the leaves that p predicts, [n].
    """
    p, ups, all_leaves = (np.asarray(one, np.float64) for one in (prob, num_correct, num_leaves))
    if not len(p):
        return math.nan
    place = np.minimum((_finite(p) * num_bins).astype(np.int64), num_bins - 1)
    gaps = np.bincount(place, weights=all_leaves * p - ups, minlength=num_bins)
    return float(np.abs(gaps).sum() / all_leaves.sum())


def correlation(first: ArrayLike, second: ArrayLike) -> float:
    """Pearson's correlation; nan where one of both does not vary."""
    x, y = _finite(first), np.asarray(second, np.float64)
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan
    return float(np.corrcoef(x, y)[0, 1])


def target_noise(trees: Sequence[TrainingTree], estimator: str) -> float:
    """Variance of the log-target of one prefix over independent SDF draws, mean over prefixes; nan without any.

    A main trace with its forks is one draw of SDF, so that a root with n main traces has n of them: their targets are
    the unrolled ones of the root's children (`log_targets`). Only children that a single main trace passed count, and
    prefixes below the root do not: a fork there does not fork again, and so is another kind of draw.
    """
    variances = []
    for tree in trees:
        alone = (tree.parent == 0) & (tree.draws == 1) & (tree.main_draws == 1)
        if alone.sum() >= 2:
            variances.append(np.var(log_targets(tree, estimator)[alone], ddof=1))
    return float(np.mean(variances)) if variances else math.nan


def fit_log_prob_weight(
    trees: Sequence[TrainingTree], values: Sequence[ArrayLike], objective: Calibrated, rewards: Rewards
) -> float:
    """Weigh a trace's log-prob under the proposer beside the verifier's verdict, by which of two traces is right.

    If a is right and b wrong, the model is P(a rather than b) = sigmoid(d + w e), with d the difference of the log-odds
    that the verifier gives and e that of the log-probs; w is its maximum likelihood on all such pairs of main traces,
    each problem weighing the same. With w = 1 the odds of an answer are those of the verifier times the chance that the
    proposer gives it; w = 0: the proposer's likelihood tells nothing that the verifier does not know.

    Args:
        values: per tree, float[num_nodes].

    Returns:
        w in [0, 1]; 0 without a pair.
    """
    verdicts, likelihoods, weights = list[Floats](), list[Floats](), list[Floats]()
    for tree, one in zip(trees, values, strict=True):
        nodes, right = tree.trace_node[tree.trace_is_main], tree.trace_correct[tree.trace_is_main]
        if not right.any() or right.all():
            continue
        prob = np.clip(objective.prob_correct(_finite(one)[nodes], rewards), _LEAST_PROB, 1 - _LEAST_PROB)
        for kept, told in ((verdicts, np.log(prob / (1 - prob))), (likelihoods, _log_probs(tree)[nodes])):
            kept.append((told[right][:, None] - told[~right]).ravel())
        weights.append(np.full(len(verdicts[-1]), 1 / len(verdicts[-1])))
    d, e, share = _joined(verdicts), _joined(likelihoods), _joined(weights)
    if not len(d):
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(_NUM_HALVINGS):  # the log-likelihood is concave in w
        middle = (low + high) / 2
        slope = float((share * e * np.exp(-np.logaddexp(0.0, d + middle * e))).sum())
        low, high = (middle, high) if slope > 0 else (low, middle)
    return round((low + high) / 2, 3)


def dev_metrics(
    trees: Sequence[TrainingTree],
    values: Sequence[ArrayLike],
    objective: Calibrated,
    rewards: Rewards,
    *,
    ks: Sequence[int] = (2, 4, 8, 16),
) -> dict[str, float]:
    """Measure a verifier on trees; whatever the trees cannot tell is nan.

    Args:
        values: per tree, float[num_nodes].
        objective: says what values mean.
        ks: of best-of-k.

    Returns:
        "bon@k", "random@k" (the same traces, chosen at random) and "oracle@k" over the trees with at least k main
        traces, "num_bon@k" of them; where no tree has min(ks), forks take part too, though they are not independent.
        "bon_accuracy", the mean of bon@k over all k; "sibling_accuracy"; "leaf_auc" and "prefix_auc", means over trees
        of the AUC within each; "ece" and "brier" of all nodes below the root, each leaf counting under every prefix
        above it, and "leaf_ece" and "leaf_brier" of leaves; "depth_correlation" of values and depths over inner nodes
        below the root.

    Raises:
        ValueError: numbers of values and nodes differ, or a value is nan.
    """
    scored = [_finite(one) for one in values]
    for tree, one in zip(trees, scored, strict=True):
        if one.shape != (tree.num_nodes,):
            raise ValueError(
                f"values of a tree have shape {list(one.shape)}, but must be one per node, {tree.num_nodes}"
            )
    told = _best_of(trees, scored, ks)
    starts = np.cumsum([0, *(tree.num_nodes for tree in trees)])
    pairs = np.concatenate(
        [np.zeros((0, 2), np.int64), *(tree.pairs + start for tree, start in zip(trees, starts, strict=False))]
    )
    told["sibling_accuracy"] = pairwise_accuracy(_joined(scored), pairs, _joined(tree.pair_weight for tree in trees))
    told["leaf_auc"] = _mean(_aucs(trees, scored, [~tree.is_inner for tree in trees]))
    prefixes = [tree.is_inner & (tree.depth > 0) for tree in trees]
    told["prefix_auc"] = _mean(_aucs(trees, scored, prefixes))
    told["depth_correlation"] = correlation(
        _of(scored, prefixes), _of([tree.depth.astype(np.float64) for tree in trees], prefixes)
    )
    for name, kept in (
        ("", [tree.depth > 0 for tree in trees]),
        ("leaf_", [~tree.is_inner for tree in trees]),
    ):
        prob = objective.prob_correct(_of(scored, kept), rewards)
        ups = _of([tree.num_correct.astype(np.float64) for tree in trees], kept)
        leaves = _of([tree.num_leaves.astype(np.float64) for tree in trees], kept)
        told[f"{name}ece"] = expected_calibration_error(prob, ups, leaves)
        told[f"{name}brier"] = brier(prob, ups, leaves)
    return told


def _log_probs(tree: TrainingTree) -> Floats:
    """Of the whole prefix under the proposer, per node."""
    total = tree.log_pf_model.copy()
    for node in range(1, tree.num_nodes):
        total[node] += total[tree.parent[node]]
    return np.asarray(total)


def _best_of(trees: Sequence[TrainingTree], scored: Sequence[Floats], ks: Sequence[int]) -> dict[str, float]:
    told: dict[str, float] = {}
    has_mains = any(tree.trace_is_main.sum() >= min(ks) for tree in trees)
    traces = []
    for tree, values in zip(trees, scored, strict=True):
        kept = tree.trace_is_main if has_mains else np.ones_like(tree.trace_is_main)
        traces.append((values[tree.trace_node[kept]], tree.trace_correct[kept].astype(np.float64)))
    for k in ks:
        enough = [(scores, correct) for scores, correct in traces if len(scores) >= k]
        told[f"bon@{k}"] = _mean(best_of_k(scores, correct, k) for scores, correct in enough)
        told[f"random@{k}"] = _mean(float(correct.mean()) for _, correct in enough)
        told[f"oracle@{k}"] = _mean(best_of_k(correct, correct, k) for _, correct in enough)
        told[f"num_bon@{k}"] = len(enough)
    told["bon_accuracy"] = _mean(told[f"bon@{k}"] for k in ks)
    return told


def _aucs(
    trees: Sequence[TrainingTree], scored: Sequence[Floats], kept: Sequence[NDArray[np.bool_]]
) -> Iterator[float]:
    for tree, values, part in zip(trees, scored, kept, strict=True):
        yield auc(values[part], tree.num_correct[part], (tree.num_leaves - tree.num_correct)[part])


def _of(values: Sequence[Floats], kept: Sequence[NDArray[np.bool_]]) -> Floats:
    """Join what is kept of each tree."""
    return _joined(one[part] for one, part in zip(values, kept, strict=True))


def _joined(values: Iterable[Floats]) -> Floats:
    return np.concatenate([np.zeros(0), *values])


def _mean(values: Iterable[float]) -> float:
    """Mean of what is not nan; nan without any."""
    told = [value for value in values if not math.isnan(value)]
    return float(np.mean(told)) if told else math.nan


def _finite(values: ArrayLike) -> Floats:
    array = np.asarray(values, np.float64)
    if np.isnan(array).any():
        raise ValueError(f"{int(np.isnan(array).sum())} of {array.size} values are nan; a verifier must give a number")
    return array
