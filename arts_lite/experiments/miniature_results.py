"""What the stages of the miniature come to: figures by name, tables, verdicts on the paper's claims."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arts_lite.experiments.claims import judge
from arts_lite.experiments.figures import Evaluation, Figure, Values, difference, mean, whole_range
from arts_lite.experiments.lines import read_lines
from arts_lite.experiments.miniature import POLICY_VERIFIERS, VERIFIERS
from arts_lite.experiments.pipeline import write_json
from arts_lite.experiments.versions import versions

SCHEMA, SCHEMA_VERSION = "arts-lite.miniature", 1
BINS = ("mode", "rare", "endangered", "wrong")
WITH_LOG_PROB = " + log-prob"
"""Ends the names of choices by a verifier's score and the trace's log-prob together, weighed as in the verifier's file.

Without it the score alone decides, as in the paper, so that verifiers are compared with each other as what they are.
"""
_PLAIN = ("random", "majority", "best-of-n:logprob", "oracle")
_HOW = {"prm-soft": "min", "prm-hard": "min"}
"""How scores of steps become the trace's where it is not by the last one; process reward models as in the paper."""
_ALSO = {"prm-soft": ("last", "mean"), "prm-hard": ("last", "mean")}
"""Told besides."""


def measure(folder: Path, *, num_seeds: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Compute everything from the folder's evaluations, and write results.json.

    What a shorter run lacks (Countdown) is left out.

    Raises:
        DatasetError, LinesError: an evaluation is missing or damaged.
    """
    seeds = range(num_seeds)
    base = Evaluation.load(folder / "eval-arithmetic")
    policies = [Evaluation.load(folder / f"eval-policy-{seed}") for seed in seeds]
    extinct = [Evaluation.load(folder / f"eval-extinct-{seed}") for seed in seeds]
    search = Evaluation.load(folder / "search")
    probe = squeeze(folder, num_seeds)
    figures: dict[str, Figure] = {}
    figures |= best_of_n_figures(base, num_seeds)
    figures |= policy_figures(base, policies)
    figures |= extinction_figures(extinct)
    figures |= {f"squeeze/{name}": figure for name, figure in probe.items()}
    figures |= depth_figures(folder / "eval-arithmetic", num_seeds)
    figures |= search_figures(search)
    tables = {
        "arithmetic": choice_table(base, num_seeds),
        "policy": policy_table(policies),
        "extinct": choice_table_of(extinct, VERIFIERS),
        "search": search_table(search),
    }
    if (folder / "eval-countdown" / "results.json").exists():
        other = Evaluation.load(folder / "eval-countdown")
        tables["countdown"] = choice_table(other, 1)
        of_other = best_of_n_figures(other, 1).items()
        figures |= {name.replace("bon@16", "countdown"): one for name, one in of_other if name.startswith("bon@16")}
    plain = {name: figure.to_dict() for name, figure in figures.items()}
    results = {
        "schema": SCHEMA,
        "version": SCHEMA_VERSION,
        "settings": dict(settings),
        "num_seeds": num_seeds,
        "k": base.top_k,
        "figures": plain,
        "tables": tables,
        "claims": [verdict.to_dict() for verdict in judge(plain)],
        "versions": versions(),
    }
    write_json(folder / "results.json", results)
    return results


def best_of_n_figures(base: Evaluation, num_seeds: int) -> dict[str, Figure]:
    """Compare the verifiers on the frozen proposer's pool, at the largest k."""
    k, seeds = base.top_k, range(num_seeds)
    others: dict[str, Sequence[Values]] = {name: [base.at(name, k)] for name in ("random", "majority")}
    others["logprob"] = [base.at("best-of-n:logprob", k)]
    for row, kind, suffix in _rows(VERIFIERS):
        others[row] = [base.at(_label(base, "best-of-n", f"{kind}-{seed}", kind, suffix), k) for seed in seeds]
    told = {}
    for own in (row for kind in POLICY_VERIFIERS for row in (kind, kind + WITH_LOG_PROB)):
        kind, suffix = own.removesuffix(WITH_LOG_PROB), own[len(own.removesuffix(WITH_LOG_PROB)) :]
        for name, columns in others.items():
            if name != own:
                told[f"bon@16/{own} - {name}"] = difference(others[own], columns)
        votes = [base.at(_label(base, "weighted-vote", f"{kind}-{seed}", kind, suffix), k) for seed in seeds]
        told[f"vote@16/{own} - majority"] = difference(votes, others["majority"])
    return told


def policy_figures(base: Evaluation, policies: Sequence[Evaluation]) -> dict[str, Figure]:
    """Compare the frozen proposer's choices with the tuned policies', on the same problems and at the same budget."""
    k, seeds = base.top_k, range(len(policies))
    alone = [one.at("random", k) for one in policies]
    votes = [one.at("majority", k) for one in policies]
    told = {
        "grpo/pass@1 gain": difference(alone, [base.at("random", k)]),
        "grpo/majority gain": difference(votes, [base.at("majority", k)]),
        "grpo/pass@16 gain": difference([one.at("oracle", k) for one in policies], [base.at("oracle", k)]),
    }
    for row, kind, suffix in _rows(POLICY_VERIFIERS):
        own = [base.at(_label(base, "best-of-n", f"{kind}-{seed}", kind, suffix), k) for seed in seeds]
        told[f"{row}@16 - grpo pass@1"] = difference(own, alone)
        told[f"{row}@16 - grpo majority@16"] = difference(own, votes)
        tuned = [one.at(_label(one, "best-of-n", kind, kind, suffix), k) for one in policies]
        told[f"grpo with {row} - grpo majority"] = difference(tuned, votes)
    return told


def extinction_figures(sets: Sequence[Evaluation]) -> dict[str, Figure]:
    """Compare the choices on each seed's extinction set."""
    k = max(one.top_k for one in sets)
    plain = {name: [one.at(name, k) for one in sets] for name in ("random", "majority", "oracle")}
    own = {
        row: [one.at(_label(one, "best-of-n", kind, kind, suffix), k) for one in sets]
        for row, kind, suffix in _rows(VERIFIERS)
    }
    told = {f"extinct/{name}": mean(columns) for name, columns in {**plain, **own}.items()}
    told |= {f"extinct/{row} - random": difference(columns, plain["random"]) for row, columns in own.items()}
    told |= {f"extinct/{kind} - prm-hard": difference(own[kind], own["prm-hard"]) for kind in POLICY_VERIFIERS}
    return told


def squeeze(folder: Path, num_seeds: int) -> dict[str, Figure]:
    """Read what GRPO did to the bank's traces by its last step, in log10 of their likelihood.

    The interval holds those of all seeds, so that what is said holds for each of them.
    """
    found: dict[str, list[Figure]] = {name: [] for name in BINS}
    for seed in range(num_seeds):
        lines = [line for line in read_lines(folder / f"grpo-{seed}" / "extinction.jsonl") if line["by"] == "bin"]
        last = max((line["step"] for line in lines), default=0)
        for line in lines:
            if line["step"] == last and line["name"] in found and line["mean_delta_log10_prob"] is not None:
                told = (line["mean_delta_log10_prob"], line["low"], line["high"], line["num_problems"])
                found[line["name"]].append(Figure(*told))
    return {name: whole_range(figures) for name, figures in found.items() if len(figures) == num_seeds}


def depth_figures(folder: Path, num_seeds: int) -> dict[str, Figure]:
    """Compare how the summed and the expected flow go along with depth: sizes of the correlations, by problem.

    Within each problem, over the steps of its traces, so that hard problems with long traces do not make it.
    """
    by_kind = {
        kind: [_depth_correlations(folder / "scores" / f"{kind}-{seed}" / "scores.jsonl") for seed in range(num_seeds)]
        for kind in POLICY_VERIFIERS
    }
    told = {f"depth/{kind}": mean(columns) for kind, columns in by_kind.items()}
    sizes = {
        kind: [{name: abs(value) for name, value in column.items()} for column in columns]
        for kind, columns in by_kind.items()
    }
    told["depth/sum - expected"] = difference(sizes["arts-sum"], sizes["arts-expected"])
    return told


def search_figures(search: Evaluation) -> dict[str, Figure]:
    """Compare flow search with best-of-n: at half of its tokens, and at equal tokens with the same early stop.

    Once in tokens that are drawn, once in those that are decoded, of which the traces of best-of-n share many.
    """
    drawn, decoded = (_search_figures(search, cost) for cost in ("num_tokens", "num_tokens_decoded"))
    names = {
        "search/flow at half the tokens - best-of-16": "search/flow at half the decoded tokens - best-of-16",
        "search/share of best-of-16's tokens": "search/share of best-of-16's decoded tokens",
        "search/flow - best-of-n with early stop": "search/flow - best-of-n with early stop, decoded",
    }
    return {**drawn, **{names[name]: figure for name, figure in decoded.items()}}


def _search_figures(search: Evaluation, cost: str) -> dict[str, Figure]:
    flow = _points(search, "flow", cost, live=True)
    stopped = _points(search, "best-of-n", cost, live=True)
    pool = _points(search, "best-of-n", cost, live=False, scorer="arts-expected-0")
    told = {}
    if flow and pool:
        label, k, tokens = max(pool, key=lambda point: point[1])
        half = [point for point in flow if point[2] <= tokens / 2]
        best = max(half or flow, key=lambda point: point[2] if half else -point[2])
        name = "search/flow at half the tokens - best-of-16"
        if half:
            told[name] = difference([search.at(best[0], best[1])], [search.at(label, k)])
        told["search/share of best-of-16's tokens"] = Figure(*(best[2] / tokens,) * 3)
    if flow and stopped:
        pairs = [(a, min(stopped, key=lambda b, own=a: abs(np.log(b[2] / own[2])))) for a in flow]  # type: ignore[misc]
        near = [(a, b) for a, b in pairs if 0.8 <= b[2] / a[2] <= 1.25]
        if near:
            ours, theirs = (_averaged([search.at(*pair[side][:2]) for pair in near]) for side in (0, 1))
            told["search/flow - best-of-n with early stop"] = difference([ours], [theirs])
    return told


def _averaged(columns: Sequence[Values]) -> Values:
    """Average a problem's accuracies, of those that are in all columns."""
    ids = set.intersection(*(set(column) for column in columns))
    return {name: sum(column[name] for column in columns) / len(columns) for name in ids}


def choice_table(evaluation: Evaluation, num_seeds: int) -> list[dict[str, Any]]:
    """Tabulate best-of-k of all ways to choose: a row per way, accuracies by k, means over seeds."""

    def row(strategy: str, name: str, kind: str, suffix: str) -> dict[str, Any]:
        labels = [_label(evaluation, strategy, f"{kind}-{seed}", kind, suffix) for seed in range(num_seeds)]
        return _row(f"{strategy}:{name}", [evaluation] * num_seeds, labels)

    rows = [_row(name, [evaluation], [name]) for name in _PLAIN]
    rows[-1:-1] = [row("best-of-n", *one) for one in _rows(VERIFIERS)]
    rows[-1:-1] = [row("weighted-vote", *one) for one in _rows(POLICY_VERIFIERS)]
    return rows


def choice_table_of(evaluations: Sequence[Evaluation], kinds: Collection[str]) -> list[dict[str, Any]]:
    """Tabulate the same where each seed has an evaluation of its own."""
    rows = [_row(name, evaluations, [name] * len(evaluations)) for name in _PLAIN]
    for row, kind, suffix in _rows(kinds):
        labels = [_label(one, "best-of-n", kind, kind, suffix) for one in evaluations]
        rows.insert(-1, _row(f"best-of-n:{row}", evaluations, labels))
    return rows


def policy_table(policies: Sequence[Evaluation]) -> list[dict[str, Any]]:
    """Tabulate the tuned policies' own samples."""
    return choice_table_of(policies, POLICY_VERIFIERS)


def search_table(search: Evaluation) -> list[dict[str, Any]]:
    """Tabulate accuracy against tokens: a row per method and k."""
    rows = []
    for method in search.results["methods"]:
        if method["live"] or (method["strategy"] == "best-of-n" and method["is_own"]):
            for point in method["points"]:
                figure = mean([search.at(method["label"], point["k"])])
                tokens = {name: point[name] for name in ("num_tokens", "num_tokens_decoded", "num_verifier_tokens")}
                rows.append({"method": method["label"], "k": point["k"], **figure.to_dict(), **tokens})
    return rows


def _rows(kinds: Collection[str]) -> list[tuple[str, str, str]]:
    """List the ways to choose by verifiers: (name, the verifier's kind, what the name has besides)."""
    suffixes = {kind: ("", *(f"/{how}" for how in _ALSO.get(kind, ())), WITH_LOG_PROB) for kind in kinds}
    return [(kind + suffix, kind, suffix) for kind in kinds for suffix in suffixes[kind]]


def _label(evaluation: Evaluation, strategy: str, verifier: str, kind: str, suffix: str) -> str:
    """Find the method of an evaluation: with `WITH_LOG_PROB` the verifier's own way, else its score alone.

    The two are one where its file gives log-prob no weight.
    """
    own = f"{strategy}:{verifier}"
    if suffix == WITH_LOG_PROB:
        return own
    told = f"{own}/{suffix.removeprefix('/') or _HOW.get(kind, 'last')}"
    return told if told in evaluation.values else own


def _row(name: str, evaluations: Sequence[Evaluation], labels: Sequence[str]) -> dict[str, Any]:
    ks = [int(k) for k in evaluations[0].results["k"] if int(k) > 1]
    pairs = list(zip(evaluations, labels, strict=True))
    points = {str(k): mean([one.at(label, k) for one, label in pairs]).to_dict() for k in ks}
    return {"method": name, "points": points}


def _points(
    search: Evaluation, strategy: str, cost: str, *, live: bool, scorer: str | None = None
) -> list[tuple[str, int, float]]:
    """List (label, k, tokens of proposer and verifier) of a method's points."""
    return [
        (method["label"], int(point["k"]), float(point[cost]) + float(point["num_verifier_tokens"]))
        for method in search.results["methods"]
        if method["strategy"] == strategy and bool(method["live"]) == live
        if live or (method["is_own"] and method["scorer"] == scorer)
        for point in method["points"]
    ]


def _depth_correlations(path: Path) -> dict[str, float]:
    found = {}
    for line in read_lines(path):
        values = [value for trace in line["values"] for value in trace[:-1]]  # a leaf's flow is its reward alone
        depths = [place for trace in line["values"] for place, _ in enumerate(trace[:-1])]
        known = [(depth, value) for depth, value in zip(depths, values, strict=True) if value is not None]
        table = np.array(known, np.float64).reshape(-1, 2)
        if len(table) and (table.std(0) > 0).all():
            found[str(line["problem"])] = float(np.corrcoef(table.T)[0, 1])
    return found


def read_results(folder: Path) -> dict[str, Any]:
    """Read what `measure` wrote."""
    told: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return told
