"""What the stages of the miniature come to: figures by name, tables, verdicts on the paper's claims."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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
_PLAIN = ("random", "majority", "best-of-n:logprob", "oracle")
_ALSO = {"prm-soft": ("last", "mean"), "prm-hard": ("last", "mean")}
"""Process reward models are used by the minimum over steps, as in the paper; these are told besides."""


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
        "extinct": choice_table_of(extinct, list(VERIFIERS)),
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
    k = base.top_k
    own = {kind: [base.at(f"best-of-n:{kind}-{seed}", k) for seed in range(num_seeds)] for kind in VERIFIERS}
    others: dict[str, Sequence[Values]] = {name: [base.at(name, k)] for name in ("random", "majority")}
    others |= {"logprob": [base.at("best-of-n:logprob", k)], **own}
    others |= {
        f"{kind}/{how}": [base.at(f"best-of-n:{kind}-{seed}/{how}", k) for seed in range(num_seeds)]
        for kind, ways in _ALSO.items()
        for how in ways
    }
    told = {}
    for kind in POLICY_VERIFIERS:
        for name, columns in others.items():
            if name != kind:
                told[f"bon@16/{kind} - {name}"] = difference(own[kind], columns)
        votes = [base.at(f"weighted-vote:{kind}-{seed}", k) for seed in range(num_seeds)]
        told[f"vote@16/{kind} - majority"] = difference(votes, others["majority"])
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
    for kind in POLICY_VERIFIERS:
        own = [base.at(f"best-of-n:{kind}-{seed}", k) for seed in seeds]
        told[f"{kind}@16 - grpo pass@1"] = difference(own, alone)
        told[f"{kind}@16 - grpo majority@16"] = difference(own, votes)
        told[f"grpo with {kind} - grpo majority"] = difference(
            [one.at(f"best-of-n:{kind}", k) for one in policies], votes
        )
    return told


def extinction_figures(sets: Sequence[Evaluation]) -> dict[str, Figure]:
    """Compare the choices on each seed's extinction set."""
    k = max(one.top_k for one in sets)
    own = {kind: [one.at(f"best-of-n:{kind}", k) for one in sets] for kind in VERIFIERS}
    plain = {name: [one.at(name, k) for one in sets] for name in ("random", "majority", "oracle")}
    told = {f"extinct/{name}": mean(columns) for name, columns in {**plain, **own}.items()}
    told |= {f"extinct/{kind} - random": difference(own[kind], plain["random"]) for kind in VERIFIERS}
    by_last = [one.at("best-of-n:prm-hard/last", k) for one in sets]
    told["extinct/prm-hard/last - random"] = difference(by_last, plain["random"])
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
            a, b = max(near, key=lambda pair: pair[0][2])
            told["search/flow - best-of-n with early stop"] = difference([search.at(*a[:2])], [search.at(*b[:2])])
    return told


def choice_table(evaluation: Evaluation, num_seeds: int) -> list[dict[str, Any]]:
    """Tabulate best-of-k of all ways to choose: a row per way, accuracies by k, means over seeds."""
    rows = [_row(name, [evaluation], [name]) for name in _PLAIN]
    for kind in VERIFIERS:
        labels = [f"best-of-n:{kind}-{seed}" for seed in range(num_seeds)]
        for suffix in ("", *(f"/{how}" for how in _ALSO.get(kind, ()))):
            named = [label + suffix for label in labels]
            rows.insert(-1, _row(f"best-of-n:{kind}{suffix}", [evaluation] * num_seeds, named))
    for kind in POLICY_VERIFIERS:
        labels = [f"weighted-vote:{kind}-{seed}" for seed in range(num_seeds)]
        rows.insert(-1, _row(f"weighted-vote:{kind}", [evaluation] * num_seeds, labels))
    return rows


def choice_table_of(evaluations: Sequence[Evaluation], kinds: Sequence[str]) -> list[dict[str, Any]]:
    """Tabulate the same where each seed has an evaluation of its own."""
    suffixes = {kind: ("", *(f"/{how}" for how in _ALSO.get(kind, ()))) for kind in kinds}
    scored = [f"best-of-n:{kind}{suffix}" for kind in kinds for suffix in suffixes[kind]]
    names = [*_PLAIN[:-1], *scored, _PLAIN[-1]]
    return [_row(name, evaluations, [name] * len(evaluations)) for name in names]


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
