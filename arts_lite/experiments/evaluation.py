"""From an evaluation's pool, scores and live runs to its figures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arts_lite.experiments.analysis import calibration_of_scores, score_by_depth
from arts_lite.experiments.lines import write_whole
from arts_lite.experiments.live import live_methods
from arts_lite.experiments.methods import POOL_STRATEGIES, Method, pool_methods
from arts_lite.experiments.pool import PoolProblem, pool_settings, read_pool
from arts_lite.experiments.prefix_results import prefix_results
from arts_lite.experiments.scoring import Scores, all_scores
from arts_lite.experiments.versions import versions
from arts_lite.report.bootstrap import LEVEL, NUM_RESAMPLES, Bootstrap, Estimate
from arts_lite.verifier.output import finite

SCHEMA, SCHEMA_VERSION = "arts-lite.eval", 1
_COSTS = ("num_tokens", "num_tokens_decoded", "num_verifier_tokens")
RESULTS, PROBLEMS = "results.json", "problems.jsonl"


def evaluate(
    folder: Path,
    *,
    ks: Sequence[int] = (),
    strategies: Sequence[str] = POOL_STRATEGIES,
    order: Sequence[str] = (),
    references: Sequence[str] = (),
    split: str | None = None,
    num_resamples: int = NUM_RESAMPLES,
) -> dict[str, Any]:
    """Compute an evaluation's figures from what its folder holds, and write results.json and problems.jsonl.

    Args:
        ks: sizes of subsets; those above the pool's number of samples are left out. None given: powers of two.
        order: of the verifiers; the first one's best-of-n is a reference.
        references: further labels.

    Raises:
        ValueError: a reference names no method.
        DatasetError, TraceFormatError, LinesError: the folder holds no evaluation, or is damaged.
    """
    settings = pool_settings(folder)
    pool = read_pool(folder)
    num_samples = int(settings["search"]["n"])
    own_ks = sorted({k for k in ks or _powers(num_samples) if 1 <= k <= num_samples} | {1})
    scores = all_scores(folder, pool, order)
    methods = [*pool_methods(pool, scores, own_ks, strategies), *live_methods(folder, pool)]
    named = _references(methods, scores, references)
    told, boots = _with_intervals(methods, pool, num_resamples)
    results = {
        "schema": SCHEMA,
        "version": SCHEMA_VERSION,
        "task": settings["task"],
        "split": split,
        "seed": settings["search"]["seed"],
        "proposer": settings["proposer"],
        "num_problems": len(pool),
        "num_missing": int(settings["problems"]["num"]) - len(pool),
        "num_samples": num_samples,
        "k": own_ks,
        "verifiers": {
            one.name: {**one.settings, "num_problems": len(one.readings), "order": place}
            for place, one in enumerate(scores)
        },
        "methods": told,
        "references": named,
        "differences": _differences(methods, named, boots),
        "groups": _by_group(methods, pool),
        "prefixes": prefix_results(folder, pool, scores, num_resamples=num_resamples),
        "calibration": {one.name: calibration_of_scores(one, pool) for one in scores},
        "depth": {one.name: score_by_depth(one, pool) for one in scores},
        "bootstrap": {"num_resamples": num_resamples, "level": LEVEL, "seed": 0},
        "versions": dict(versions()),
    }
    plain: dict[str, Any] = finite(results)
    _write(folder, plain, pool, methods)
    return plain


def interval(estimate: Estimate, name: str) -> dict[str, float]:
    """Write an estimate under this name."""
    return {name: estimate.value, "low": estimate.low, "high": estimate.high}


class _At:
    """The values of all methods at one k, and their resamples."""

    def __init__(self, methods: Sequence[Method], pool: Sequence[PoolProblem], k: int, num_resamples: int) -> None:
        self.columns = {method.label: place for place, method in enumerate(methods)}
        values = np.full((len(pool), len(methods)), np.nan)
        for place, method in enumerate(methods):
            own = method.outcomes[k]
            for row, problem in enumerate(pool):
                if problem.id in own:
                    values[row, place] = own[problem.id].accuracy
        self.has_value = ~np.isnan(values)
        self.boot = Bootstrap(values, num_resamples=num_resamples)


def _with_intervals(
    methods: Sequence[Method], pool: Sequence[PoolProblem], num_resamples: int
) -> tuple[list[dict[str, Any]], dict[int, _At]]:
    boots = {}
    for k in sorted({k for method in methods for k in method.outcomes}):
        boots[k] = _At([method for method in methods if k in method.outcomes], pool, k, num_resamples)
    told = []
    for method in methods:
        points = []
        for k, own in sorted(method.outcomes.items()):
            if not own:
                continue
            points.append(
                {
                    "k": k,
                    **interval(boots[k].boot.mean(boots[k].columns[method.label]), "accuracy"),
                    **{name: float(np.mean([getattr(one, name) for one in own.values()])) for name in _COSTS},
                    "num_problems": len(own),
                }
            )
        names = ("label", "strategy", "scorer", "aggregation", "is_own", "live", "early_stop")
        told.append({**{name: getattr(method, name) for name in names}, "points": points})
    return told, boots


def _references(methods: Sequence[Method], scores: Sequence[Scores], asked: Sequence[str]) -> list[str]:
    labels = [method.label for method in methods]
    for label in asked:
        if label not in labels:
            raise ValueError(f"reference is {label!r}, but must be one of {', '.join(labels)}")
    first = [f"best-of-n:{scores[0].name}"] if scores else []
    return [label for label in dict.fromkeys(["majority", *first, "random", *asked]) if label in labels]


def _differences(
    methods: Sequence[Method], references: Sequence[str], boots: Mapping[int, _At]
) -> list[dict[str, Any]]:
    """Compare each method with each reference at every k, over the problems for which both have a value."""
    found = []
    for k, at in boots.items():
        for reference in references:
            if k == 1 or reference not in at.columns:
                continue
            other = at.columns[reference]
            for method in methods:
                if method.label == reference or method.label not in at.columns:
                    continue
                own = at.columns[method.label]
                if (at.has_value[:, own] != at.has_value[:, other]).any():
                    continue  # not of the same problems: a difference would compare problems too
                told = {"method": method.label, "reference": reference, "k": k}
                found.append({**told, **interval(at.boot.difference(own, other), "difference")})
    return found


def _by_group(methods: Sequence[Method], pool: Sequence[PoolProblem]) -> dict[str, Any]:
    members: dict[str, dict[str, set[str]]] = {}
    for problem in pool:
        for name, value in problem.groups.items():
            members.setdefault(name, {}).setdefault(value, set()).add(problem.id)
    return {
        name: {
            value: {
                "num_problems": len(ids),
                "accuracy": {method.label: _means(method, ids) for method in methods},
            }
            for value, ids in sorted(groups.items())
        }
        for name, groups in members.items()
    }


def _means(method: Method, ids: set[str]) -> dict[str, float]:
    found = {}
    for k, own in sorted(method.outcomes.items()):
        values = [one.accuracy for name, one in own.items() if name in ids]
        if values:
            found[str(k)] = float(np.mean(values))
    return found


def _write(folder: Path, results: dict[str, Any], pool: Sequence[PoolProblem], methods: Sequence[Method]) -> None:
    lines = []
    for problem in pool:
        values = {
            method.label: {
                str(k): round(own[problem.id].accuracy, 6) for k, own in method.outcomes.items() if problem.id in own
            }
            for method in methods
        }
        told: dict[str, Any] = {"id": problem.id, "asked": problem.asked, "groups": problem.groups}
        told |= {"num_correct": int(problem.correct.sum()), "num_samples": problem.num_samples}
        lines.append(json.dumps({**told, "values": values}))
    write_whole(folder / PROBLEMS, "\n".join(lines) + "\n")
    write_whole(folder / RESULTS, json.dumps(results, indent=1, allow_nan=False) + "\n")


def _powers(largest: int) -> list[int]:
    return [1 << power for power in range(1, largest.bit_length()) if 1 << power <= largest] or [largest]
