"""A reproducible engine: what is generated is a function of the calls since there was no branch, to the last bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from arts_lite.engine import Engine, EngineConfig, Model
from arts_lite.types import EventKind, SamplingParams, StepRules

SAMPLING = SamplingParams(temperature=1.0, top_p=1.0)
RULES = StepRules(delimiters=("e", "\n"))


def search(engine: Engine, problem: int, *, max_seconds: float | None = None, watched: bool = False) -> list[bytes]:
    """Grow traces that fork at every third step; leaves no branch. Returns all tokens and log-probs, bit for bit."""
    prompt = list(f"problem {problem} ".encode()) * 4
    branches = [
        engine.open(prompt, sampling=SAMPLING, rules=RULES, seed=problem, stream=stream, max_tokens=60)
        for stream in range(5)
    ]
    mains = set(branches[:3])
    for branch in branches:
        engine.run(branch, pause_on_step=branch in mains or watched)
    while events := engine.advance(max_seconds):
        for event in events:
            if event.kind is not EventKind.STEP_ENDED or event.branch is None:
                continue
            if event.branch in mains and len(engine.boundaries(event.branch)) % 3 == 0:
                branches.append(engine.fork(event.branch, event.position))
                engine.run(branches[-1])
            engine.run(event.branch, pause_on_step=True)
    found = [
        b"".join([engine.tokens(branch).tobytes(), *(values.tobytes() for values in engine.log_probs(branch))])
        for branch in branches
    ]
    for branch in branches:
        engine.close(branch)
    return found


@pytest.mark.parametrize("architecture", ["tiny_model_path", "tiny_swa_path", "tiny_spm_path"])
@pytest.mark.parametrize("num_cells", [4096, 256])
def test_neither_the_past_nor_the_clock_nor_watching_changes_a_bit(
    request: pytest.FixtureRequest, make_engine: Callable[..., Engine], architecture: str, num_cells: int
) -> None:
    with Model(request.getfixturevalue(architecture), EngineConfig()) as model:
        settings = {"model": model, "ctx_size": 256, "num_cells": num_cells, "reproducible": True}
        first, second = make_engine(**settings), make_engine(**settings)
        for problem in (1, 2):
            search(second, problem)
        wanted = search(first, 3)
        assert len(wanted) > 5
        assert search(second, 3) == search(first, 3) == wanted
        assert search(first, 3, max_seconds=0) == wanted
        if num_cells == 4096:  # while branches are thrown out of the cache, a pause changes who goes first
            assert search(first, 3, watched=True) == wanted
        assert (first.stats().num_parked > 0) == (num_cells == 256)
        first.shutdown()
        second.shutdown()


def test_nothing_is_padded_or_measured(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(ctx_size=256, num_cells=4096, reproducible=True)
    assert engine.is_reproducible
    assert engine.stats().num_rows_target == engine.stats().num_rows_max
    search(engine, 1)
    assert engine.stats().num_rows_padding == 0


def test_the_conditions_are_plain_and_tell_settings_and_machines_apart(make_engine: Callable[..., Engine]) -> None:
    plain = make_engine(ctx_size=256, num_cells=4096)
    assert (plain.is_reproducible, plain.conditions) == (False, {})
    conditions = make_engine(ctx_size=256, num_cells=4096, reproducible=True).conditions
    assert json.loads(json.dumps(conditions)) == conditions
    hints = {"num_traces": 3, "num_questions": 9}
    assert conditions == make_engine(ctx_size=256, num_cells=4096, reproducible=True, **hints).conditions
    assert conditions["llama_cpp"].split()[0].count(".") >= 2
    assert conditions["processor"]
    for change in ({"threads": 2}, {"kv_type": "q8_0"}, {"max_rows": 5}, {"num_cells": 2048}):
        settings = {"ctx_size": 256, "num_cells": 4096, "reproducible": True, **change}
        other = make_engine(**settings).conditions
        assert {name for name in conditions if conditions[name] != other[name]} >= set(change)


def test_the_threads_that_were_chosen_are_part_of_the_conditions(tiny_model_path: Path) -> None:
    with Engine.from_gguf(tiny_model_path, EngineConfig(ctx_size=256, num_cells=256, reproducible=True)) as engine:
        assert (engine.conditions["threads"], engine.conditions["prefill_threads"]) == (1, 1)  # of a tiny model
