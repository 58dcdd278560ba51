"""Every call that makes llama.cpp abort or crash, tried from Python: a typed error, and the engine works after it.

The list is what was found by provoking llama.cpp itself: ids out of range, more rows than a batch holds, positions that
do not fit, contexts that are gone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from arts_lite import _core
from arts_lite.engine import Engine, EngineConfig, Model
from arts_lite.errors import ArtsError, BranchClosedError, ContextOverflowError
from arts_lite.types import BranchId, SamplingParams, StepRules

SAMPLING = SamplingParams(temperature=1.0, top_p=1.0)
RULES = StepRules(delimiters=("\n",))


def open_branch(engine: Engine, tokens: Any = (49, 43), **changes: Any) -> BranchId:
    settings = {"sampling": SAMPLING, "rules": RULES, "seed": 0, "stream": 0, "max_tokens": 12, "owner": 0}
    return engine.open(tokens, **{**settings, **changes})


def still_works(engine: Engine) -> None:
    branch = open_branch(engine, list(b"still"), stream=99)
    engine.run(branch)
    while engine.advance():
        pass
    assert engine.num_tokens(branch) > 5
    engine.close(branch)
    engine.check()


BAD_OPENINGS: dict[str, tuple[dict[str, Any], type[Exception]]] = {
    "no tokens": ({"tokens": []}, ValueError),
    "a negative token": ({"tokens": [1, -1]}, ValueError),
    "a token behind the vocabulary": ({"tokens": [288]}, ValueError),
    "a token that wraps around in 32 bits": ({"tokens": [2**32 + 1]}, ValueError),
    "a token beyond 64 bits": ({"tokens": [2**80]}, (TypeError, ValueError)),  # type: ignore[dict-item]
    "tokens that are fractions": ({"tokens": [1.5]}, TypeError),
    "tokens that are text": ({"tokens": ["a"]}, TypeError),
    "tokens in two dimensions": ({"tokens": np.ones((2, 2), np.int32)}, ValueError),
    "a prompt as long as the context": ({"tokens": [65] * 512}, ContextOverflowError),
    "a prompt longer than a batch and the context": ({"tokens": [65] * 5000}, ContextOverflowError),
    "no token to generate": ({"max_tokens": 0}, ValueError),
    "fewer than no tokens": ({"max_tokens": -1}, ValueError),
    "more tokens than 32 bits count": ({"max_tokens": 2**31}, ValueError),
    "a negative seed": ({"seed": -1}, ValueError),
    "a seed beyond 64 bits": ({"seed": 2**64}, ValueError),
    "a fraction of a stream": ({"stream": 0.5}, TypeError),
    "a bias for a missing token": ({"sampling": SamplingParams(logit_bias={288: 1.0})}, ValueError),
    "a ban of a missing token": ({"sampling": SamplingParams(banned_tokens=(-1,))}, ValueError),
    "a ban of every token": ({"sampling": SamplingParams(banned_tokens=tuple(range(288)))}, ValueError),
}


@pytest.mark.parametrize("name", BAD_OPENINGS)
def test_a_bad_opening_is_refused_and_leaves_nothing_behind(make_engine: Callable[..., Engine], name: str) -> None:
    engine = make_engine(ctx_size=512, num_cells=1024)
    changes, error = BAD_OPENINGS[name]
    with pytest.raises(error):
        open_branch(engine, **changes)
    assert engine.stats().num_branches == 0
    still_works(engine)


EXTREMES = [
    {"temperature": 1e-300},
    {"temperature": 1e300},
    {"temperature": 1e-40, "top_p": 1.0},
    {"top_p": 1e-320},
    {"top_k": 2**40},
    {"min_p": 1 - 1e-16},
    {"repeat_penalty": 1e300},
    {"repeat_penalty": 1e-300, "repeat_last_n": 2**40},
    {"logit_bias": {65: 1e300}},
    {"logit_bias": {65: -1e300, 66: float("-inf")}},
    {"logit_bias": {65: 1e300, 66: 1e300}, "temperature": 1e-300},
]


@pytest.mark.parametrize("extreme", EXTREMES, ids=str)
def test_extreme_but_legal_sampling_draws_tokens_with_finite_log_probabilities(
    tiny_engine: Engine, extreme: dict[str, Any]
) -> None:
    branch = open_branch(tiny_engine, sampling=SamplingParams(**extreme))
    tiny_engine.run(branch)
    while tiny_engine.advance():
        pass
    log_p_model, log_p_sampling = tiny_engine.log_probs(branch)
    assert len(log_p_model) >= 1
    assert np.isfinite(log_p_sampling).all()
    assert not np.isnan(log_p_model).any()
    assert not np.isnan(tiny_engine.expected_log_probs(branch)).any()
    if extreme.get("logit_bias") == {65: 1e300}:
        assert set(tiny_engine.tokens(branch)[2:].tolist()) == {65}
    still_works(tiny_engine)


@pytest.mark.parametrize("position", [0, -1, 3, 2**31 - 1, 2**31, 2**40, -(2**31)])
def test_a_position_outside_the_branch_is_refused(tiny_engine: Engine, position: int) -> None:
    branch = open_branch(tiny_engine)
    with pytest.raises(ValueError, match="position"):
        tiny_engine.fork(branch, position)
    with pytest.raises(ValueError, match="position"):
        tiny_engine.truncate(branch, position)
    with pytest.raises(ValueError):
        tiny_engine.text(branch, 0, position if position not in (0,) else -1)
    still_works(tiny_engine)


@pytest.mark.parametrize("branch", [-1, -2, 1, 255, 256, 257, 2**31, 2**62])
def test_a_branch_that_does_not_exist_is_named(tiny_engine: Engine, branch: int) -> None:
    """Sequence ids of -1, -2 and 256 are what llama.cpp asserts on; a branch's name never becomes one."""
    missing = BranchId(branch)
    open_branch(tiny_engine)
    calls: list[Callable[[], object]] = [
        lambda: tiny_engine.fork(missing, 1),
        lambda: tiny_engine.truncate(missing, 1),
        lambda: tiny_engine.run(missing),
        lambda: tiny_engine.pause(missing),
        lambda: tiny_engine.park(missing),
        lambda: tiny_engine.close(missing),
        lambda: tiny_engine.tokens(missing),
        lambda: tiny_engine.text(missing),
        lambda: tiny_engine.log_probs(missing),
        lambda: tiny_engine.expected_log_probs(missing),
        lambda: tiny_engine.boundaries(missing),
        lambda: tiny_engine.state(missing),
        lambda: tiny_engine.num_tokens(missing),
        lambda: tiny_engine.num_cached(missing),
        lambda: tiny_engine.num_prompt_tokens(missing),
    ]
    for call in calls:
        with pytest.raises(BranchClosedError, match=str(branch)):
            call()
    still_works(tiny_engine)


