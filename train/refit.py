"""Fit a verifier's head and calibration again, on the hidden states that llama.cpp makes of the quantised file."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arts_lite.engine import Engine
from arts_lite.engine.forced import TokenTree
from arts_lite.engine.gguf import read_header
from arts_lite.errors import TrainingError
from arts_lite.train.dataset import TreeDataset
from arts_lite.train.gguf_vocab import GGUFTokeniser
from arts_lite.train.head_fit import FitConfig, fit_head, loss_of
from arts_lite.train.metrics import correlation, dev_metrics, fit_log_prob_weight
from arts_lite.train.objectives import Objective, make_objective
from arts_lite.train.states import StateFolder, States, reading_config
from arts_lite.train.trees import ContextLimit, TrainingTree
from arts_lite.train.verifier_file import replace_head
from arts_lite.verifier.format import VerifierFormat, read_verifier

REFIT = FitConfig(epochs=10, learning_rate=0.002, ridge=1e-2)
"""Small steps from the old head: the body has drifted by little."""
LogFlows = Sequence[NDArray[np.float64]]
_TOLD = ("loss_dev", "bon_accuracy", "sibling_accuracy", "leaf_auc", "prefix_auc", "ece", "brier")
_NEWTON_STEPS = 25
_MAX_TOKENS = 1 << 20  # of files that do not say it


@dataclass(frozen=True, slots=True)
class Refitted:
    """What came of it.

    Attributes:
        format: as it stands in the new file; `format.metrics["refit"]` says what is below.
        kept: "head and calibration", "calibration" or "nothing": a fit that is worse on the dev problems is not kept.
        before, after: dev metrics of the file as it was, and as it is now.
        drift: by "before" and "after", "correlation" and "rms" of the dev nodes' log-flows against the reference's; {}
            without one.
    """

    format: VerifierFormat
    kept: str
    before: Mapping[str, float]
    after: Mapping[str, float]
    drift: Mapping[str, Mapping[str, float]]

    def summary(self) -> str:
        """Tell it in one line."""
        parts = [f"refit: kept {self.kept}"]
        for name in ("loss_dev", "bon_accuracy", "ece"):
            if name in self.before and name in self.after:
                parts.append(f"{name} {self.before[name]:.4f} -> {self.after[name]:.4f}")
        if self.drift:
            one, other = self.drift["before"], self.drift["after"]
            parts.append(f"correlation with the reference {one['correlation']:.4f} -> {other['correlation']:.4f}")
            parts.append(f"rms {one['rms']:.4f} -> {other['rms']:.4f}")
        return ", ".join(parts)


def refit_verifier(
    path: Path,
    out: Path,
    data: TreeDataset,
    *,
    reference: LogFlows | None = None,
    config: FitConfig = REFIT,
    states: Path | None = None,
    tell: Callable[[int, int], None] = lambda _done, _total: None,
    shall_stop: Callable[[], bool] = lambda: False,
    **engine_options: Any,
) -> Refitted | None:
    """Write a verifier's file again with the best of the old head, a new calibration, and a new head.

    The weight of log-probs beside its flows is fitted again, too.

    Args:
        path, out: may be the same.
        data: problems to fit on, and held-out ones to check on.
        reference: log-flows of the dev trees' nodes by the weights before they were quantised.
        states: folder that keeps the hidden states by the file's digest, so that an interrupted run goes on; None: they
            are forgotten.
        tell: called with (parts of the states read, of how many).
        engine_options: of `EngineConfig`.

    Returns:
        None if it was stopped.

    Raises:
        VerifierError: the file is no verifier.
        TrainingError: there is no dev problem, or a file cannot be written.
    """
    if not data.dev:
        raise TrainingError("a refit is checked on held-out problems, but there are none; raise the dev share")
    verifier = read_verifier(read_header(path))
    objective = objective_of(verifier)
    hidden = states_of(
        path, verifier, [*data.train, *data.dev], states, tell=tell, shall_stop=shall_stop, **engine_options
    )
    if hidden is None:
        return None
    train, dev = hidden[: len(data.train)], hidden[len(data.train) :]
    candidates = {
        "nothing": verifier,
        "calibration": calibrated(verifier, data, train, objective),
        "head and calibration": _fitted(verifier, data, train, dev, objective, config),
    }
    measured = {name: measure(one, data, dev, objective) for name, one in candidates.items()}
    before = measured["nothing"]
    kept = min(
        (name for name in measured if _is_no_worse(measured[name], before)), key=lambda n: measured[n]["loss_dev"]
    )
    drift = {}
    if reference is not None:
        for name, one in (("before", verifier), ("after", candidates[kept])):
            drift[name] = drift_of([one.log_flow(one.head(rows)) for rows in dev], reference)
    told = {"kept": kept, "before": before, "after": measured[kept], "drift": drift, "fit": config.to_dict()}
    metrics = {**verifier.metrics, "refit": {**told, "trees": data.to_dict()}}
    best = candidates[kept]
    weight = 0.0
    if best.output != "score":
        values = [calibrated_values(best, rows) for rows in dev]
        weight = fit_log_prob_weight(data.dev, values, objective, data.rewards)
    made = replace_head(path, out, dataclasses.replace(best, log_prob_weight=weight, metrics=metrics))
    return Refitted(made, kept, before, measured[kept], drift)


def _fitted(
    verifier: VerifierFormat,
    data: TreeDataset,
    train: States,
    dev: States,
    objective: Objective,
    config: FitConfig,
) -> VerifierFormat:
    """Fit the head from where it stands, then its calibration."""
    head = fit_head(data, train, dev, objective, config, start=verifier.head).head
    return calibrated(dataclasses.replace(verifier, head=head), data, train, objective)


def objective_of(verifier: VerifierFormat) -> Objective:
    """What a verifier was trained with. Raises TrainingError: its file does not say it in words known here."""
    options = verifier.metrics.get("options")
    try:
        return make_objective(verifier.objective, options if isinstance(options, Mapping) else {})
    except (ValueError, TypeError) as error:
        raise TrainingError(f"the verifier's objective cannot be fitted again: {error}; train it anew") from error


def states_of(
    path: Path,
    verifier: VerifierFormat,
    trees: Sequence[TrainingTree],
    folder: Path | None,
    *,
    tell: Callable[[int, int], None] = lambda _done, _total: None,
    shall_stop: Callable[[], bool] = lambda: False,
    **engine_options: Any,
) -> States | None:
    """Read the hidden states of trees' nodes from a verifier's file; None: it was stopped."""
    tokenise = GGUFTokeniser(path)
    tokens = [verifier_tree(tree, verifier, tokenise) for tree in trees]
    with ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        with Engine.from_gguf(path, reading_config(tokens, **engine_options)) as engine:
            folder = folder / engine.model.sha256[:16]
            store = StateFolder(folder, {"name": engine.model.name, "sha256": engine.model.sha256}, tokens)
            if not store.fill(engine, tell=lambda done: tell(done, store.num_parts), shall_stop=shall_stop):
                return None
        return [np.array(rows) for rows in store.load()]


def context_limit(path: Path) -> ContextLimit:
    """What a verifier's file was trained to read."""
    header = read_header(path)
    rules, tokenise = read_verifier(header).rules, GGUFTokeniser(path)
    trained = header.arch_value("context_length")
    return ContextLimit(
        trained if type(trained) is int else _MAX_TOKENS,
        lambda text: len(rules.question_tokens(text, tokenise)),
        lambda text, delimiters: len(rules.step_tokens(text, tokenise, delimiters)),
    )


