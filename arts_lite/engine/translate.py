"""Between Python's types and the extension's: checks, conversions, single precision."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arts_lite import _core
from arts_lite.types import SamplingParams, StepRules

MAX_I32 = 2**31 - 1
MAX_U64 = 2**64 - 1
_MAX_BIAS = 1e30


def core_sampling(params: SamplingParams, num_tokens: int) -> _core.SamplingParams:
    """Translate for the extension; raises ValueError for a token that the vocabulary lacks, or if all are banned."""
    bias = dict(params.logit_bias) | dict.fromkeys(params.banned_tokens, float("-inf"))
    for token in bias:
        check_number("a token of logit_bias or banned_tokens", token, 0, num_tokens - 1)
    if sum(amount == float("-inf") for amount in bias.values()) >= num_tokens:
        raise ValueError(f"all {num_tokens} tokens are banned; leave at least one")
    return _core.SamplingParams(
        temperature=_bounded(params.temperature) if params.temperature > 0 else 0.0,
        top_k=min(params.top_k, MAX_I32),
        top_p=params.top_p,
        min_p=params.min_p,
        repeat_penalty=_bounded(params.repeat_penalty),
        repeat_last_n=min(params.repeat_last_n, MAX_I32),
        logit_bias=sorted((token, _single(amount)) for token, amount in bias.items()),
    )


def _bounded(factor: float) -> float:
    """Keep a factor of logits where single precision still tells them apart; beyond, nothing changes any more."""
    return max(1e-6, min(1e6, factor))


def _single(amount: float) -> float:
    """Keep a bias finite in the extension's single precision: an infinite one is no number in a softmax."""
    return amount if amount == -math.inf else max(-_MAX_BIAS, min(_MAX_BIAS, amount))


def core_rules(rules: StepRules) -> _core.StepRules:
    """Translate for the extension."""
    return _core.StepRules(
        delimiters=[text.encode() for text in rules.delimiters],
        min_step_bytes=min(rules.min_step_bytes, MAX_I32),
        stop_strings=[text.encode() for text in rules.stop_strings],
    )


def token_array(
    tokens: Sequence[int] | NDArray[np.int32], num_tokens: int, *, may_be_empty: bool = False
) -> NDArray[np.int32]:
    """Check tokens and return them as int32[length]; raises ValueError or TypeError."""
    array = np.asarray(tokens)
    if array.ndim == 1 and array.size == 0 and not may_be_empty:
        raise ValueError("tokens are empty; a prompt has at least one token")
    array = _whole_numbers("tokens", array)
    low, high = _range(array)
    if low < 0 or high >= num_tokens:
        wrong = low if low < 0 else high
        raise ValueError(f"the prompt holds the token {wrong}, but the vocabulary has the ids 0 to {num_tokens - 1}")
    return np.ascontiguousarray(array, dtype=np.int32)


def position_array(name: str, positions: Sequence[int] | NDArray[np.int32]) -> NDArray[np.int32]:
    """Check positions and return them as int32[count]; raises ValueError or TypeError."""
    array = _whole_numbers(name, np.asarray(positions))
    for position in _range(array) if array.size else ():
        check_number(f"a position of {name}", position, 1, MAX_I32)
    return np.ascontiguousarray(array, dtype=np.int32)


def _whole_numbers(name: str, array: NDArray[Any]) -> NDArray[Any]:
    if array.ndim != 1:
        raise ValueError(f"{name} have {array.ndim} dimensions, but must be one sequence of whole numbers")
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"{name} are {array.dtype}, but must be whole numbers")
    return array


def _range(array: NDArray[Any]) -> tuple[int, int]:
    return (int(array.min()), int(array.max())) if array.size else (0, 0)


def check_number(name: str, value: int, low: int, high: int) -> None:
    """Raise TypeError or ValueError unless `value` is a whole number in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} is {value!r}, but must be a whole number")
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}, but must be between {low} and {high}")
