from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_gguf import TinyModel, write_tiny_gguf

from arts_lite.engine.gguf import read_header
from arts_lite.errors import ModelLoadError
from arts_lite.proposer.defaults import INSTRUCTION, PLAIN_STOP_STRINGS, Defaults, read_defaults
from arts_lite.types import SamplingParams, StepRules


def defaults(tmp_path: Path, metadata: dict[str, Any] | None = None, *, is_chat: bool = True) -> Defaults:
    path = write_tiny_gguf(tmp_path / "m.gguf", TinyModel(metadata=metadata or {}))
    return read_defaults(read_header(path), is_chat=is_chat)


def test_chat_models_reason_in_paragraphs_at_0_6(tmp_path: Path) -> None:
    found = defaults(tmp_path)
    assert found.sampling == SamplingParams(temperature=0.6, top_p=0.95)
    assert found.rules == StepRules(delimiters=("\n\n",))
    assert found.system == INSTRUCTION


def test_base_models_stop_before_they_invent_the_next_question(tmp_path: Path) -> None:
    found = defaults(tmp_path, is_chat=False)
    assert found.rules.stop_strings == PLAIN_STOP_STRINGS
    assert found.system == ""


def test_a_file_of_ours_carries_its_own(tmp_path: Path) -> None:
    found = defaults(
        tmp_path,
        {
            "arts.sampling.temperature": 1.0,
            "arts.sampling.top_p": 1.0,
            "arts.sampling.top_k": 5,
            "arts.step.delimiters": ["\n", ";"],
            "arts.step.min_bytes": 2,
            "arts.stop_strings": "END",
        },
    )
    assert found.sampling == SamplingParams(temperature=1.0, top_p=1.0, top_k=5)
    assert found.rules == StepRules(delimiters=("\n", ";"), min_step_bytes=2, stop_strings=("END",))
    assert found.system == ""  # made for its own prompts: no instruction of ours
    assert defaults(tmp_path, {"arts.system": "Solve."}).system == "Solve."


def test_llama_cpp_s_own_sampling_keys_count_where_ours_are_missing(tmp_path: Path) -> None:
    keys = {"general.sampling.temp": 0.25, "general.sampling.top_k": 20, "arts.sampling.top_k": 3}
    found = defaults(tmp_path, keys)
    assert (found.sampling.temperature, found.sampling.top_k, found.sampling.top_p) == (0.25, 3, 0.95)


@pytest.mark.parametrize(
    "metadata",
    [
        {"arts.sampling.temperature": -1.0},
        {"arts.sampling.top_p": "high"},
        {"arts.step.delimiters": ["\n", ""]},
        {"arts.step.delimiters": 7},
        {"arts.step.min_bytes": 0},
        {"arts.step.min_bytes": [1, 2]},
    ],
    ids=str,
)
def test_keys_that_cannot_be_used_are_an_error_that_names_the_file(tmp_path: Path, metadata: dict[str, Any]) -> None:
    with pytest.raises(ModelLoadError, match=r"m\.gguf: its arts\.\* keys cannot be used"):
        defaults(tmp_path, metadata)


def test_a_verifier_is_no_proposer(tmp_path: Path) -> None:
    with pytest.raises(
        ModelLoadError, match=r"is a verifier, which judges text and writes none; give it as the verifier"
    ):
        defaults(tmp_path, {"arts.verifier.version": 1})