def verifier_tree(tree: TrainingTree, verifier: VerifierFormat, tokenise: Callable[[str], list[int]]) -> TokenTree:
    """Lay out what a verifier reads of a tree."""
    rules = verifier.rules
    texts = [rules.question_tokens(tree.question, tokenise)]
    texts += [rules.step_tokens(text, tokenise, tree.delimiters) for text in tree.texts[1:]]
    return TokenTree([np.array(one, np.int32) for one in texts], tree.parent.tolist())


def measure(verifier: VerifierFormat, data: TreeDataset, dev: States, objective: Objective) -> dict[str, float]:
    """Dev metrics of a verifier's calibrated values."""
    values = [calibrated_values(verifier, rows) for rows in dev]
    found = {**dev_metrics(data.dev, values, objective, data.rewards), "loss_dev": loss_of(data, values, objective)}
    return {name: found[name] for name in _TOLD if math.isfinite(found[name])}


def calibrated_values(verifier: VerifierFormat, states: NDArray[np.float32]) -> NDArray[np.float64]:
    """What the objective calls a value: float64[num_nodes]."""
    return verifier.scale * verifier.head(states).astype(np.float64) + verifier.offset


def calibrated(verifier: VerifierFormat, data: TreeDataset, train: States, objective: Objective) -> VerifierFormat:
    """Fit scale and offset to the training problems, each weighing alike.

    Logits: logistic regression of the share of correct leaves (Platt 1999), by Newton's method. Log-flows: an offset,
    such that the mean flow is the mean reward. Scores have no scale.
    """
    raw, targets, weights = [], [], []
    for tree, states in zip(data.train, train, strict=True):
        nodes = np.flatnonzero(~tree.is_inner) if objective.name == "orm" else np.arange(tree.num_nodes)
        raw.append(verifier.head(states)[nodes].astype(np.float64))
        weights.append(np.full(len(nodes), 1 / len(nodes)))
        if verifier.output == "logit":
            targets.append((tree.num_correct / tree.num_leaves)[nodes])
        else:
            is_sum = verifier.estimator == "sum"
            targets.append((tree.log_sum_reward if is_sum else tree.log_mean_reward)[nodes])
    x, y, w = np.concatenate(raw), np.concatenate(targets), np.concatenate(weights)
    if verifier.output == "logit":
        scale, offset = platt(x, y, w)
    elif verifier.output == "log_flow":
        scale, offset = 1.0, float(np.log(w @ np.exp(y)) - np.log(w @ np.exp(x - x.max())) - x.max())
    else:
        return verifier
    if not (0 < scale < math.inf and math.isfinite(offset)):
        return verifier  # what the head says has nothing to do with the leaves
    return dataclasses.replace(verifier, scale=scale, offset=offset)


