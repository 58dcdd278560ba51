"""Values read while generating and off given tokens, against hidden states that llama.cpp yields token by token."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as llama
import numpy as np
import pytest
from numpy.typing import NDArray
from raw_llama import RawContext, raw_context
from resident import resident_bytes
from tiny_gguf import TinyModel, write_tiny_gguf

from arts_lite.engine import Engine, EngineConfig, KVType, Model
from arts_lite.errors import BranchClosedError, ContextOverflowError
from arts_lite.types import BranchId, Event, EventKind, SamplingParams, StepRules, StopReason

SAMPLING = SamplingParams(temperature=1.0, top_p=1.0)
RULES = StepRules(delimiters=("\n", " "))
PROMPT = list(b"the quick brown fox jumps. 1+2=")
SLOT = 270  # an unused token
BIAS = 0.5
TOLERANCE = {"f32": 1e-5, "f16": 2e-2}

Weight = NDArray[np.float32]


@pytest.fixture(scope="module", params=["f32", "f16"])
def precision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(precision: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    path = write_tiny_gguf(tmp_path_factory.mktemp("values") / "tiny.gguf", TinyModel(float_type=precision))
    with Model(path) as model:
        yield model


@pytest.fixture
def engine(model: Model, precision: str) -> Iterator[Engine]:
    with Engine(model, config_of(precision)) as engine:
        yield engine


def config_of(precision: str, **changes: Any) -> EngineConfig:
    settings = {
        "threads": 1,
        "ctx_size": 512,
        "num_cells": 2048,
        "kv_type": KVType(precision),
        "tunes_rows": False,
        "flash_attention": False,
    }
    return EngineConfig(**{**settings, **changes})


def a_head(size: int) -> Weight:
    return np.random.default_rng(5).normal(0, 0.3, size).astype(np.float32)


def open_branch(engine: Engine, tokens: Sequence[int] = PROMPT, **changes: Any) -> BranchId:
    settings = {"sampling": SAMPLING, "rules": RULES, "seed": 7, "stream": 0, "max_tokens": 60, "owner": 0}
    return engine.open(tokens, **{**settings, **changes})


def finish(engine: Engine, *branches: BranchId) -> list[Event]:
    for branch in branches:
        engine.run(branch)
    events = []
    while new := engine.advance():
        events += new
    engine.check()
    return events


class ByHand:
    """Hidden states and values of a sequence of tokens, decoded one by one in a context of its own."""

    def __init__(self, raw: RawContext, weight: Weight, size: int) -> None:
        self.raw, self.weight, self.size = raw, weight, size
        llama.llama_set_embeddings(raw.pointer, True)

    def states(self, tokens: Sequence[int]) -> Weight:
        llama.llama_memory_clear(self.raw.memory, True)
        rows = []
        for position, token in enumerate(tokens):
            self.raw.decode([(int(token), position, 0)])
            row = llama.llama_get_embeddings_ith(self.raw.pointer, 0)
            rows.append(np.ctypeslib.as_array(row, (self.size,)).copy())
        return np.stack(rows)

    def values(self, tokens: Sequence[int], positions: Sequence[int]) -> NDArray[np.float64]:
        """What a linear head says of tokens[0:position]."""
        states = self.states(tokens).astype(np.float64)
        return states[np.asarray(positions) - 1] @ self.weight.astype(np.float64) + BIAS


@pytest.fixture
def by_hand(model: Model, precision: str) -> Iterator[ByHand]:
    config = config_of(precision)
    with raw_context(model, config) as raw:
        size = llama.llama_model_n_embd_out(model.retain())
        model.release()
        yield ByHand(raw, a_head(size), size)


def test_generated_steps_and_ends_have_the_values_of_decoding_them_by_hand(
    engine: Engine, by_hand: ByHand, precision: str
) -> None:
    engine.set_head(a_head(engine.num_embd), BIAS)
    branches = [open_branch(engine, stream=stream) for stream in range(6)]
    finish(engine, *branches)
    for branch in branches:
        boundaries = engine.boundaries(branch)
        values = engine.step_values(branch)
        assert values.dtype == np.float64
        assert values.shape == (len(boundaries) + 1,)
        positions = [*boundaries, engine.num_tokens(branch) - 1]
        expected = by_hand.values(engine.tokens(branch).tolist(), positions)
        np.testing.assert_allclose(values, expected, atol=TOLERANCE[precision])
        np.testing.assert_array_equal(engine.values(branch, positions), values)


def test_given_tokens_have_the_values_of_decoding_them_by_hand(engine: Engine, by_hand: ByHand, precision: str) -> None:
    engine.set_head(a_head(engine.num_embd), BIAS)
    texts = [list(f"step {index}: {index * 7}\n\nanswer {index % 3}".encode()) for index in range(20)]
    branches = [open_branch(engine) for _ in texts]
    marks = [[len(PROMPT), len(PROMPT) + 8, len(PROMPT) + len(text) - 2, len(PROMPT) + len(text)] for text in texts]
    for branch, text, positions in zip(branches, texts, marks, strict=True):
        engine.append(branch, text, marks=positions)
    events = finish(engine)
    assert {event.branch for event in events} == set(branches)
    assert {event.kind for event in events} == {EventKind.APPENDED}
    for branch, text, positions in zip(branches, texts, marks, strict=True):
        assert engine.tokens(branch).tolist() == PROMPT + text
        expected = by_hand.values(PROMPT + text, positions)
        np.testing.assert_allclose(engine.values(branch, positions), expected, atol=TOLERANCE[precision])
        assert np.isnan(engine.values(branch, [positions[1] + 1])).all()
    distinct = {tuple((PROMPT + text)[:end]) for text in texts for end in range(1, len(PROMPT + text) + 1)}
    stats = engine.stats()
    assert stats.num_cells_used == stats.num_tokens_prefilled + stats.num_tokens_decoded == len(distinct)


def test_every_position_of_a_long_text_can_be_read(engine: Engine, by_hand: ByHand, precision: str) -> None:
    """More rows than one call with hidden states takes."""
    engine.set_head(a_head(engine.num_embd), BIAS)
    tokens = list(np.random.default_rng(1).integers(97, 123, 500))
    branch = open_branch(engine, tokens[:1])
    engine.append(branch, tokens[1:], marks=range(1, 501), keep_states=True)
    finish(engine)
    positions = list(range(1, 501))
    states = engine.hidden_states(branch, positions)
    assert states.dtype == np.float32
    assert states.shape == (500, engine.num_embd)
    np.testing.assert_allclose(states, by_hand.states(tokens), atol=10 * TOLERANCE[precision])
    dots = states.astype(np.float64) @ a_head(engine.num_embd).astype(np.float64) + BIAS
    np.testing.assert_allclose(engine.values(branch, positions), dots, atol=1e-9)


def test_hidden_states_need_no_head(engine: Engine, by_hand: ByHand, precision: str) -> None:
    branch = open_branch(engine)
    engine.append(branch, marks=[3, len(PROMPT)], keep_states=True)
    finish(engine)
    expected = by_hand.states(PROMPT)[[2, -1]]
    np.testing.assert_allclose(engine.hidden_states(branch, [3, len(PROMPT)]), expected, atol=10 * TOLERANCE[precision])
    assert np.isnan(engine.values(branch, [3])).all()
    with pytest.raises(ValueError, match="keeps no hidden state at position 4"):
        engine.hidden_states(branch, [4])


def test_the_logit_of_a_slot_is_the_value_and_the_slot_is_never_drawn(
    engine: Engine, by_hand: ByHand, precision: str
) -> None:
    engine.set_head_token(SLOT, BIAS)
    eager = SamplingParams(temperature=1.0, top_p=1.0, logit_bias={SLOT: 1e6})
    generated, given = open_branch(engine, sampling=eager), open_branch(engine, stream=1)
    engine.append(given, list(b"x y"), marks=[len(PROMPT) + 2, len(PROMPT) + 3])
    finish(engine, generated)
    assert SLOT not in engine.tokens(generated)
    for branch, positions in ((given, [len(PROMPT) + 2, len(PROMPT) + 3]), (generated, engine.boundaries(generated))):
        by_hand.states(tokens := engine.tokens(branch).tolist())
        for position in positions:
            llama.llama_memory_clear(by_hand.raw.memory, True)
            row = [by_hand.raw.decode([(t, p, 0)])[0] for p, t in enumerate(tokens[:position])][-1]
            assert engine.values(branch, [position])[0] == pytest.approx(row[SLOT] + BIAS, abs=5 * TOLERANCE[precision])
    assert np.isfinite(engine.log_probs(generated)[0]).all()


@pytest.mark.parametrize("pauses", [False, True])
@pytest.mark.parametrize("num_branches", [1, 7])
def test_a_head_does_not_change_what_is_sampled(model: Model, precision: str, num_branches: int, pauses: bool) -> None:
    found: list[tuple[Any, Any]] = []
    log_probs: list[Any] = []
    for has_head in (False, True):
        with Engine(model, config_of(precision)) as engine:
            if has_head:
                engine.set_head(a_head(engine.num_embd))
            branches = [open_branch(engine, stream=stream) for stream in range(num_branches)]
            for branch in branches:
                engine.run(branch, pause_on_step=pauses)
            while events := engine.advance():
                for event in events:
                    if event.kind is EventKind.STEP_ENDED:
                        assert event.branch is not None
                        assert not has_head or np.isfinite(engine.step_values(event.branch)).all()
                        engine.run(event.branch, pause_on_step=pauses)
            stats = engine.stats()
            counts = (stats.num_tokens_decoded, stats.num_tokens_redecoded)
            found.append((counts, [(engine.tokens(b).tolist(), engine.boundaries(b)) for b in branches]))
            log_probs.append(np.concatenate([engine.log_probs(b) for b in branches], axis=1))
    assert found[0] == found[1]
    if not (pauses and num_branches > 1):  # whose rows then stand in another order
        np.testing.assert_array_equal(*log_probs)


def test_values_outlive_fork_park_and_resume(engine: Engine) -> None:
    engine.set_head(a_head(engine.num_embd), BIAS)
    branch = open_branch(engine, stream=2)
    finish(engine, branch)
    boundaries = engine.boundaries(branch)
    assert len(boundaries) >= 3
    values = engine.step_values(branch)
    child = engine.fork(branch, boundaries[1])
    np.testing.assert_array_equal(engine.step_values(child), values[:2])
    engine.park(child)
    engine.close(branch)
    engine.append(child, list(b"more\n"), marks=[boundaries[0], boundaries[1] + 5])
    finish(engine)
    np.testing.assert_array_equal(engine.step_values(child)[:2], values[:2])
    engine.park(child)
    engine.run(child)
    finish(engine)
    np.testing.assert_array_equal(engine.step_values(child)[:2], values[:2])
    engine.truncate(child, boundaries[0])
    np.testing.assert_array_equal(engine.step_values(child), values[:1])


def test_a_verifier_mirrors_forks_for_the_price_of_the_new_tokens(engine: Engine) -> None:
    engine.set_head(a_head(engine.num_embd), BIAS)
    main = open_branch(engine, list(b"question"))
    length, spent = 8, 0
    for step in range(5):
        text = list(f"step {step}\n".encode())
        length += len(text)
        engine.append(main, text, marks=[length])
        finish(engine)
        assert engine.stats().num_tokens_prefilled == length
        assert np.isfinite(engine.values(main, [length])).all()
    child = engine.fork(main, 8 + 2 * 7)
    spent = engine.stats().num_tokens_prefilled
    engine.append(child, list(b"another way"), marks=[8 + 2 * 7 + 11])
    finish(engine)
    assert engine.stats().num_tokens_prefilled == spent + 11
    assert engine.stats().num_tokens_redecoded == 0
    np.testing.assert_array_equal(engine.values(child, [15, 22]), engine.values(main, [15, 22]))


def test_given_tokens_get_through_beside_generation_under_cache_pressure_quotas_and_interrupts(
    model: Model, precision: str
) -> None:
    with Engine(model, config_of(precision, ctx_size=200, num_cells=256, num_sequences=6, max_rows=3)) as engine:
        engine.set_head(a_head(engine.num_embd), BIAS)
        endless = SamplingParams(temperature=1.0, top_p=1.0, banned_tokens=(257,))
        engine.set_quota(1, 100)
        writers = [
            open_branch(engine, stream=stream, sampling=endless, max_tokens=120, owner=stream % 2)
            for stream in range(4)
        ]
        for writer in writers:
            engine.run(writer)
        readers = [open_branch(engine, [65 + index]) for index in range(4)]
        lengths = dict.fromkeys(readers, 1)
        interrupter = threading.Timer(0.01, engine.interrupt)
        interrupter.start()
        for reader in readers:
            engine.append(reader, [66] * 30, marks=[31])
        limited: set[BranchId | None] = set()
        ended: set[BranchId | None] = set()
        while events := engine.advance():
            engine.check()
            for event in events:
                if event.kind is EventKind.APPENDED:
                    assert event.branch is not None
                    lengths[event.branch] = event.position
                    assert np.isfinite(engine.values(event.branch, range(31, event.position + 1, 30))).all()
                    if event.position < 121:
                        marks = [event.position + 30]
                        engine.append(event.branch, [66] * 30, marks=marks)
                limited |= {event.branch} if event.reason is StopReason.BUDGET_TOKENS else set()
                ended |= {event.branch} if event.kind is EventKind.TRACE_ENDED else set()
        interrupter.join()
        assert set(lengths.values()) == {121}
        assert limited == {writers[1], writers[3]}
        assert ended == {writers[0], writers[2]}
        assert engine.quota_spent(1) == 100


BAD_HEADS: dict[str, tuple[Callable[[Engine], object], type[Exception]]] = {
    "too short": (lambda engine: engine.set_head(np.ones(engine.num_embd - 1)), ValueError),
    "too long": (lambda engine: engine.set_head(np.ones(engine.num_embd + 1)), ValueError),
    "empty": (lambda engine: engine.set_head([]), ValueError),
    "a matrix": (lambda engine: engine.set_head(np.ones((1, engine.num_embd))), ValueError),
    "not a number": (lambda engine: engine.set_head([math.nan] * engine.num_embd), ValueError),
    "infinite in single precision": (lambda engine: engine.set_head([1e300] * engine.num_embd), ValueError),
    "text": (lambda engine: engine.set_head(["a"] * engine.num_embd), TypeError),
    "an infinite bias": (lambda engine: engine.set_head(np.ones(engine.num_embd), math.inf), ValueError),
    "a bias that is none": (lambda engine: engine.set_head(np.ones(engine.num_embd), "1"), TypeError),  # type: ignore[arg-type]
    "a missing token": (lambda engine: engine.set_head_token(288), ValueError),
    "a negative token": (lambda engine: engine.set_head_token(-1), ValueError),
    "a token with a bad bias": (lambda engine: engine.set_head_token(SLOT, math.nan), ValueError),
    "straight to the extension": (lambda engine: engine._core.set_linear_head(np.ones(3, np.float32), 0.0), ValueError),
}


@pytest.mark.parametrize("name", BAD_HEADS)
def test_a_bad_head_is_refused_and_leaves_no_trace(tiny_engine: Engine, name: str) -> None:
    call, error = BAD_HEADS[name]
    with pytest.raises(error):
        call(tiny_engine)
    branch = open_branch(tiny_engine)
    with pytest.raises(ValueError, match="head"):
        tiny_engine.append(branch, marks=[1])
    finish(tiny_engine, branch)
    assert np.isnan(tiny_engine.step_values(branch)).all()


def test_the_head_cannot_change_under_open_branches(tiny_engine: Engine) -> None:
    tiny_engine.set_head(a_head(tiny_engine.num_embd))
    branch = open_branch(tiny_engine)
    for call in (lambda: tiny_engine.set_head(a_head(tiny_engine.num_embd)), lambda: tiny_engine.set_head_token(SLOT)):
        with pytest.raises(ValueError, match="1 branches are open"):
            call()
    with pytest.raises(ValueError, match="open"):
        tiny_engine.remove_head()
    tiny_engine.close(branch)
    tiny_engine.remove_head()
    branch = open_branch(tiny_engine)
    finish(tiny_engine, branch)
    assert np.isnan(tiny_engine.step_values(branch)).all()


def test_with_a_head_token_one_other_token_must_be_left(tiny_engine: Engine) -> None:
    tiny_engine.set_head_token(SLOT)
    only_the_slot = SamplingParams(banned_tokens=tuple(token for token in range(288) if token != SLOT))
    with pytest.raises(ValueError, match="banned"):
        open_branch(tiny_engine, sampling=only_the_slot)


BAD_APPENDS: dict[str, tuple[dict[str, Any], type[Exception]]] = {
    "a token behind the vocabulary": ({"tokens": [288]}, ValueError),
    "a negative token": ({"tokens": [-1]}, ValueError),
    "fractions": ({"tokens": [1.5]}, TypeError),
    "two dimensions": ({"tokens": np.ones((2, 2), np.int32)}, ValueError),
    "more than the context holds": ({"tokens": [65] * 1024}, ContextOverflowError),
    "a mark at nothing": ({"tokens": [65], "marks": [0]}, ValueError),
    "a negative mark": ({"tokens": [65], "marks": [-1]}, ValueError),
    "a mark behind the end": ({"tokens": [65], "marks": [len(PROMPT) + 2]}, ValueError),
    "a mark beyond 32 bits": ({"tokens": [65], "marks": [2**32 + 1]}, ValueError),
    "a fraction of a mark": ({"tokens": [65], "marks": [0.5]}, TypeError),
    "marks in two dimensions": ({"tokens": [65], "marks": [[1]]}, ValueError),
}


@pytest.mark.parametrize("name", BAD_APPENDS)
def test_a_bad_append_is_refused_and_changes_nothing(tiny_engine: Engine, name: str) -> None:
    tiny_engine.set_head(a_head(tiny_engine.num_embd))
    branch = open_branch(tiny_engine)
    changes, error = BAD_APPENDS[name]
    with pytest.raises(error):
        tiny_engine.append(branch, **changes)
    assert tiny_engine.tokens(branch).tolist() == PROMPT
    assert tiny_engine.advance() == []
    tiny_engine.append(branch, [65], marks=[len(PROMPT) + 1])
    assert [event.kind for event in finish(tiny_engine)] == [EventKind.APPENDED]


def test_who_runs_or_has_ended_takes_no_tokens(tiny_engine: Engine) -> None:
    tiny_engine.set_head(a_head(tiny_engine.num_embd))
    branch = open_branch(tiny_engine, max_tokens=5)
    tiny_engine.run(branch)
    with pytest.raises(ValueError, match="running"):
        tiny_engine.append(branch, [65])
    finish(tiny_engine)
    with pytest.raises(ValueError, match="ended"):
        tiny_engine.append(branch, [65])
    length = tiny_engine.num_tokens(branch)
    tiny_engine.append(branch, marks=[length])
    with pytest.raises(ValueError, match="appended"):
        tiny_engine.run(branch)
    finish(tiny_engine)
    assert tiny_engine.state(branch) == "ended"
    assert tiny_engine.step_values(branch)[-1] == tiny_engine.values(branch, [length])[0]


def test_positions_that_a_branch_has_not_are_named(tiny_engine: Engine) -> None:
    branch = open_branch(tiny_engine)
    for position in (0, -1, len(PROMPT) + 1, 2**31):
        for read in (tiny_engine.values, tiny_engine.hidden_states):
            with pytest.raises(ValueError, match="position"):
                read(branch, [position])
    assert tiny_engine.values(branch, []).shape == (0,)
    assert tiny_engine.hidden_states(branch, []).shape == (0, tiny_engine.num_embd)


def test_after_shutdown_values_say_that_the_engine_is_closed(tiny_model: Model) -> None:
    with Engine(tiny_model, EngineConfig(threads=1, ctx_size=256, num_cells=256)) as engine:
        branch = open_branch(engine)
    calls: list[Callable[[], object]] = [
        lambda: engine.set_head(a_head(engine.num_embd)),
        lambda: engine.set_head_token(SLOT),
        lambda: engine.remove_head(),
        lambda: engine.append(branch, [1]),
        lambda: engine.values(branch, [1]),
        lambda: engine.step_values(branch),
        lambda: engine.hidden_states(branch, [1]),
    ]
    for call in calls:
        with pytest.raises(BranchClosedError, match="closed"):
            call()


def test_a_sliding_window_model_reads_values_behind_its_window(tiny_swa_path: Path) -> None:
    tokens = [97 + index % 26 for index in range(200)]
    found = []
    for chunk in (200, 37):
        with Engine.from_gguf(tiny_swa_path, EngineConfig(threads=1, ctx_size=256, num_cells=512)) as engine:
            engine.set_head(a_head(engine.num_embd))
            branch = open_branch(engine, tokens[:1])
            for start in range(1, 200, chunk):
                engine.append(branch, tokens[start : start + chunk], marks=[min(start + chunk, 200)])
                finish(engine)
            found.append(engine.values(branch, [200])[0])
            assert engine.stats().num_cells_used == 200
    assert found[0] == pytest.approx(found[1], abs=2e-2)


@pytest.mark.model
@pytest.mark.parametrize("name", ["smollm2-135m", "gemma3-270m"])
def test_values_of_real_models_are_those_of_decoding_them_by_hand(real_model: Callable[[str], Path], name: str) -> None:
    """Quantised kernels depend on the batch's shape: values agree within a small part of their spread."""
    config = EngineConfig(threads=1, ctx_size=512, num_cells=1024, tunes_rows=False)
    with Model(real_model(name), config) as model:
        text = "Question: What is 12 + 30?\n\nAdd the tens: 10 + 30 = 40.\n\nAdd the rest: 40 + 2 = 42.\n\nAnswer: 42"
        tokens = model.vocab.tokenise(text)
        positions = list(range(2, len(tokens) + 1))
        with Engine(model, config) as engine:
            size, weight = engine.num_embd, a_head(engine.num_embd)
            engine.set_head(weight, BIAS)
            branch = open_branch(engine, tokens[:1])
            for start in range(1, len(tokens), 7):
                last = min(start + 7, len(tokens))
                engine.append(branch, tokens[start:last], marks=range(start + 1, last + 1))
                finish(engine)
            values = engine.values(branch, positions)
        with raw_context(model, config) as raw:
            expected = ByHand(raw, weight, size).values(tokens, positions)
    assert np.corrcoef(values, expected)[0, 1] > 0.99


def test_reading_values_over_and_over_leaves_nothing_behind(tiny_engine: Engine) -> None:
    tiny_engine.set_head(a_head(tiny_engine.num_embd))

    def search(stream: int) -> None:
        branch = open_branch(tiny_engine, stream=stream, max_tokens=20)
        finish(tiny_engine, branch)
        child = tiny_engine.fork(branch, len(PROMPT) + 1)
        tiny_engine.append(child, [66] * 50, marks=range(1, 60), keep_states=True)
        finish(tiny_engine)
        for each in (branch, child):
            tiny_engine.close(each)

    for stream in range(30):
        search(stream)
    before = resident_bytes()
    for stream in range(300):
        search(stream)
    assert resident_bytes() - before < 4 * 2**20
    stats = tiny_engine.stats()
    assert (stats.num_cells_used, stats.num_sequences_used, stats.num_branches) == (0, 0, 0)
