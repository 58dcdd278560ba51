"""The draws are a function of (seed, stream, path of forks); the company in the batch is not part of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from arts_lite.engine import Engine
from arts_lite.types import BranchId, SamplingParams, StepRules

SAMPLING = SamplingParams(temperature=1.0, top_p=1.0)
RULES = StepRules(delimiters=("\n",))
PROMPT = list(b"1+2=")


def grow(engine: Engine, *, seed: int, streams: range) -> list[BranchId]:
    branches = [
        engine.open(PROMPT, sampling=SAMPLING, rules=RULES, seed=seed, stream=stream, max_tokens=30)
        for stream in streams
    ]
    for branch in branches:
        engine.run(branch)
    while engine.advance():
        pass
    return branches


def texts(engine: Engine, branches: list[BranchId]) -> list[bytes]:
    return [engine.tokens(branch).tobytes() for branch in branches]


def test_the_same_calls_give_the_same_tokens(make_engine: Callable[..., Engine]) -> None:
    runs = []
    for _ in range(2):
        engine = make_engine(ctx_size=256, num_cells=2048, tunes_rows=False)
        branches = grow(engine, seed=5, streams=range(12))
        child = engine.fork(branches[0], 8)
        engine.run(child)
        while engine.advance():
            pass
        runs.append([*texts(engine, branches), engine.tokens(child).tobytes()])
    assert runs[0] == runs[1]
    assert len(set(runs[0])) > 8


def test_another_seed_or_stream_gives_other_tokens(tiny_engine: Engine) -> None:
    first = texts(tiny_engine, grow(tiny_engine, seed=1, streams=range(6)))
    second = texts(tiny_engine, grow(tiny_engine, seed=2, streams=range(6)))
    assert not set(first) & set(second)
    assert len(set(first)) == 6


def test_branches_of_one_stream_are_equal_and_decoded_once(tiny_engine: Engine) -> None:
    branches = [
        tiny_engine.open(PROMPT, sampling=SAMPLING, rules=RULES, seed=3, stream=0, max_tokens=20) for _ in range(10)
    ]
    for branch in branches:
        tiny_engine.run(branch)
    while tiny_engine.advance():
        pass
    assert len(set(texts(tiny_engine, branches))) == 1
    stats = tiny_engine.stats()
    assert stats.num_tokens_decoded <= 20
    assert stats.num_tokens_prefilled == len(PROMPT) - 1


def test_parking_changes_no_token_of_a_greedy_branch(make_engine: Callable[..., Engine]) -> None:
    """The logits of a prefilled token differ in the last digits from those of a decoded one; the choice does not."""
    greedy = SamplingParams(temperature=0.0, banned_tokens=(257,))
    results = []
    for parks in (False, True):
        engine = make_engine(ctx_size=256, num_cells=1024, tunes_rows=False)
        branch = engine.open(
            PROMPT, sampling=greedy, rules=StepRules(delimiters=(" ",)), seed=0, stream=0, max_tokens=60
        )
        while engine.state(branch) != "ended":
            engine.run(branch, pause_on_step=True)
            engine.advance()
            if parks:
                engine.park(branch)
                assert engine.stats().num_cells_used == 0
        results.append(engine.tokens(branch))
    np.testing.assert_array_equal(*results)


def test_siblings_forked_at_one_point_draw_differently(tiny_engine: Engine) -> None:
    (parent,) = grow(tiny_engine, seed=9, streams=range(1))
    children = [tiny_engine.fork(parent, 6) for _ in range(12)]
    for child in children:
        tiny_engine.run(child)
    while tiny_engine.advance():
        pass
    assert len(set(texts(tiny_engine, children))) >= 10
