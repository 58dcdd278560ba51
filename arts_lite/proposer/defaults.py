"""Sampling, steps and system prompt that a model file asks for, or what suits its kind.

Keys of ours, all optional, in a GGUF's metadata: ``arts.sampling.{temperature,top_p,top_k,min_p}``,
``arts.step.delimiters`` (a text or several), ``arts.step.min_bytes``, ``arts.stop_strings``, ``arts.system``,
``arts.tasks`` (the only kinds of problems that the model was trained on).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from arts_lite.engine.gguf import GGUFHeader, Value
from arts_lite.errors import ModelLoadError
from arts_lite.types import SamplingParams, StepRules

INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}."
"""System prompt of chat models, unless the user or the file gives one."""
PLAIN_STOP_STRINGS = ("\nQuestion:",)
"""Ends a base model's trace where it goes on to invent the next question."""

_VERIFIER = "arts.verifier.version"
_GENERAL = {"temperature": "temp", "top_p": "top_p", "top_k": "top_k", "min_p": "min_p"}  # llama.cpp's names


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a proposer does unless told otherwise."""

    sampling: SamplingParams
    rules: StepRules
    system: str
    tasks: tuple[str, ...] = ()


def read_defaults(header: GGUFHeader, *, is_chat: bool) -> Defaults:
    """Read a file's wishes; where it has none: 0.6 / top-p 0.95 and a blank line.

    Raises:
        ModelLoadError: a key's value has the wrong type or is out of range, or the file is a verifier.
    """
    metadata = header.metadata
    if _VERIFIER in metadata:  # its weights have learnt to judge: what it would write is noise
        raise ModelLoadError(
            f"{header.path} is a verifier, which judges text and writes none; give it as the verifier, beside a "
            "proposer"
        )
    try:
        sampling = SamplingParams(**_sampling(metadata))
        rules = StepRules(
            delimiters=_texts(metadata, "arts.step.delimiters", ("\n\n",)),
            min_step_bytes=int(metadata.get("arts.step.min_bytes", 1)),  # type: ignore[arg-type]
            stop_strings=_texts(metadata, "arts.stop_strings", () if is_chat else PLAIN_STOP_STRINGS),
        )
        tasks = _texts(metadata, "arts.tasks", ())
    except (TypeError, ValueError) as error:
        raise ModelLoadError(
            f"{header.path}: its arts.* keys cannot be used: {error}; export the model again"
        ) from error
    system = metadata.get("arts.system")
    is_ours = any(key.startswith("arts.") for key in metadata)
    fallback = INSTRUCTION if is_chat and not is_ours else ""
    return Defaults(sampling, rules, system if isinstance(system, str) else fallback, tasks)


def _sampling(metadata: Mapping[str, Value]) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    for name, general in _GENERAL.items():
        for key in (f"arts.sampling.{name}", f"general.sampling.{general}"):
            if key in metadata:
                chosen[name] = int(metadata[key]) if name == "top_k" else float(metadata[key])  # type: ignore[arg-type]
                break
    return chosen


def _texts(metadata: Mapping[str, Value], key: str, default: tuple[str, ...]) -> tuple[str, ...]:
    value = metadata.get(key)
    if value is None:
        return default
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list):
        raise TypeError(f"{key} is {value!r}, but must be a text or several")
    return tuple(item.decode("utf-8") if isinstance(item, bytes) else str(item) for item in items)