def test_a_closed_branch_stays_closed(tiny_engine: Engine) -> None:
    branch = open_branch(tiny_engine)
    tiny_engine.run(branch)
    tiny_engine.close(branch)  # while it runs
    for call in (tiny_engine.run, tiny_engine.close, tiny_engine.tokens, tiny_engine.park):
        with pytest.raises(BranchClosedError):
            call(branch)
    assert tiny_engine.advance() == []
    still_works(tiny_engine)


def test_a_running_branch_cannot_be_cut(tiny_engine: Engine) -> None:
    branch = open_branch(tiny_engine)
    tiny_engine.run(branch)
    with pytest.raises(ValueError, match="running"):
        tiny_engine.truncate(branch, 1)
    still_works(tiny_engine)


def test_more_branches_than_sequence_ids_are_a_matter_of_patience(make_engine: Callable[..., Engine]) -> None:
    """257 sequences would make llama.cpp abort; here 300 branches share 8 ids, and each gets its tokens."""
    engine = make_engine(ctx_size=128, num_cells=1024, num_sequences=8)
    sampling = SamplingParams(temperature=1.0, top_p=1.0, banned_tokens=(257,))
    branches = [open_branch(engine, [65, index % 256], stream=index, sampling=sampling) for index in range(300)]
    for branch in branches:
        engine.run(branch)
    while engine.advance():
        assert engine.stats().num_sequences_used <= 8
    assert [engine.num_tokens(branch) for branch in branches] == [14] * 300
    still_works(engine)


