"""A fork is exact: the same logits, to the last bit, as a cache that was never longer. (At equal batch shapes.)"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from raw_llama import raw_context

from arts_lite import _core
from arts_lite.engine import Engine, EngineConfig, Model
from arts_lite.types import BranchId, SamplingParams, StepRules

GREEDY = SamplingParams(temperature=0.0, banned_tokens=(257,))
NO_STEPS = StepRules(delimiters=())
PROMPT = list(b"the quick brown fox jumps over the lazy dog. 1+2=")
CONFIG = EngineConfig(threads=1, ctx_size=512, num_cells=1024, tunes_rows=False)


def generate(engine: Engine, num_tokens: int, prompt: list[int] = PROMPT) -> BranchId:
    branch = engine.open(prompt, sampling=GREEDY, rules=NO_STEPS, seed=0, stream=0, max_tokens=num_tokens)
    finish(engine, branch)
    return branch


def finish(engine: Engine, branch: BranchId) -> None:
    engine.run(branch)
    while engine.advance():
        pass


@pytest.fixture(params=["qwen2", "swa", "spm"])
def engine(
    request: pytest.FixtureRequest, tiny_model_path: Path, tiny_swa_path: Path, tiny_spm_path: Path
) -> Iterator[Engine]:
    path = {"qwen2": tiny_model_path, "swa": tiny_swa_path, "spm": tiny_spm_path}[request.param]
    with Engine.from_gguf(path, CONFIG) as engine:
        yield engine


@pytest.mark.parametrize(
    "position", [1, len(PROMPT) - 1, len(PROMPT), len(PROMPT) + 1, len(PROMPT) + 17, len(PROMPT) + 39]
)
def test_a_fork_continues_as_a_truncated_branch_does(engine: Engine, position: int) -> None:
    original = generate(engine, 40)
    forked = engine.fork(original, position)
    finish(engine, forked)
    cut = generate(engine, 40)
    engine.truncate(cut, position)
    finish(engine, cut)
    np.testing.assert_array_equal(engine.tokens(forked), engine.tokens(cut))
    for ours, theirs in zip(engine.log_probs(forked), engine.log_probs(cut), strict=True):
        np.testing.assert_array_equal(ours[-39:], theirs[-39:])
    engine.check()


def test_a_fork_in_the_generated_part_repeats_its_parent_to_the_last_bit(engine: Engine) -> None:
    parent = generate(engine, 60)
    for position in range(len(PROMPT) + 1, len(PROMPT) + 60, 7):
        child = engine.fork(parent, position)
        finish(engine, child)
        np.testing.assert_array_equal(engine.tokens(child), engine.tokens(parent))
        np.testing.assert_array_equal(engine.log_probs(child)[0], engine.log_probs(parent)[0])
        engine.close(child)
    engine.check()


def test_forks_of_forks_are_exact_while_the_parents_go_on(engine: Engine) -> None:
    reference = generate(engine, 50)
    chain = [engine.open(PROMPT, sampling=GREEDY, rules=NO_STEPS, seed=0, stream=0, max_tokens=50)]
    for depth in range(1, 5):
        engine.run(chain[-1])
        while engine.advance():
            pass
        chain.append(engine.fork(chain[-1], len(PROMPT) + 10 * depth))
    finish(engine, chain[-1])
    np.testing.assert_array_equal(engine.tokens(chain[-1]), engine.tokens(reference))
    np.testing.assert_array_equal(engine.log_probs(chain[-1])[0], engine.log_probs(reference)[0])


def test_a_lone_branch_has_llama_cpp_s_own_logits(tiny_model: Model, make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(ctx_size=512, num_cells=1024, tunes_rows=False)
    branch = generate(engine, 40)
    tokens, (log_probs, _) = engine.tokens(branch).tolist(), engine.log_probs(branch)
    with raw_context(tiny_model, CONFIG) as raw:
        row = raw.prefill(PROMPT)
        for index, token in enumerate(tokens[len(PROMPT) :]):
            assert np.float32(_core.log_probabilities(row)[token]) == log_probs[index]
            row = raw.decode([(token, len(PROMPT) + index, 0)])[0]


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (0.7, 0.8), (0.0, 1.0)])
def test_an_expected_log_prob_is_the_mean_over_what_could_be_drawn(
    tiny_model: Model, make_engine: Callable[..., Engine], temperature: float, top_p: float
) -> None:
    engine = make_engine(ctx_size=512, num_cells=1024, tunes_rows=False)
    sampling = SamplingParams(temperature=temperature, top_p=top_p, banned_tokens=(257,))
    branch = engine.open(PROMPT, sampling=sampling, rules=NO_STEPS, seed=0, stream=0, max_tokens=30)
    finish(engine, branch)
    expected = engine.expected_log_probs(branch)
    tokens = engine.tokens(branch).tolist()[len(PROMPT) :]
    assert len(expected) == len(tokens) == 30
    with raw_context(tiny_model, CONFIG) as raw:
        row = raw.prefill(PROMPT)
        for index, token in enumerate(tokens):
            log_p = np.asarray(_core.log_probabilities(row), np.float64)
            scaled = np.where(np.arange(len(log_p)) == 257, -np.inf, log_p) / max(temperature, 1e-6)
            drawn = np.exp(scaled - scaled.max())
            order = np.argsort(-drawn)
            kept = order[: 1 + int(np.searchsorted(np.cumsum(drawn[order]) / drawn.sum(), top_p))]
            mean = float(np.sum(drawn[kept] * log_p[kept]) / np.sum(drawn[kept]))
            assert expected[index] == pytest.approx(mean, abs=1e-4)
            row = raw.decode([(token, len(PROMPT) + index, 0)])[0]


def test_a_forked_branch_has_the_logits_of_llama_cpp_s_own_fork(
    tiny_model: Model, make_engine: Callable[..., Engine]
) -> None:
    engine = make_engine(ctx_size=512, num_cells=1024, tunes_rows=False)
    parent = generate(engine, 30)
    child = engine.fork(parent, len(PROMPT) + 10)
    finish(engine, child)
    tokens, (log_probs, _) = engine.tokens(child).tolist(), engine.log_probs(child)
    with raw_context(tiny_model, CONFIG) as raw:
        raw.prefill(PROMPT)
        for position in range(len(PROMPT), len(PROMPT) + 30):
            raw.decode([(tokens[position], position, 0)])
        raw.fork(0, 1, len(PROMPT) + 10)
        for position in range(len(PROMPT) + 10, len(PROMPT) + 29):
            row = raw.decode([(tokens[position], position, 1)])[0]
            index = position + 1 - len(PROMPT)
            assert np.float32(_core.log_probabilities(row)[tokens[position + 1]]) == log_probs[index]


@pytest.mark.model
@pytest.mark.parametrize("name", ["smollm2-135m", "gemma3-270m", "qwen2.5-coder-1.5b"])
def test_forks_of_real_models_are_exact(real_model: Callable[[str], Path], name: str) -> None:
    config = EngineConfig(threads=1, ctx_size=512, num_cells=1024, tunes_rows=False)
    greedy = SamplingParams(temperature=0.0)
    with Engine.from_gguf(real_model(name), config) as engine:
        prompt = engine.model.vocab.tokenise("Question: What is 12 + 30? Let us think step by step.\nAnswer:")
        parent = engine.open(prompt, sampling=greedy, rules=NO_STEPS, seed=0, stream=0, max_tokens=16)
        finish(engine, parent)
        child = engine.fork(parent, len(prompt) + 6)
        finish(engine, child)
        np.testing.assert_array_equal(engine.tokens(child), engine.tokens(parent))
        np.testing.assert_array_equal(engine.log_probs(child)[0], engine.log_probs(parent)[0])
        engine.check()
