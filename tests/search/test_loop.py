from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator

import pytest
from fakes.engine import FakeEngine
from fakes.models import by_prompt, endless, rambling, scripted
from fakes.searches import events_of, request, results, search
from hypothesis import given, settings
from hypothesis import strategies as st

from arts_lite.errors import ContextOverflowError, DecodeError
from arts_lite.search import Budget, SearchLoop, SearchRequest
from arts_lite.search.events import (
    BranchOpened,
    Progress,
    QuestionFailed,
    QuestionFinished,
    QuestionStarted,
    StepEnded,
    TraceEnded,
)
from arts_lite.types import StopReason

STEPS = {"one\n\ntwo\n\n=3": 1.0}
ALL = ("best-of-n", "vote", "weighted-vote", "sdf")


def test_the_batch_stays_full_across_questions() -> None:
    engine = FakeEngine(rambling(4), max_rows=16)
    num_calls_when_opened: list[int] = []

    def requests() -> Iterator[SearchRequest]:
        for number in range(24):
            num_calls_when_opened.append(len(engine.rows_per_decode))
            yield request("best-of-n", question=number, n=4, seed=number)

    assert len(results(engine, requests())) == 24
    assert num_calls_when_opened[-1] > 100
    assert set(engine.rows_per_decode[: num_calls_when_opened[-1]]) == {16}  # it drains only after the last one
    one_by_one = FakeEngine(rambling(4), max_rows=16)
    for number in range(24):
        search(one_by_one, "best-of-n", n=4, seed=number)
    assert len(engine.rows_per_decode) < 0.4 * len(one_by_one.rows_per_decode)


def test_earlier_questions_are_opened_first_and_only_so_many() -> None:
    events = events_of(FakeEngine(max_rows=64), [request(question=n, n=2) for n in range(12)], max_open=3)
    opened: list[int] = []
    num_open = 0
    for event in events:
        if isinstance(event, QuestionStarted):
            opened.append(event.question)
            num_open += 1
            assert num_open <= 3
        num_open -= isinstance(event, QuestionFinished)
    assert opened == list(range(12))


def test_no_question_is_opened_while_the_batch_is_full() -> None:
    engine = FakeEngine(rambling(3), max_rows=4)
    started: list[int] = []

    def requests() -> Iterator[SearchRequest]:
        for number in range(6):
            started.append(number)
            yield request("best-of-n", question=number, n=8)

    for event in SearchLoop(engine, num_rows=4).run(requests()):
        if isinstance(event, QuestionFinished) and event.question == 0:
            break
    assert started == [0, 1]


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(ALL), st.integers(1, 24), st.integers(1, 8))
def test_answers_do_not_depend_on_the_company(strategy: str, max_rows: int, max_open: int) -> None:
    def requests() -> list[SearchRequest]:
        return [request(strategy, question=number, prompt=b"q%d" % number, n=4, seed=number) for number in range(5)]

    together = results(FakeEngine(max_rows=max_rows), requests(), max_open=max_open)
    for number, one in enumerate(requests()):
        alone = results(FakeEngine(), [one])[number]
        assert together[number].decision.answer == alone.decision.answer
        if strategy != "vote":  # an early stop falls where the traces' ends fall
            assert together[number].decision == alone.decision
            assert together[number].num_tokens_decoded == alone.num_tokens_decoded


def test_a_prompt_beyond_the_context_fails_alone_and_decodes_nothing() -> None:
    engine = FakeEngine(scripted({"=1": 1.0}), context_size=50)
    events = events_of(engine, [request(question=0), request(question=1, prompt=b"x" * 60), request(question=2)])
    failed = [event for event in events if isinstance(event, QuestionFailed)]
    finished = [event.question for event in events if isinstance(event, QuestionFinished)]
    assert [event.question for event in failed] == [1]
    assert isinstance(failed[0].error, ContextOverflowError)
    assert finished == [0, 2]
    assert not [event for event in events if isinstance(event, (QuestionStarted, BranchOpened)) and event.question == 1]
    assert not engine.branches


def test_a_trace_that_fills_the_context_ends_there() -> None:
    result = search(FakeEngine(endless, context_size=20), "best-of-n", n=2)
    assert {branch.reason for branch in result.tree.branches} == {StopReason.CONTEXT_FULL}


def test_leaving_the_iterator_early_closes_every_branch() -> None:
    for number in range(1, 40, 3):
        engine = FakeEngine(rambling(4))
        loop = SearchLoop(engine, follow_steps=True)
        events = loop.run([request("sdf", question=question) for question in range(5)])
        for _ in range(number):
            next(events)
        events.close()
        assert not engine.branches


def test_an_error_of_the_engine_ends_the_run_and_closes_every_branch() -> None:
    def fail() -> None:
        if len(engine.rows_per_decode) == 5:
            raise DecodeError("llama.cpp refused a batch")

    engine = FakeEngine(on_decode=fail)
    with pytest.raises(DecodeError):
        list(SearchLoop(engine).run([request()]))
    assert not engine.branches


def test_an_error_of_a_callable_of_the_users_is_raised() -> None:
    engine = FakeEngine(scripted({"=1": 1.0}))

    def extract(_text: str) -> str:
        raise ValueError("my own mistake")

    one = request()
    broken = SearchRequest(0, one.tokens, one.strategy, one.scorer, extract, one.same, one.sampling, one.rules)
    with pytest.raises(ValueError, match="my own mistake"):
        list(SearchLoop(engine).run([broken]))
    assert not engine.branches