def test_more_tokens_than_cells_are_a_matter_of_patience(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(ctx_size=200, num_cells=256)
    sampling = SamplingParams(temperature=1.0, top_p=1.0, banned_tokens=(257,))
    branches = [
        open_branch(engine, [65, stream], stream=stream, sampling=sampling, max_tokens=150) for stream in range(6)
    ]
    for branch in branches:
        engine.run(branch)
    while engine.advance():
        assert engine.stats().num_cells_used <= 256
        engine.check()
    assert [engine.num_tokens(branch) for branch in branches] == [152] * 6
    still_works(engine)


def test_prompts_longer_than_a_batch_are_read_in_parts(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(ctx_size=2000, num_cells=4096, max_prefill_rows=256)
    branches = [open_branch(engine, [65 + index] * 1500) for index in range(2)]
    for branch in branches:
        engine.run(branch)
    while engine.advance():
        pass
    assert all(engine.num_tokens(branch) > 1500 for branch in branches)
    still_works(engine)


@pytest.mark.parametrize("value", [-1.0, math.nan, -math.inf])
def test_a_negative_or_missing_time_limit_is_refused(tiny_engine: Engine, value: float) -> None:
    with pytest.raises(ValueError, match="max_seconds"):
        tiny_engine.advance(value)
    still_works(tiny_engine)


@pytest.mark.parametrize("value", [0.0, 1e-9, math.inf, 1e300])
def test_any_other_time_limit_is_fine(tiny_engine: Engine, value: float) -> None:
    tiny_engine.run(open_branch(tiny_engine, max_tokens=3))
    assert tiny_engine.advance(value)
    still_works(tiny_engine)


def test_the_extension_checks_what_the_wrapper_would_not_let_through(tiny_model: Model, tiny_engine: Engine) -> None:
    core = tiny_engine._core
    params = _core.SamplingParams(
        temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, repeat_penalty=1.0, repeat_last_n=64, logit_bias=[]
    )
    rules = _core.StepRules(delimiters=[], min_step_bytes=1, stop_strings=[])
    calls: list[Callable[[], object]] = [
        lambda: core.open(np.array([], np.int32), params, rules, 0, 0, 5, 0),
        lambda: core.open(np.array([-1], np.int32), params, rules, 0, 0, 5, 0),
        lambda: core.open(np.array([10**6], np.int32), params, rules, 0, 0, 5, 0),
        lambda: core.open(np.ones(5000, np.int32), params, rules, 0, 0, 5, 0),
        lambda: core.open(np.ones((2, 2), np.int32), params, rules, 0, 0, 5, 0),
        lambda: core.open(np.ones(3, np.int32), params, rules, 0, 0, 0, 0),
        lambda: core.fork(-1, 1),
        lambda: core.set_quota(0, -1),
        lambda: _core.sample_row(np.array([], np.float32), np.array([], np.int32), params, 0, 0, 0),
        lambda: _core.sample_row(np.full(5, np.nan, np.float32), np.array([], np.int32), params, 0, 0, 0),
        lambda: _core.sample_row(np.ones((2, 2), np.float32), np.array([], np.int32), params, 0, 0, 0),
        lambda: _core.log_probabilities(np.array([], np.float32)),
        lambda: _core.StepRules(delimiters=[b""], min_step_bytes=1, stop_strings=[]),
        lambda: _core.bind({}),
        lambda: _core.bind({"llama_decode": 0}),
        lambda: _core.Engine(0, max_trace_tokens=10, max_rows=1, max_prefill_rows=1, num_threads=1),
    ]
    for call in calls:
        with pytest.raises((ArtsError, ValueError, TypeError)):
            call()
    still_works(tiny_engine)


BAD_LAYOUTS = [
    {"max_trace_tokens": 0},
    {"max_trace_tokens": 10**6},
    {"max_rows": 0},
    {"max_rows": 257},
    {"max_prefill_rows": 0},
    {"max_prefill_rows": 10**6},
    {"num_threads": 0},
    {"num_sequences": 1},
    {"num_sequences": 257},
    {"num_sequences": -1},
]


@pytest.mark.parametrize("change", BAD_LAYOUTS, ids=str)
def test_an_engine_that_does_not_fit_its_context_is_refused(tiny_model: Model, change: dict[str, int]) -> None:
    from raw_llama import raw_context

    settings = {"max_trace_tokens": 256, "max_rows": 8, "max_prefill_rows": 256, "num_threads": 1, "num_sequences": 256}
    with raw_context(tiny_model, EngineConfig(threads=1, ctx_size=256, num_cells=256)) as raw:
        with pytest.raises(ValueError, match="but must be"):
            _core.Engine(raw.pointer, **{**settings, **change})
        _core.Engine(raw.pointer, **settings).shutdown()
