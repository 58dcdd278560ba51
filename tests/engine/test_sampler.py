"""Our sampler against llama.cpp's chain in the same order."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from raw_llama import chain_probabilities

from arts_lite import _core
from arts_lite.engine.translate import core_sampling
from arts_lite.types import SamplingParams

NUM_TOKENS = 300
GREEDY = SamplingParams(temperature=0.0)
SETTINGS = {
    "plain": SamplingParams(temperature=1.0, top_p=1.0),
    "cold": SamplingParams(temperature=0.6, top_p=1.0),
    "top_p": SamplingParams(temperature=0.6, top_p=0.95),
    "top_k": SamplingParams(temperature=1.0, top_p=1.0, top_k=7),
    "min_p": SamplingParams(temperature=1.5, top_p=1.0, min_p=0.05),
    "penalty": SamplingParams(temperature=1.0, top_p=1.0, repeat_penalty=1.3, repeat_last_n=8),
    "bias": SamplingParams(temperature=1.0, top_p=1.0, logit_bias={3: 4.0, 5: float("-inf")}, banned_tokens=(7, 9)),
    "all": SamplingParams(
        temperature=0.8, top_k=40, top_p=0.9, min_p=0.02, repeat_penalty=1.2, repeat_last_n=4, logit_bias={1: 2.0}
    ),
}


def logits_row(seed: int, spread: float = 3.0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0.0, spread, NUM_TOKENS).astype(np.float32)


def draw(
    logits: NDArray[np.float32],
    params: SamplingParams,
    history: list[int],
    position: int,
    seed: int = 0,
    stream: int = 0,
) -> tuple[int, float, float]:
    core = core_sampling(params, NUM_TOKENS)
    return _core.sample_row(logits, np.array(history, np.int32), core, seed, stream, position)


@pytest.mark.parametrize("name", SETTINGS)
def test_the_probability_of_every_draw_is_that_of_llama_cpp_s_chain(name: str) -> None:
    params, history = SETTINGS[name], [3, 3, 20, 41, 5, 20]
    for seed in range(20):
        logits = logits_row(seed)
        expected = chain_probabilities(logits, params, history)
        for position in range(20):
            token, _, log_p = draw(logits, params, history, position)
            assert expected[token] > 0, f"token {token} was drawn, but the chain has removed it"
            assert log_p == pytest.approx(np.log(expected[token]), abs=2e-4)


@pytest.mark.parametrize("name", SETTINGS)
def test_draws_are_distributed_as_llama_cpp_s_chain_says(name: str) -> None:
    params, history, num_draws = SETTINGS[name], [3, 3, 20, 41, 5, 20], 20_000
    logits = logits_row(1)
    expected = chain_probabilities(logits, params, history) * num_draws
    counts = Counter(draw(logits, params, history, position)[0] for position in range(num_draws))
    observed = np.array([counts[token] for token in range(NUM_TOKENS)], float)
    # rare tokens are pooled: chi-square wants about five expected draws in every class
    rare = expected < 5
    pairs = [*zip(observed[~rare], expected[~rare], strict=True), (observed[rare].sum(), expected[rare].sum())]
    statistic = sum((seen - wanted) ** 2 / wanted for seen, wanted in pairs if wanted > 0)
    freedom = len(pairs) - 1
    # 6 standard deviations of the chi-square distribution; the draws are fixed, so this passes always or never
    assert statistic < freedom + 6 * np.sqrt(2 * max(freedom, 1))


@given(seed=st.integers(0, 10_000), spread=st.floats(0.01, 30.0), history=st.lists(st.integers(0, NUM_TOKENS - 1)))
@settings(max_examples=60, deadline=None)
def test_log_probabilities_are_those_of_a_softmax(seed: int, spread: float, history: list[int]) -> None:
    logits = logits_row(seed, spread)
    token, log_p_model, log_p = draw(logits, SamplingParams(temperature=1.0, top_p=1.0), history, 0, seed)
    exact = logits.astype(np.float64)
    exact -= exact.max() + np.log(np.exp(exact - exact.max()).sum())
    assert log_p_model == pytest.approx(exact[token], abs=1e-3)
    assert log_p == pytest.approx(log_p_model, abs=1e-3)
    np.testing.assert_allclose(_core.log_probabilities(logits), exact, atol=1e-3)


def test_greedy_takes_the_most_likely_token_with_certainty() -> None:
    for seed in range(20):
        logits = logits_row(seed)
        token, log_p_model, log_p = draw(logits, GREEDY, [], 0)
        assert token == int(logits.argmax())
        assert log_p == 0.0
        assert log_p_model == pytest.approx(float(_core.log_probabilities(logits)[token]), abs=1e-5)


def test_a_draw_is_a_function_of_seed_stream_and_position() -> None:
    logits = logits_row(3)
    params = SETTINGS["plain"]
    draws = {key: draw(logits, params, [], key[2], seed=key[0], stream=key[1]) for key in np.ndindex(4, 4, 16)}
    again = {key: draw(logits, params, [], key[2], seed=key[0], stream=key[1]) for key in np.ndindex(4, 4, 16)}
    assert draws == again
    for axis in range(3):  # each of the three matters
        varied = {
            value[0] for key, value in draws.items() if all(key[other] == 0 for other in range(3) if other != axis)
        }
        assert len(varied) > 1


def test_banned_tokens_are_never_drawn() -> None:
    logits = np.full(NUM_TOKENS, 1.0, np.float32)
    allowed = {17, 101, 299}
    banned = tuple(token for token in range(NUM_TOKENS) if token not in allowed)
    params = SamplingParams(temperature=2.0, top_p=1.0, banned_tokens=banned)
    assert {draw(logits, params, [], position)[0] for position in range(200)} == allowed


def test_all_tokens_banned_is_refused() -> None:
    with pytest.raises(ValueError, match="all 300 tokens are banned"):
        core_sampling(SamplingParams(banned_tokens=tuple(range(NUM_TOKENS))), NUM_TOKENS)


def test_a_bias_for_a_token_outside_the_vocabulary_is_refused() -> None:
    with pytest.raises(ValueError, match="300"):
        core_sampling(SamplingParams(logit_bias={NUM_TOKENS: 1.0}), NUM_TOKENS)
    with pytest.raises(ValueError, match="-1"):
        core_sampling(SamplingParams(banned_tokens=(-1,)), NUM_TOKENS)
