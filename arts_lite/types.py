"""Plain data that every room may use. Imports nothing of ours."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NewType

BranchId = NewType("BranchId", int)
"""Names one branch of one engine; never reused within that engine."""


class StopReason(str, Enum):
    """Why a trace ended or a search stopped."""

    END_OF_TEXT = "end_of_text"  #: the model emitted an end-of-generation token
    STOP_STRING = "stop_string"  #: a stop string appeared
    MAX_TOKENS = "max_tokens"  #: the trace reached its own token limit
    CONTEXT_FULL = "context_full"  #: the trace reached the context size
    CACHE_FULL = "cache_full"  #: the trace alone outgrew the KV cache
    BUDGET_TOKENS = "budget_tokens"  #: the question's token budget is spent
    BUDGET_SECONDS = "budget_seconds"  #: the question's time budget is spent
    BUDGET_NODES = "budget_nodes"  #: the question's budget of tree nodes is spent
    INTERRUPTED = "interrupted"  #: the user cancelled
    PRUNED = "pruned"  #: the strategy gave the branch up
    DECIDED = "decided"  #: no other answer can win any more, or one is likely enough, or has passed a check
    COMPLETE = "complete"  #: the strategy did all that it set out to do


class EventKind(str, Enum):
    """What made the decode loop return (see `arts_lite.search.protocols.Engine.advance`)."""

    STEP_ENDED = "step_ended"  #: a step boundary in a branch that runs with `pause_on_step`; the branch is paused
    TRACE_ENDED = "trace_ended"  #: the branch is complete (`reason` says why) and paused for good
    APPENDED = "appended"  #: all tokens of a branch that was appended to are decoded, all marks read; it is paused
    LIMIT_REACHED = "limit_reached"  #: the owner's token quota is spent; the branch is paused
    CACHE_PRESSURE = "cache_pressure"  #: a branch was parked to make room; informative, it goes on by itself
    INTERRUPTED = "interrupted"  #: `interrupt()` was called, or the time is over; branches stay as they are


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened in the decode loop.

    Attributes:
        kind: what happened.
        branch: the branch that it happened to, or None (`INTERRUPTED`).
        position: the branch's length in tokens at that moment (prompt included).
        reason: why, for `TRACE_ENDED` and `LIMIT_REACHED`.
    """

    kind: EventKind
    branch: BranchId | None = None
    position: int = 0
    reason: StopReason | None = None


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the next token is drawn.

    The filters apply in this order: logit bias and banned tokens, repetition penalty, temperature, top-k, top-p, min-p
    (the order of Hugging Face transformers and vLLM, for which chat models publish their settings).

    Attributes:
        temperature: >= 0; 0 is greedy.
        top_k: keep the k most likely tokens; 0 keeps all.
        top_p: in (0, 1]; keep the smallest set of tokens whose probability reaches it; 1 keeps all.
        min_p: in [0, 1); drop tokens less likely than this share of the most likely one; 0 keeps all.
        repeat_penalty: > 0; divides positive (multiplies negative) logits of tokens among the last `repeat_last_n`.
        repeat_last_n: how many of the branch's last tokens the penalty looks at, >= 0.
        logit_bias: token id -> amount added to its logit (finite, or -inf to ban).
        banned_tokens: token ids that are never drawn.

    Raises:
        ValueError: a value is outside its range.
    """

    temperature: float = 0.6
    top_k: int = 0
    top_p: float = 0.95
    min_p: float = 0.0
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    banned_tokens: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _require(0 <= self.temperature < math.inf, "temperature", self.temperature, "a finite number >= 0")
        _require(self.top_k >= 0, "top_k", self.top_k, ">= 0 (0 keeps all tokens)")
        _require(0 < self.top_p <= 1, "top_p", self.top_p, "in (0, 1]")
        _require(0 <= self.min_p < 1, "min_p", self.min_p, "in [0, 1)")
        _require(0 < self.repeat_penalty < math.inf, "repeat_penalty", self.repeat_penalty, "a finite number > 0")
        _require(self.repeat_last_n >= 0, "repeat_last_n", self.repeat_last_n, ">= 0")
        for token, bias in self.logit_bias.items():
            _require(bias < math.inf, f"logit_bias[{token}]", bias, "finite, or -inf to ban the token")


@dataclass(frozen=True, slots=True)
class StepRules:
    """Where a step ends and where a trace stops. All rules look at the bytes of the generated text.

    A step boundary is the end of the token that completes a delimiter; bytes of that token after the delimiter open the
    next step. Steps without any visible character merge into their neighbour.

    Attributes:
        delimiters: texts that end a step; empty: the whole trace is one step.
        min_step_bytes: a step holds at least so many bytes, >= 1.
        stop_strings: texts that end the trace; they are not part of the trace's text.

    Raises:
        ValueError: an empty delimiter or stop string, or `min_step_bytes` < 1.
    """

    delimiters: tuple[str, ...] = ("\n\n",)
    min_step_bytes: int = 1
    stop_strings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _require(all(self.delimiters), "delimiters", self.delimiters, "texts of at least one character")
        _require(all(self.stop_strings), "stop_strings", self.stop_strings, "texts of at least one character")
        _require(self.min_step_bytes >= 1, "min_step_bytes", self.min_step_bytes, ">= 1")


def _require(holds: bool, name: str, value: object, rule: str) -> None:
    if not holds:
        raise ValueError(f"{name} is {value!r}, but must be {rule}")
