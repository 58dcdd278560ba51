"""Many branches, many cycles: nothing is lost and nothing grows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from resident import resident_bytes

from arts_lite.engine import Engine, EngineConfig, Model
from arts_lite.types import SamplingParams, StepRules

SAMPLING = SamplingParams(temperature=1.0, top_p=1.0, banned_tokens=(257,))
RULES = StepRules(delimiters=())


def test_ten_thousand_parked_branches_live_in_one_small_cache(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(ctx_size=64, num_cells=512, num_sequences=16)
    branches = []
    for stream in range(10_000):
        branch = engine.open([65, 66], sampling=SAMPLING, rules=RULES, seed=0, stream=stream, max_tokens=3)
        branches.append(branch)
        if stream % 500 == 0:
            engine.run(branch)
            while engine.advance():
                pass
            engine.park(branch)
    stats = engine.stats()
    assert stats.num_branches == 10_000
    assert stats.num_cells_used <= 2 + 20  # the prompt, and first tokens that two of the 20 traces have in common
    woken = branches[3::1001]
    for branch in woken:
        engine.run(branch)
    while engine.advance():
        pass
    assert [engine.num_tokens(branch) for branch in woken] == [5] * len(woken)
    engine.check()
    for branch in branches:
        engine.close(branch)
    stats = engine.stats()
    assert (stats.num_branches, stats.num_cells_used, stats.num_sequences_used) == (0, 0, 0)


def test_memory_stays_flat_over_many_branches(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(ctx_size=128, num_cells=1024)

    def cycle(rounds: int) -> None:
        for round_ in range(rounds):
            branches = [
                engine.open(
                    [65, 66], sampling=SAMPLING, rules=RULES, seed=round_, stream=stream, max_tokens=8, owner=round_
                )
                for stream in range(4)
            ]
            engine.set_quota(round_, 100)
            for branch in branches:
                engine.run(branch)
            while engine.advance():
                pass
            branches.append(engine.fork(branches[0], 5))
            for branch in branches:
                engine.close(branch)
            engine.forget_owner(round_)

    cycle(300)
    before = resident_bytes()
    cycle(1500)
    assert resident_bytes() - before < 2 * 2**20


def test_memory_stays_flat_over_many_engines_and_models(tiny_model_path: Path) -> None:
    def cycle(rounds: int) -> None:
        for _ in range(rounds):
            with (
                Model(tiny_model_path) as model,
                Engine(model, EngineConfig(threads=1, ctx_size=64, num_cells=256)) as engine,
            ):
                branch = engine.open([65], sampling=SAMPLING, rules=RULES, seed=0, stream=0, max_tokens=3)
                engine.run(branch)
                engine.advance()

    cycle(20)
    before = resident_bytes()
    cycle(80)
    assert resident_bytes() - before < 8 * 2**20
