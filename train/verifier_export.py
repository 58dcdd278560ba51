"""From a training run to a verifier's GGUF."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from arts_lite.errors import TrainingError
from arts_lite.train.gguf_files import Template
from arts_lite.train.gguf_vocab import GGUFTokeniser, first_difference
from arts_lite.train.hf_weights import check_exportable
from arts_lite.train.metrics import fit_log_prob_weight
from arts_lite.train.objectives import Link
from arts_lite.train.transformer import Transformer
from arts_lite.train.verifier import VerifierTraining
from arts_lite.train.verifier_file import write_verifier, write_verifier_from
from arts_lite.verifier.format import VerifierFormat
from arts_lite.verifier.text import stripped

_NUM_CHECKED = 20
_OUTPUTS = {Link.LOG_FLOW: "log_flow", Link.LOGIT: "logit", Link.SCORE: "score"}


def export_verifier(
    training: VerifierTraining, path: Path, *, template: Path | None = None, file_type: str | None = None
) -> VerifierFormat:
    """Write a run's weights, as they are now, as one GGUF.

    Args:
        template: the base's own GGUF, for bases that are not ours; None: the base itself, if it is a GGUF.
        file_type: None: F16 for tiny models, else Q8_0.

    Raises:
        TrainingError: there is no template, or the file cannot be written.
    """
    verifier = format_of(training)
    body = training.base.module
    file = template_of(training, template)
    if isinstance(body, Transformer) and file is None:
        name = {"general.name": "ARTS-lite tiny verifier", "general.license": "mit"}
        return write_verifier(path, body, verifier, file_type=file_type or "F16", metadata=name)
    assert file is not None
    from arts_lite.train.hf_base import merged_state

    state = merged_state(training.base) if training.config.tuning.tuning != "head" else {}
    return write_verifier_from(file, path, verifier, state=state, file_type=file_type or "Q8_0")


def template_of(training: VerifierTraining, template: Path | None = None) -> Path | None:
    """Choose the GGUF whose tokenizer and keys the verifier takes over; None: it is written from scratch (tiny models).

    Raises:
        TrainingError: there is none, it is of another model or makes other tokens, or it cannot be written again.
    """
    if training.base.is_tiny:
        if template is not None:
            raise TrainingError(f"base {training.config.base!r} is written from scratch and takes no template")
        return None
    base = Path(training.config.base)
    template = template or (base if base.suffix == ".gguf" else None)
    if template is None:
        raise TrainingError(
            f"base {training.config.base!r} is no GGUF: name the same model's GGUF as template, whose tokenizer and "
            "keys the verifier takes over"
        )
    found = Template(template)
    if (width := found.arch_number("embedding_length")) != training.base.dim:
        raise TrainingError(
            f"{template} is of another model than base {training.config.base!r}: its hidden states have {width} "
            f"numbers, not {training.base.dim}; name the same model's GGUF"
        )
    if training.config.tuning.tuning != "head":
        check_exportable(found.architecture)
    if template != base:
        _check_tokens(training, template)
    return template


def _check_tokens(training: VerifierTraining, template: Path) -> None:
    trees = training.data.train[:_NUM_CHECKED]
    rules = training.base.rules
    texts = [rules.question_template.replace("{question}", tree.question.strip()) for tree in trees]
    texts += [stripped(text, tree.delimiters) + rules.step_separator for tree in trees for text in tree.texts[1:]]
    text = first_difference(training.base.tokenise, GGUFTokeniser(template), texts)
    if text is not None:
        raise TrainingError(
            f"{template} makes other tokens of {text!r} than base {training.config.base!r}, so that the verifier would "
            "read what it was not trained on; train with the GGUF itself as base"
        )


def format_of(training: VerifierTraining) -> VerifierFormat:
    """What the file says of the run."""
    objective, rewards = training.objective, training.data.rewards
    options = dataclasses.asdict(objective.options)
    metrics = [line for line in training.run.metrics() if "bon_accuracy" in line]
    # of equal ones the later, as the weights are
    best: dict[str, Any] = max(reversed(metrics), key=lambda line: line["bon_accuracy"], default={})
    weight = 0.0
    if training.data.dev and objective.link is not Link.SCORE:
        weight = fit_log_prob_weight(training.data.dev, training.dev_values(), objective, rewards)
    told: dict[str, Any] = {
        "options": options,
        "trees": training.data.to_dict(),
        "steps": training.step,
        "dev": {key: value for key, value in best.items() if isinstance(value, (int, float)) and math.isfinite(value)},
    }
    return VerifierFormat(
        objective=objective.name,
        rules=training.base.rules,
        head=training.model.numpy_head(),
        estimator=str(options.get("estimator") or options.get("labels") or ""),
        output=_OUTPUTS[objective.link],
        log_prob_weight=weight,
        reward_correct=rewards.correct,
        reward_wrong=rewards.wrong,
        base_name=Path(training.config.base).name if Path(training.config.base).exists() else training.config.base,
        metrics=told,
    )
