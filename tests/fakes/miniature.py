"""The folder of a miniature whose evaluations are made up."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

KS = (1, 2, 16)
BASE = {"random": 0.5, "majority": 0.6, "oracle": 0.95, "logprob": 0.55}
CHOSEN = {"arts-sum": 0.8, "arts-expected": 0.85, "prm-soft": 0.84, "prm-hard": 0.7, "rm": 0.65, "orm": 0.75}
LOG_PROB = 0.04  # what it adds to the choices of ARTS
POLICY = {"random": 0.62, "majority": 0.66, "oracle": 0.85, "logprob": 0.62, "arts-sum": 0.8, "arts-expected": 0.8}
EXTINCT = {"random": 0.05, "majority": 0.0, "oracle": 0.5, "logprob": 0.03}
RECOVERED = {"arts-sum": 0.2, "arts-expected": 0.25, "prm-soft": 0.2, "prm-hard": 0.01, "rm": 0.05, "orm": 0.1}


def write_miniature(folder: Path, num_seeds: int = 2, num_problems: int = 400) -> None:
    """Write what `measure` reads. Accuracies of a method are those above, on each problem by a draw of its own."""
    seeds = range(num_seeds)
    own = {f"{kind}-{seed}": value for kind, value in CHOSEN.items() for seed in seeds}
    _evaluation(folder / "eval-arithmetic", BASE, own, num_problems)
    for seed in seeds:
        kinds = {name: POLICY[name] for name in ("arts-sum", "arts-expected")}
        _evaluation(folder / f"eval-policy-{seed}", POLICY, kinds, num_problems)
        _evaluation(folder / f"eval-extinct-{seed}", EXTINCT, RECOVERED, num_problems, prefix=f"x{seed}-")
        _extinction(folder / f"grpo-{seed}")
        _scores(folder / "eval-arithmetic" / "scores" / f"arts-sum-{seed}", lambda depth: -1.0 * depth)
        _scores(folder / "eval-arithmetic" / "scores" / f"arts-expected-{seed}", lambda depth: (-1.0) ** depth)
    _evaluation(folder / "eval-countdown", BASE, {f"{kind}-0": value for kind, value in CHOSEN.items()}, num_problems)
    _evaluation(folder / "search", BASE, {"arts-expected-0": 0.85}, num_problems, live=True)


def _evaluation(
    folder: Path,
    plain: Mapping[str, float],
    verifiers: Mapping[str, float],
    num_problems: int,
    *,
    prefix: str = "",
    live: bool = False,
) -> None:
    rates = {("best-of-n:logprob" if name == "logprob" else name): rate for name, rate in plain.items()}
    for name, rate in verifiers.items():
        rates |= {f"best-of-n:{name}": rate, f"weighted-vote:{name}": rate + 0.02}
        if name.startswith("prm"):  # no weight for log-prob: by themselves already
            rates |= {f"best-of-n:{name}/last": rate + 0.06, f"best-of-n:{name}/mean": rate}
        if name.startswith("arts") and not live:
            rates |= {f"{label}/last": rates[label] for label in (f"best-of-n:{name}", f"weighted-vote:{name}")}
            rates |= {f"best-of-n:{name}": rate + LOG_PROB, f"weighted-vote:{name}": rate + 0.02 + LOG_PROB}
    methods: list[dict[str, Any]] = [_method(label, 100) for label in rates]
    if live:
        for label, rate, tokens in (("flow:arts-expected-0", 0.85, 40), ("best-of-n+stop:arts-expected-0", 0.75, 42)):
            rates[label] = rate
            methods.append(_method(label, tokens, live=True))
    rng = np.random.default_rng(0)
    level = rng.random(num_problems)  # of each problem, common to all methods
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps({"k": list(KS), "methods": methods}))
    with (folder / "problems.jsonl").open("w") as file:
        for number in range(num_problems):
            values = {label: {str(k): float(level[number] < rate) for k in KS} for label, rate in rates.items()}
            file.write(json.dumps({"id": f"{prefix}p{number}", "values": values}) + "\n")


def _method(label: str, tokens: int, *, live: bool = False) -> dict[str, Any]:
    strategy, _, scorer = label.partition(":")
    costs = {"num_tokens": 1.0, "num_tokens_decoded": 1.0 if live else 0.9, "num_verifier_tokens": 0.5}
    points = [{"k": k, **{name: share * tokens * k / 16 for name, share in costs.items()}} for k in KS]
    return {
        "label": label,
        "strategy": strategy.removesuffix("+stop"),
        "scorer": scorer or None,
        "is_own": "/" not in label,
        "live": live,
        "early_stop": label.startswith("best-of-n+stop"),
        "points": points,
    }


def _extinction(folder: Path) -> None:
    folder.mkdir(parents=True)
    moved = {"mode": 0.2, "rare": -0.4, "endangered": -0.05, "wrong": -0.5}
    with (folder / "extinction.jsonl").open("w") as file:
        for step in (0, 300):
            for name, delta in moved.items():
                value = delta if step else 0.0
                line = {"step": step, "by": "bin", "name": name, "mean_delta_log10_prob": value}
                line |= {"low": value - 0.1, "high": value + 0.1, "num_traces": 50, "num_problems": 30}
                file.write(json.dumps(line) + "\n")
        file.write(json.dumps({"step": 300, "by": "style", "name": "mode", "mean_delta_log10_prob": 9}) + "\n")


def _scores(folder: Path, value: Callable[[int], float]) -> None:
    folder.mkdir(parents=True)
    with (folder / "scores.jsonl").open("w") as file:
        for number in range(60):
            values = [[value(depth) for depth in range(6)] + [99.0], [value(depth) for depth in range(4)] + [None]]
            file.write(json.dumps({"problem": f"p{number}", "values": values}) + "\n")
