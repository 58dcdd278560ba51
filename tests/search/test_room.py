"""How many questions are open at once where KV cells are scarce."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from fakes.cells import FakeCells
from fakes.models import Model, lettered, rambling
from fakes.searches import events_of, request

from arts_lite.search import SearchRequest, SearchResult
from arts_lite.search.events import QuestionFailed, QuestionFinished, QuestionStarted, SearchEvent
from arts_lite.search.search import Search
from arts_lite.types import EventKind

LONG = lettered(20, {"a": 0.5, "b": 0.5})  # every trace has 20 steps of 3 bytes, an answer of 21 bytes and an end
TRACE = 82


def ask(strategy: str, num: int, n: int, **options: object) -> list[SearchRequest]:
    return [
        request(strategy, question=number, prompt=b"question %02d: " % number, seed=number, n=n, **options)  # type: ignore[arg-type]
        for number in range(num)
    ]


def run(
    model: Model, requests: Sequence[SearchRequest], num_cells: int, *, is_bound: bool = True, **options: object
) -> tuple[FakeCells, list[SearchEvent]]:
    engine = FakeCells(model, num_cells=num_cells, max_rows=32)
    return engine, events_of(engine, requests, num_cells=num_cells if is_bound else None, **options)


def results(events: Sequence[SearchEvent]) -> dict[int, SearchResult]:
    return {event.question: event.result for event in events if isinstance(event, QuestionFinished)}


def texts(events: Sequence[SearchEvent]) -> dict[int, list[str]]:
    found = results(events).items()
    return {question: sorted(branch.text for branch in result.tree.branches) for question, result in found}


def most_open(events: Sequence[SearchEvent]) -> int:
    num_open = most = 0
    for event in events:
        num_open += isinstance(event, QuestionStarted) - isinstance(event, QuestionFinished)
        most = max(most, num_open)
    return most


def test_no_more_questions_are_opened_than_the_cells_carry() -> None:
    num_cells = 1100  # three questions of 4 x 82 tokens and a prompt
    parking, free = run(LONG, ask("best-of-n", 12, 4), num_cells, is_bound=False)
    engine, events = run(LONG, ask("best-of-n", 12, 4), num_cells)
    assert parking.num_parked > 10
    assert parking.num_redecoded > 1000
    assert most_open(free) >= 8
    assert (engine.num_parked, engine.num_redecoded) == (0, 0)
    assert most_open(events) == 3
    assert texts(events) == texts(free)


def test_what_finished_questions_held_says_how_many_more_there_is_room_for() -> None:
    requests = ask("best-of-n", 16, 4, max_tokens=150)  # which is what a trace is taken for at first
    engine, events = run(LONG, requests, 1100)
    opened = [number for number, event in enumerate(events) if isinstance(event, QuestionStarted)]
    finished = [number for number, event in enumerate(events) if isinstance(event, QuestionFinished)]
    assert [number < finished[0] for number in opened].count(True) == 1
    assert most_open(events) == 3
    assert engine.num_parked == 0


@pytest.mark.parametrize(("num_cells", "share_again", "more_calls"), [(3000, 0.0, 1.0), (1500, 0.25, 1.3)])
def test_trees_of_forks_are_not_parked_or_much_less(num_cells: int, share_again: float, more_calls: float) -> None:
    def grow(*, is_bound: bool) -> tuple[FakeCells, list[SearchEvent]]:
        return run(rambling(8, 8), ask("sdf", 40, 4, max_tokens=120), num_cells, is_bound=is_bound)

    (parking, free), (engine, events) = grow(is_bound=False), grow(is_bound=True)
    assert parking.num_redecoded > 500
    assert engine.num_redecoded <= share_again * parking.num_redecoded
    assert most_open(events) < most_open(free)
    assert texts(events) == texts(free)
    assert len(engine.rows_per_decode) <= more_calls * len(parking.rows_per_decode)


@pytest.mark.parametrize("strategy", ["vote", "best-of-n", "sdf"])
def test_nothing_changes_where_there_are_cells_enough(strategy: str) -> None:
    def search(num_cells: int, *, is_bound: bool) -> tuple[FakeCells, list[SearchEvent]]:
        return run(rambling(8, 8), ask(strategy, 24, 4, max_tokens=120), num_cells, is_bound=is_bound)

    unbound, free = search(10**6, is_bound=False)
    engine, events = search(10 * (13 + 4 * 120), is_bound=True)  # ten questions at their longest; eight fill the rows
    assert engine.rows_per_decode == unbound.rows_per_decode
    assert [type(event) for event in events] == [type(event) for event in free]
    assert engine.num_parked == 0


def test_a_question_that_outgrows_the_cells_is_searched_alone() -> None:
    engine, events = run(LONG, ask("best-of-n", 3, 4), TRACE + 20)
    assert engine.num_parked > 0
    assert most_open(events) == 1
    assert all(branch.has_ended for result in results(events).values() for branch in result.tree.branches)


def test_a_question_that_the_engine_refuses_is_not_learnt_from() -> None:
    requests = ask("best-of-n", 12, 4)
    refused = request("best-of-n", question=99, prompt=b"x" * 5000)
    engine, events = run(LONG, [*requests[:3], refused, *requests[3:]], 1100)
    assert sum(isinstance(event, QuestionFailed) for event in events) == 1
    assert (engine.num_parked, most_open(events)) == (0, 3)


@pytest.mark.parametrize(("strategy", "depth"), [("best-of-n", 1), ("sdf", 1), ("sdf", 3)])
def test_a_search_knows_how_many_cells_its_branches_stand_on(strategy: str, depth: int) -> None:
    engine = FakeCells(rambling(6), num_cells=10**6, max_rows=64)
    search = Search(
        request(strategy, n=4, max_fork_depth=depth),
        engine,
        owner=1,
        clock=engine.clock,
        emit=lambda event: None,
        follows_steps=True,
    )
    search.start()
    counted = []
    while not search.is_finished:
        branches = [
            (branch, event)
            for event in engine.advance()
            if event.kind is not EventKind.INTERRUPTED and (branch := search.find(event.branch)) is not None
        ]
        assert search.num_cells == engine.num_cells_used
        counted.append(search.num_cells)
        search.note_cells()
        for branch, event in branches:
            search.observe(branch, event)
        for branch, _ in branches:
            search.tell(branch)
        search.settle()
    assert len(counted) > 10
    assert search.mean_cells == pytest.approx(sum(counted) / len(counted))
