"""Settings of a verifier's training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes.verifier_training import config, training, write_base, write_sums


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objective": "guess"}, "objective is 'guess'"),
        ({"options": {"labels": "soft"}}, "flow has no option labels"),
        ({"batch_tokens": 0}, "batch_tokens is 0, but must be >= 1"),
        ({"evals": 0}, "evals is 0"),
        ({"save_every": 0}, "save_every is 0"),
        ({"epochs": 0.0}, "epochs is 0.0, but must be > 0"),
        ({"epochs": float("inf")}, "epochs is inf"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"max_norm": -1.0}, "max_norm is -1.0"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1"),
        ({"weight_decay": float("nan")}, "weight_decay is nan"),
        ({"warmup": 1.0}, r"warmup is 1.0, but must be in \[0, 1\)"),
        ({"ema_decay": 1.0}, "ema_decay is 1.0"),
        ({"row_tokens": -1}, "row_tokens -1"),
        ({"seed": -1}, "seed -1"),
        ({"precision": "fp8"}, "precision is 'fp8'"),
        ({"question_template": "no place"}, "question_template is 'no place'"),
        ({"step_separator": ""}, "step_separator is empty"),
    ],
)
def test_settings_out_of_range_are_told(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config("tiny", **settings)


def test_the_input_can_have_other_rules(tmp_path: Path) -> None:
    one = training(
        tmp_path / "run", write_base(tmp_path / "base.gguf"), write_sums(tmp_path / "trees.jsonl"), step_separator=";"
    )
    assert (one.base.rules.question_template, one.base.rules.step_separator) == ("{question}\n", ";")
    assert one._encoded[0].tokens[1][-1] == ord(";")


def test_epochs_have_orders_of_their_own(tmp_path: Path) -> None:
    one = training(tmp_path / "run", write_base(tmp_path / "base.gguf"), write_sums(tmp_path / "trees.jsonl"))
    plans = [one._plan_of(epoch) for epoch in range(3)]
    assert len({str(plan) for plan in plans}) == 3
    for plan in plans:
        assert sorted(number for batch in plan for number in batch) == list(range(len(one.data.train)))