def test_cancel_from_another_thread_ends_with_the_best_answers_so_far() -> None:
    may_cancel = threading.Event()
    engine = FakeEngine(
        by_prompt({"fast": scripted({"=1": 0.5, "=1" + "x" * 4000: 0.5}), "slow": endless}),
        context_size=10**9,
        on_decode=lambda: may_cancel.set() if len(engine.rows_per_decode) > 50 else None,
    )
    loop = SearchLoop(engine, num_rows=16, tick_s=1e9)

    def cancel() -> None:
        may_cancel.wait()
        loop.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    slow = [request(question=number, prompt=b"slow", n=16, max_tokens=10**8) for number in (1, 2)]
    fast = request(question=0, prompt=b"fast", n=8, max_tokens=10**8)
    found = {event.question: event.result for event in loop.run([fast, *slow]) if isinstance(event, QuestionFinished)}
    thread.join()
    assert found[0].decision.answer == "1"
    assert {result.stopped_by for result in found.values()} == {StopReason.INTERRUPTED}
    assert sorted(found) == [0, 1]  # the last question was never begun
    assert not engine.branches


def test_a_foreign_interrupt_changes_nothing() -> None:
    engine = FakeEngine(on_decode=lambda: engine.interrupt() if len(engine.rows_per_decode) % 3 == 0 else None)
    assert search(engine, "sdf", n=4).decision == search(FakeEngine(), "sdf", n=4).decision


def test_events_tell_the_story_in_order() -> None:
    events = events_of(
        FakeEngine(scripted({"one\n\ntwo\n\n=3": 1.0})), [request("sdf", n=1, fork_prob=1.0, question=7)]
    )
    assert [event for event in events if not isinstance(event, QuestionFinished)] == [
        QuestionStarted(7, 3),
        BranchOpened(7, 0, None, 3),
        StepEnded(7, 0, 0, 8, "one\n\n"),
        StepEnded(7, 0, 1, 13, "two\n\n"),
        BranchOpened(7, 1, 0, 8),
        StepEnded(7, 0, 2, 16, "=3"),
        TraceEnded(7, 0, StopReason.END_OF_TEXT, "3", 0.0, "one\n\ntwo\n\n=3"),
        BranchOpened(7, 2, 0, 13),
        *[StepEnded(7, 2, 2, 16, "=3"), TraceEnded(7, 2, StopReason.END_OF_TEXT, "3", 0.0, "one\n\ntwo\n\n=3")],
        *[StepEnded(7, 1, 1, 13, "two\n\n"), StepEnded(7, 1, 2, 16, "=3")],
        TraceEnded(7, 1, StopReason.END_OF_TEXT, "3", 0.0, "one\n\ntwo\n\n=3"),
    ]
    assert events[-1].question == 7


def test_steps_can_be_followed_though_the_strategy_does_not_ask() -> None:
    def order(follow_steps: bool) -> list[str]:
        engine = FakeEngine(scripted({"one\n\ntwo\n\n=3": 0.5, "a longer one\n\n=4": 0.5}))
        events = events_of(engine, [request("best-of-n", n=4)], follow_steps=follow_steps)
        return [type(event).__name__ for event in events]

    assert sorted(order(True)) == sorted(order(False))
    assert order(True) != order(False)
    assert order(True).index("StepEnded") < 8


def test_progress_counts_all_questions() -> None:
    engine = FakeEngine(rambling(6), seconds_per_decode=0.1)
    events = events_of(engine, [request(question=number, n=8) for number in range(6)], tick_s=0.5)
    progress = [event for event in events if isinstance(event, Progress)]
    assert len(progress) >= 3
    assert isinstance(events[-1], QuestionFinished)
    for before, after in itertools.pairwise(progress):
        assert after.num_tokens_decoded > before.num_tokens_decoded
        assert after.seconds >= before.seconds + 0.5 - 1e-6
        assert after.num_finished >= before.num_finished
    assert progress[-1].num_tokens_decoded < engine.stats().num_tokens_decoded
    assert all(event.num_running >= 1 and event.num_open >= 1 for event in progress)


def test_nothing_to_search_yields_nothing() -> None:
    assert events_of(FakeEngine(), []) == []


def test_a_loop_without_room_for_a_question_is_refused() -> None:
    with pytest.raises(ValueError, match="max_open is 0, but must be >= 1"):
        SearchLoop(FakeEngine(), max_open=0)


@pytest.mark.parametrize("bounds", [{"tokens": 0}, {"seconds": 0.0}, {"seconds": float("nan")}, {"nodes": 1}])
def test_a_budget_that_allows_nothing_is_refused(bounds: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="budget of"):
        Budget(**bounds)


def test_the_end_of_the_last_question_is_the_last_event() -> None:
    engine = FakeEngine(rambling(3), seconds_per_decode=1.0)  # progress is told after every decode call
    events = events_of(engine, [request(n=2)], tick_s=0.5)
    assert sum(isinstance(event, Progress) for event in events) >= 2
    assert isinstance(events[-1], QuestionFinished)