def platt(x: NDArray[np.float64], share: NDArray[np.float64], weights: NDArray[np.float64]) -> tuple[float, float]:
    """Minimise the weighted cross-entropy of sigmoid(scale * x + offset) and shares: (scale, offset)."""
    inputs = np.stack([x, np.ones_like(x)], 1)
    found = np.array([1.0, 0.0])
    prior = 1e-6 * weights.sum()  # of the distance from (1, 0), lest separable data run away
    for _ in range(_NEWTON_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(inputs @ found, -50, 50)))
        gradient = inputs.T @ (weights * (chance - share)) + prior * (found - [1.0, 0.0])
        curvature = (inputs.T * (weights * chance * (1 - chance))) @ inputs + prior * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        found = found - step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))
        if float(np.abs(step).max()) < 1e-10:
            break
    return float(found[0]), float(found[1])


def drift_of(log_flows: LogFlows, reference: LogFlows) -> dict[str, float]:
    """Compare log-flows node by node: "correlation" and "rms" of the differences."""
    own, other = np.concatenate(log_flows), np.concatenate(reference)
    return {"correlation": correlation(own, other), "rms": float(np.sqrt(np.mean(np.square(own - other))))}


def _is_no_worse(measured: Mapping[str, float], before: Mapping[str, float]) -> bool:
    accuracy = measured.get("bon_accuracy", 0.0) >= before.get("bon_accuracy", 0.0)
    return accuracy and measured.get("loss_dev", math.inf) <= before.get("loss_dev", math.inf)
