"""What the engine promises to a search, on a tiny model and the real llama.cpp."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from arts_lite.engine import Engine, EngineConfig, Model
from arts_lite.errors import BranchClosedError, ContextOverflowError
from arts_lite.types import BranchId, EventKind, SamplingParams, StepRules, StopReason

SAMPLING = SamplingParams(temperature=1.0, top_p=1.0)
RULES = StepRules(delimiters=("\n",))
PROMPT = list(b"1+2=")


def open_branch(
    engine: Engine, prompt: list[int] = PROMPT, *, max_tokens: int = 40, stream: int = 0, **more: int
) -> BranchId:
    settings = {"seed": 7, "owner": 0, **more}
    return engine.open(prompt, sampling=SAMPLING, rules=RULES, stream=stream, max_tokens=max_tokens, **settings)


def run_to_end(engine: Engine, *branches: BranchId) -> None:
    for branch in branches:
        engine.run(branch)
    while engine.advance():
        pass


def test_a_branch_generates_until_its_token_limit_or_its_end(tiny_engine: Engine) -> None:
    branches = [open_branch(tiny_engine, stream=stream, max_tokens=60) for stream in range(24)]
    for branch in branches:
        tiny_engine.run(branch)
    reasons = {}
    while events := tiny_engine.advance():
        for event in events:
            assert event.kind is EventKind.TRACE_ENDED
            assert event.branch is not None
            reasons[event.branch] = event.reason
            assert event.position == tiny_engine.num_tokens(event.branch)
    assert set(reasons) == set(branches)
    assert set(reasons.values()) == {StopReason.END_OF_TEXT, StopReason.MAX_TOKENS}
    for branch, reason in reasons.items():
        generated = tiny_engine.num_tokens(branch) - len(PROMPT)
        last = int(tiny_engine.tokens(branch)[-1])
        assert tiny_engine.model.vocab.is_end(last) == (reason is StopReason.END_OF_TEXT)
        assert (generated == 60) or reason is StopReason.END_OF_TEXT


def test_text_is_the_bytes_of_the_tokens_without_special_ones(tiny_engine: Engine) -> None:
    branch = open_branch(tiny_engine, max_tokens=200)
    run_to_end(tiny_engine, branch)
    tokens = tiny_engine.tokens(branch)
    assert tokens.dtype == np.int32
    assert tokens[: len(PROMPT)].tolist() == PROMPT
    assert tiny_engine.num_prompt_tokens(branch) == len(PROMPT)
    assert tiny_engine.text(branch) == bytes(token for token in tokens[len(PROMPT) :].tolist() if token < 256)
    assert tiny_engine.text(branch, 0, 4) == b"1+2="
    assert tiny_engine.text(branch, 4, 4) == b""


def test_a_branch_pauses_at_every_step_when_asked(tiny_engine: Engine) -> None:
    branch = open_branch(tiny_engine, max_tokens=120, stream=1)
    steps = []
    while True:
        tiny_engine.run(branch, pause_on_step=True)
        (event,) = tiny_engine.advance()
        if event.kind is EventKind.TRACE_ENDED:
            break
        assert event.kind is EventKind.STEP_ENDED
        assert tiny_engine.state(branch) == "paused"
        steps.append(event.position)
        assert tiny_engine.text(branch).endswith(b"\n")
    assert len(steps) >= 2
    assert steps[: len(tiny_engine.boundaries(branch))] == tiny_engine.boundaries(branch)
    assert tiny_engine.state(branch) == "ended"


def test_log_probabilities_come_with_every_generated_token(tiny_engine: Engine) -> None:
    branch = open_branch(tiny_engine)
    run_to_end(tiny_engine, branch)
    model, sampling = tiny_engine.log_probs(branch)
    assert model.shape == sampling.shape == (tiny_engine.num_tokens(branch) - len(PROMPT),)
    assert (model <= 0).all()
    np.testing.assert_allclose(model, sampling, atol=1e-5)  # temperature 1 without filters: the same distribution


def test_an_ended_branch_cannot_run_again_but_can_be_forked_and_truncated(tiny_engine: Engine) -> None:
    branch = open_branch(tiny_engine, max_tokens=10)
    run_to_end(tiny_engine, branch)
    with pytest.raises(ValueError, match="ended"):
        tiny_engine.run(branch)
    length = tiny_engine.num_tokens(branch)
    child = tiny_engine.fork(branch, length - 2)
    run_to_end(tiny_engine, child)
    np.testing.assert_array_equal(tiny_engine.tokens(child)[: length - 2], tiny_engine.tokens(branch)[: length - 2])
    tiny_engine.truncate(branch, length - 3)
    assert tiny_engine.num_tokens(branch) == length - 3
    assert tiny_engine.state(branch) == "paused"
    run_to_end(tiny_engine, branch)
    tiny_engine.check()


def test_truncating_takes_back_the_event_of_the_end(tiny_engine: Engine) -> None:
    branch = open_branch(tiny_engine, max_tokens=5)
    run_to_end(tiny_engine, branch)
    child = tiny_engine.fork(branch, 9)
    tiny_engine.run(child)  # nothing is left to do: it ends at once
    tiny_engine.truncate(child, 6)
    assert tiny_engine.state(child) == "paused"
    assert tiny_engine.advance() == []


def test_a_quota_stops_all_branches_of_its_owner_and_no_others(tiny_engine: Engine) -> None:
    ours = [open_branch(tiny_engine, stream=stream, max_tokens=500, owner=1) for stream in range(4)]
    other = open_branch(tiny_engine, stream=9, max_tokens=20, owner=2)
    tiny_engine.set_quota(1, 30)
    for branch in [*ours, other]:
        tiny_engine.run(branch)
    events = []
    while new := tiny_engine.advance():
        events += new
    limited = {event.branch for event in events if event.kind is EventKind.LIMIT_REACHED}
    ended = {event.branch for event in events if event.kind is EventKind.TRACE_ENDED}
    assert limited
    assert limited <= set(ours)
    assert limited | ended == {*ours, other}
    assert tiny_engine.quota_spent(1) <= 30
    tiny_engine.set_quota(1, 5)  # more is granted: they go on
    branch = limited.pop()
    assert branch is not None
    before = tiny_engine.num_tokens(branch)
    tiny_engine.run(branch)
    tiny_engine.advance()
    assert tiny_engine.num_tokens(branch) > before


def test_interrupt_from_another_thread_ends_advance(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(ctx_size=4000, num_cells=4096)
    sampling = SamplingParams(temperature=1.0, top_p=1.0, banned_tokens=(257,))
    branch = engine.open(PROMPT, sampling=sampling, rules=StepRules(delimiters=()), seed=0, stream=0, max_tokens=3900)
    engine.run(branch)
    timer = threading.Timer(0.02, engine.interrupt)
    timer.start()
    events = engine.advance()
    timer.join()
    assert [event.kind for event in events] == [EventKind.INTERRUPTED]
    assert engine.state(branch) == "running"
    assert len(PROMPT) < engine.num_tokens(branch) < 3904
    tokens = engine.tokens(branch).tolist()
    assert engine.advance(max_seconds=0.01)[0].kind is EventKind.INTERRUPTED
    assert engine.tokens(branch).tolist()[: len(tokens)] == tokens


def test_advance_with_nothing_to_do_returns_nothing(tiny_engine: Engine) -> None:
    assert tiny_engine.advance() == []
    open_branch(tiny_engine)
    assert tiny_engine.advance() == []


def test_the_prompt_must_leave_room_for_an_answer(tiny_engine: Engine) -> None:
    with pytest.raises(ContextOverflowError, match="1024"):
        open_branch(tiny_engine, list(b"x" * 1024))
    branch = open_branch(tiny_engine, list(b"x" * 1000), max_tokens=500, stream=2)
    tiny_engine.run(branch)
    (event,) = tiny_engine.advance()
    assert event.reason in (StopReason.CONTEXT_FULL, StopReason.END_OF_TEXT)
    assert tiny_engine.num_tokens(branch) <= 1024


def test_a_sliding_window_model_forks_exactly_behind_its_window(tiny_swa_path: Path) -> None:
    """The window is 64 tokens; the fork lies 150 tokens back."""
    greedy = SamplingParams(temperature=0.0, banned_tokens=(257,))
    with Engine.from_gguf(tiny_swa_path, EngineConfig(threads=1, ctx_size=512, num_cells=1024)) as engine:
        assert engine.model.sliding_window == 64
        branch = engine.open(PROMPT, sampling=greedy, rules=StepRules(delimiters=()), seed=0, stream=0, max_tokens=200)
        run_to_end(engine, branch)
        child = engine.fork(branch, 54)
        run_to_end(engine, child)
        np.testing.assert_array_equal(engine.tokens(child), engine.tokens(branch))
        np.testing.assert_array_equal(engine.log_probs(child)[0], engine.log_probs(branch)[0])
        engine.check()


def test_engines_share_a_model_and_the_model_outlives_its_closing(tiny_model_path: Path) -> None:
    model = Model(tiny_model_path)
    config = EngineConfig(threads=1, ctx_size=256, num_cells=512)
    first, second = Engine(model, config), Engine(model, config)
    model.close()
    model.close()
    assert model.is_closed
    a, b = open_branch(first), open_branch(second)
    run_to_end(first, a)
    run_to_end(second, b)
    assert first.tokens(a).tolist() == second.tokens(b).tolist()
    first.shutdown()
    run_to_end(second, open_branch(second, stream=4))
    second.shutdown()
    with pytest.raises(ValueError, match="model is closed"):
        Engine(model, config)


def test_after_shutdown_every_method_says_that_the_engine_is_closed(tiny_model: Model) -> None:
    with Engine(tiny_model, EngineConfig(threads=1, ctx_size=256, num_cells=256)) as engine:
        branch = open_branch(engine)
    engine.shutdown()  # twice is fine
    assert engine.is_closed
    calls: list[Callable[[], object]] = [
        lambda: open_branch(engine),
        lambda: engine.fork(branch, 1),
        lambda: engine.run(branch),
        lambda: engine.tokens(branch),
        lambda: engine.advance(),
        lambda: engine.text(branch),
        lambda: engine.set_quota(0, 1),
    ]
    for call in calls:
        with pytest.raises(BranchClosedError, match="closed"):
            call()
    engine.interrupt()
    assert engine.stats().num_branches == 0


def test_threads_take_turns(tiny_engine: Engine) -> None:
    failures: list[BaseException] = []

    def work(stream: int) -> None:
        try:
            for round_ in range(20):
                branch = open_branch(tiny_engine, stream=stream * 100 + round_, max_tokens=15, owner=stream)
                tiny_engine.run(branch)
                while tiny_engine.state(branch) == "running":
                    tiny_engine.advance()
                child = tiny_engine.fork(branch, 6)
                assert tiny_engine.num_tokens(child) == 6
                tiny_engine.close(branch)
                tiny_engine.close(child)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    tiny_engine.check()
    assert tiny_engine.stats().num_cells_used == 0


@pytest.mark.parametrize(
    "ending", ["pass", "del engine", "engine.shutdown()", "raise SystemExit(0)", "del engine.model"]
)
def test_a_process_ends_in_peace_with_an_engine_open(tiny_model_path: Path, ending: str) -> None:
    script = f"""
import arts_lite.engine as e
from arts_lite.types import SamplingParams, StepRules
engine = e.Engine.from_gguf({str(tiny_model_path)!r}, e.EngineConfig(threads=1, ctx_size=256))
b = engine.open([1, 2], sampling=SamplingParams(), rules=StepRules(), seed=0, stream=0, max_tokens=5)
engine.run(b); engine.advance()
{ending}
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
