"""Within-problem AUC of every scorer on labelled prefixes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arts_lite.experiments.lines import read_lines
from arts_lite.experiments.methods import JOINT
from arts_lite.experiments.pool import PoolProblem, aggregated
from arts_lite.experiments.prefixes import LINES, PREFIXES
from arts_lite.experiments.scoring import Scores
from arts_lite.report.bootstrap import Bootstrap
from arts_lite.report.estimators import ordered_pairs
from arts_lite.search.scorers import AGGREGATIONS

DEFINITION = (
    "Share of pairs of prefixes of one problem that values order as the labels do (the share of fresh rollouts that "
    "are right), ties counting half; a pair weighs the difference of its labels. auc_half: pairs of a prefix of which "
    "more than half of the rollouts are right and one of which at most half are, all weighing the same."
)

_Key = tuple[str, str | None]


def prefix_results(
    folder: Path, pool: Sequence[PoolProblem], scores: Sequence[Scores], *, num_resamples: int
) -> dict[str, Any] | None:
    """Compute the AUC of every scorer; None where no prefixes have been labelled.

    A scorer's value at a prefix is what its aggregation makes of the steps up to there.
    """
    labels = _labels(folder, pool)
    if not labels:
        return None
    problems = [problem for problem in pool if problem.id in labels]
    values = _values(problems, scores, labels)
    keys = list(values)
    whole, half = (_pairs(problems, values, labels, by_half=by_half) for by_half in (False, True))
    boot = Bootstrap(*whole, num_resamples=num_resamples)
    rows = []
    for place, (scorer, aggregation) in enumerate(keys):
        told = boot.mean(place)
        rows.append(
            {
                "scorer": scorer,
                "aggregation": aggregation,
                "auc": told.value,
                "low": told.low,
                "high": told.high,
                "auc_half": float(Bootstrap(*half, num_resamples=1).means[place]),
            }
        )
    lines = [line for own in labels.values() for line in own]
    return {
        "num_problems": len(problems),
        "num_prefixes": len(lines),
        "num_pairs": sum(_num_pairs(own) for own in labels.values()),
        "num_rollouts": max(int(line["num_rollouts"]) for line in lines),
        "definition": DEFINITION,
        "scorers": rows,
        "differences": _differences(keys, scores, boot),
    }


def _labels(folder: Path, pool: Sequence[PoolProblem]) -> dict[str, list[dict[str, Any]]]:
    known = {problem.id: problem for problem in pool}
    found: dict[str, list[dict[str, Any]]] = {}
    for line in read_lines(folder / PREFIXES / LINES):
        problem = known.get(str(line["problem"]))
        if problem is not None and line["num_rollouts"] and line["trace"] < problem.num_samples:
            found.setdefault(problem.id, []).append(line)
    return found


def _values(
    problems: Sequence[PoolProblem], scores: Sequence[Scores], labels: Mapping[str, Sequence[Mapping[str, Any]]]
) -> dict[_Key, dict[str, list[float]]]:
    """Compute each scorer's value at each prefix, by problem's id."""
    found: dict[_Key, dict[str, list[float]]] = {("logprob", None): {}}
    for problem in problems:
        found["logprob", None][problem.id] = [
            problem.log_probs[line["trace"]][line["num_steps"] - 1] for line in labels[problem.id]
        ]
    for scorer in scores:
        ways = [*((name, name, 0.0) for name in AGGREGATIONS), (JOINT, "last", 1.0)]
        for name, aggregation, weight in ways:
            own = found[scorer.name, name] = {}
            for problem in problems:
                if (reading := scorer.readings.get(problem.id)) is not None:
                    own[problem.id] = [
                        aggregated(list(reading.values[line["trace"]][: line["num_steps"]]), AGGREGATIONS[aggregation])
                        + weight * problem.log_prob(line["trace"], line["num_steps"])
                        for line in labels[problem.id]
                    ]
    return found


def _pairs(
    problems: Sequence[PoolProblem],
    values: Mapping[_Key, Mapping[str, list[float]]],
    labels: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    by_half: bool,
) -> tuple[Any, Any]:
    """AUC within each problem and the weight of its pairs, each float64[num_problems, num_scorers]."""
    aucs = np.full((len(problems), len(values)), np.nan)
    weights = np.zeros_like(aucs)
    for row, problem in enumerate(problems):
        shares = [line["num_correct"] / line["num_rollouts"] for line in labels[problem.id]]
        truth = [float(share > 0.5) for share in shares] if by_half else shares
        for column, own in enumerate(values.values()):
            if problem.id in own:
                in_order, total = ordered_pairs(own[problem.id], truth)
                if total:
                    aucs[row, column], weights[row, column] = in_order / total, total
    return aucs, weights


def _num_pairs(lines: Sequence[Mapping[str, Any]]) -> int:
    shares = [line["num_correct"] / line["num_rollouts"] for line in lines]
    return sum(a > b for a in shares for b in shares)


def _differences(keys: Sequence[_Key], scores: Sequence[Scores], boot: Bootstrap) -> list[dict[str, Any]]:
    """Compare every scorer with the first verifier and with the mean log-prob."""
    references = [("logprob", None)] + [(scores[0].name, scores[0].aggregation)] * bool(scores)
    found = []
    for reference in references:
        for place, key in enumerate(keys):
            if key == reference:
                continue
            told = boot.difference(place, keys.index(reference))
            if math.isnan(told.value):
                continue
            name = reference[0] if reference[1] is None else f"{reference[0]}/{reference[1]}"
            what = {"scorer": key[0], "aggregation": key[1], "reference": name}
            found.append({**what, "difference": told.value, "low": told.low, "high": told.high})
    return found
