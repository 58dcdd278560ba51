from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing

import pytest
from fakes.engine import FakeEngine
from fakes.models import endless, rambling
from fakes.proposer import FakeProposer

from arts_lite.errors import BranchClosedError, ContextOverflowError
from arts_lite.search.events import BranchOpened, QuestionStarted
from arts_lite.solver import Solved, Solver, SolverConfig
from arts_lite.types import StopReason


def solver(engine: FakeEngine | None = None, **settings: object) -> Solver:
    config = SolverConfig(**{"n": 4, "max_tokens": 100, **settings})  # type: ignore[arg-type]
    return Solver(FakeProposer(engine or FakeEngine(rambling(3))), config=config)


def endless_solver(started: threading.Event) -> Solver:
    return solver(FakeEngine(endless, context_size=10**9, on_decode=started.set), max_tokens=10**8)


def branches_of(one: Solver) -> object:
    engine = one.proposer.engine
    assert isinstance(engine, FakeEngine)
    return engine.branches


def test_calls_of_many_threads_queue_and_get_their_own_answers() -> None:
    questions = [f"question {number}" for number in range(40)]
    with solver() as alone:
        expected = [alone.solve(question).traces for question in questions]
    with solver() as one, ThreadPoolExecutor(8) as pool:  # the fake fails if two threads decode at once
        found = list(pool.map(lambda question: one.solve(question).traces, questions))
    assert found == expected
    assert not branches_of(one)


def test_cancel_from_another_thread_ends_the_call() -> None:
    started = threading.Event()
    one = endless_solver(started)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(one.solve, "q")
        started.wait()
        one.cancel()
        assert future.result().stopped_by is StopReason.INTERRUPTED
    one.close()


def test_close_from_another_thread_ends_the_call_and_refuses_those_that_wait() -> None:
    started = threading.Event()
    one = endless_solver(started)
    with ThreadPoolExecutor(2) as pool:
        working = pool.submit(one.solve, "q")
        started.wait()
        waiting = pool.submit(one.solve, "later")
        one.close()
        assert working.result().stopped_by is StopReason.INTERRUPTED
        with pytest.raises(BranchClosedError):
            waiting.result()
    assert isinstance(one.proposer, FakeProposer)
    assert one.proposer.is_closed


def test_close_from_another_thread_ends_a_stream_that_nobody_goes_on_with() -> None:
    one = solver()
    stream = one.stream("q")
    next(stream)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(one.close).result()
    assert list(stream) == []
    assert not branches_of(one)


def test_closing_from_inside_a_search_is_an_error_not_a_deadlock() -> None:
    refused: list[str] = []

    def close() -> None:
        if not refused:
            try:
                one.close()
            except RuntimeError as error:
                refused.append(str(error))

    one = solver(FakeEngine(endless, on_decode=close))
    assert one.solve("q").stopped_by is StopReason.INTERRUPTED
    assert "cannot be closed from inside its own search" in refused[0]
    one.close()


def test_a_thread_waits_for_a_stream_of_another_thread() -> None:
    one = solver()
    stream = one.stream("first")
    next(stream)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(one.solve, "second")
        for event in stream:
            assert isinstance(event, Solved) or not future.done()
        assert future.result().question == "second"
    one.close()


def test_a_call_in_the_middle_of_a_stream_of_the_same_thread_is_an_error_not_a_deadlock() -> None:
    with solver() as one:
        with one.stream("first") as stream:
            next(stream)
            with pytest.raises(RuntimeError, match="in the middle of a stream of the same solver"):
                one.solve("second")
            assert isinstance(list(stream)[-1], Solved)
        for _ in one.solve_many(["a", "b"]):
            with pytest.raises(RuntimeError, match="collect solve_many's results in a list"):
                one.solve("c")
        assert one.solve("second").answer is not None


def test_async_for_sees_the_same_events() -> None:
    async def events(one: Solver) -> list[object]:
        return [event async for event in one.astream("q")]

    with solver(strategy="sdf") as one:
        found, expected = asyncio.run(events(one)), list(one.stream("q"))
    assert found[:-1] == expected[:-1]
    assert isinstance(found[-1], Solved)
    assert found[-1].solution.traces == expected[-1].solution.traces  # type: ignore[union-attr]


def test_the_event_loop_is_not_blocked_while_a_search_works() -> None:
    may_go_on = threading.Event()

    async def together(one: Solver) -> list[type]:
        seen: list[type] = []

        async def watch() -> None:
            seen.extend([type(event) async for event in one.astream("q")])

        async def release() -> None:  # runs only if the loop does: the engine waits for it
            may_go_on.set()

        await asyncio.gather(watch(), release())
        return seen

    with solver(FakeEngine(rambling(3), on_decode=may_go_on.wait)) as one:  # type: ignore[arg-type]
        assert asyncio.run(together(one))[-1] is Solved


def test_a_consumer_that_leaves_an_async_stream_cancels_the_search() -> None:
    async def leave(one: Solver) -> None:
        async with aclosing(one.astream("q")) as events:
            async for event in events:
                if isinstance(event, BranchOpened):
                    break
        assert not branches_of(one)  # the thread is done with the engine

    one = endless_solver(threading.Event())
    asyncio.run(leave(one))
    one.close()


def test_a_cancelled_task_cancels_the_search() -> None:
    async def cancelled(one: Solver) -> None:
        first = asyncio.Event()

        async def watch() -> None:
            async for _ in one.astream("q"):
                first.set()

        task = asyncio.create_task(watch())
        await first.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    one = endless_solver(threading.Event())
    asyncio.run(cancelled(one))
    assert not branches_of(one)
    one.close()


def test_an_async_stream_that_never_got_its_turn_can_be_left() -> None:
    async def leave(one: Solver) -> list[object]:
        waiting = one.astream("second")
        task = asyncio.ensure_future(anext(waiting))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return [event async for event in waiting]

    with solver() as one, one.stream("first") as stream:
        next(stream)
        assert asyncio.run(leave(one)) == []
        assert isinstance(list(stream)[-1], Solved)


def test_several_async_streams_take_turns() -> None:
    async def solved(one: Solver, question: str) -> str:
        events = [event async for event in one.astream(question)]
        assert isinstance(events[0], QuestionStarted)
        assert isinstance(events[-1], Solved)
        return events[-1].solution.question

    async def all_of(one: Solver) -> list[str]:
        return await asyncio.gather(*(solved(one, f"q{number}") for number in range(6)))

    with solver() as one:
        assert asyncio.run(all_of(one)) == [f"q{number}" for number in range(6)]


def test_an_async_stream_raises_what_the_search_raises() -> None:
    async def watch(one: Solver, question: str) -> None:
        async for _ in one.astream(question):
            pass

    with solver(FakeEngine(context_size=20)) as one:
        with pytest.raises(ContextOverflowError):
            asyncio.run(watch(one, "x" * 30))
        with pytest.raises(ValueError, match="blank"):
            asyncio.run(watch(one, " "))
