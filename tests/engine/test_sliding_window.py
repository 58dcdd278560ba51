"""Why a sliding-window model's cells are held by two sequences: facts about llama.cpp, and what follows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import llama_cpp.llama_cpp as llama
import pytest
from raw_llama import RawContext, raw_context

from arts_lite.engine import Engine, EngineConfig, Model
from arts_lite.types import SamplingParams, StepRules

WINDOW = 64
CONFIG = EngineConfig(threads=1, ctx_size=512, num_cells=1024)


def first_position_after_recycling(context: RawContext, twin: int | None) -> int:
    """First position left of a sequence that went on while cells below its own were free."""
    context.prefill([65] * 100, sequence=1)
    context.prefill([66] * 300, sequence=0)
    if twin is not None:
        context.fork(0, twin, 300)
    llama.llama_memory_seq_rm(context.memory, 1, 0, -1)  # the allocator starts at the bottom again
    for position in range(300, 450):
        context.decode([(67, position, 0)])
    return int(llama.llama_memory_seq_pos_min(context.memory, 0))


@pytest.mark.parametrize("is_held_twice", [False, True])
def test_llama_cpp_recycles_cells_behind_the_window_unless_two_sequences_hold_them(
    tiny_swa_path: Path, is_held_twice: bool
) -> None:
    with Model(tiny_swa_path) as model, raw_context(model, CONFIG) as context:
        first = first_position_after_recycling(context, 2 if is_held_twice else None)
    assert (first == 0) == is_held_twice


def test_the_engine_forks_before_the_window_where_llama_cpp_alone_would_have_lost_the_cells(
    tiny_swa_path: Path,
) -> None:
    sampling, rules = SamplingParams(temperature=1.0, top_p=1.0, banned_tokens=(257,)), StepRules(delimiters=())
    with Engine.from_gguf(tiny_swa_path, CONFIG) as engine:
        below = engine.open([65] * 100, sampling=sampling, rules=rules, seed=1, stream=0, max_tokens=2)
        branch = engine.open([66] * 300, sampling=sampling, rules=rules, seed=1, stream=1, max_tokens=150)
        for each in (below, branch):
            engine.run(each)
            engine.advance()
            if each == below:
                engine.close(below)
        assert engine.num_tokens(branch) == 450
        early = engine.fork(branch, WINDOW // 2)
        engine.run(early)
        engine.advance()
        engine.check()
        assert engine.stats().num_tokens_redecoded == 1  # the fork's last token, for its row; nothing was lost


@pytest.mark.parametrize("name", ["gemma3-270m"])
def test_a_real_sliding_window_model_keeps_its_cells(real_model: Callable[[str], Path], name: str) -> None:
    sampling, rules = SamplingParams(), StepRules()
    with Engine.from_gguf(real_model(name), EngineConfig(threads=1, ctx_size=2048, num_cells=4096)) as engine:
        prompt = engine.model.vocab.tokenise("The numbers are " + ", ".join(map(str, range(240))))
        assert len(prompt) > engine.model.sliding_window
        branch = engine.open(prompt, sampling=sampling, rules=rules, seed=1, stream=0, max_tokens=4)
        engine.run(branch)
        engine.advance()
        early = engine.fork(branch, 16)
        engine.run(early, pause_on_step=True)
        engine.advance(0)
        engine.check()
