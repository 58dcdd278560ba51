"""Many searches over one engine: the batch is kept full across questions."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator

from arts_lite.errors import ArtsError
from arts_lite.search.events import Progress, QuestionFailed, SearchEvent
from arts_lite.search.live import SearchRequest
from arts_lite.search.protocols import Engine
from arts_lite.search.record import Branch
from arts_lite.search.room import Room
from arts_lite.search.scorers import score_together
from arts_lite.search.search import Search
from arts_lite.types import Event, EventKind, StopReason


class SearchLoop:
    """Runs searches side by side, once. Nobody else may advance the engine meanwhile.

    Args:
        num_rows: how many running branches fill the engine's batch; while fewer run, the next question is opened.
        num_cells: KV cells of the engine; no further question is opened where those that are open are expected to need
            them all. None: without end.
        max_open: most questions that are open at once, >= 1.
        follow_steps: tell every step when it ends, at the price of a return to Python per step.
        clock: seconds, monotonic.
        tick_s: at least so often the loop returns from the engine, tells `Progress`, and lets signals be handled.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        num_rows: int = 16,
        num_cells: int | None = None,
        max_open: int = 64,
        follow_steps: bool = False,
        clock: Callable[[], float] = time.monotonic,
        tick_s: float = 0.25,
    ) -> None:
        if max_open < 1:
            raise ValueError(f"max_open is {max_open}, but must be >= 1: a question has to be open to be searched")
        self._engine = engine
        self._num_rows = num_rows
        self._room = Room(num_cells)
        self._max_open = max_open
        self._follow_steps = follow_steps
        self._clock = clock
        self._tick_s = tick_s
        self._is_cancelled = False
        self._searches: list[Search] = []
        self._events: list[SearchEvent] = []
        self._free_owners = list(range(max_open, 0, -1))
        self._num_finished = 0
        self._num_decoded_before = 0  # by searches that are over
        self._began_s = self._told_s = clock()

    def run(self, requests: Iterable[SearchRequest]) -> Generator[SearchEvent, None, None]:
        """Search all requests, the earlier ones first; yields events as things happen.

        A question whose prompt the engine refuses is told as `QuestionFailed`. Leaving the iterator early closes all
        branches. `requests` is read as questions are opened, never ahead.
        """
        pending = iter(requests)
        try:
            while True:
                has_more = self._admit(pending)
                yield from self._take_events()
                if self._is_cancelled:
                    self._finish_all(StopReason.INTERRUPTED)
                    yield from self._take_events()
                    return
                if self._searches:
                    self._advance()
                    yield from self._take_events()
                elif not has_more:
                    return
        finally:
            for search in self._searches:
                search.abandon()

    def cancel(self) -> None:
        """End all open questions soon with their best answers so far, and open no others.

        Callable from any thread and from a signal handler.
        """
        self._is_cancelled = True
        self._engine.interrupt()

    def _admit(self, pending: Iterator[SearchRequest]) -> bool:
        """Open questions until the batch or the cache is full; says whether there may be more to open."""
        while not self._is_cancelled and len(self._searches) < self._max_open:
            if self._searches and sum(search.num_running for search in self._searches) >= self._num_rows:
                return True
            if not self._room.carries_another(self._searches):
                return True
            request = next(pending, None)
            if request is None:
                return False
            self._open(request)
        return True

    def _open(self, request: SearchRequest) -> None:
        owner = self._free_owners.pop()
        mark = len(self._events)
        search = Search(
            request,
            self._engine,
            owner=owner,
            clock=self._clock,
            emit=self._events.append,
            follows_steps=self._follow_steps,
        )
        self._searches.append(search)
        try:
            search.start()
            self._room.note_opened(search)
        except ArtsError as error:
            search.abandon()
            del self._events[mark:]
            self._events.append(QuestionFailed(request.question, error))
        self._sweep()

    def _advance(self) -> None:
        for search in self._searches:
            if search.seconds_left <= 0:
                search.finish(StopReason.BUDGET_SECONDS)
        self._sweep()
        if self._searches:
            seconds_left = min(search.seconds_left for search in self._searches)
            events = self._engine.advance(min(self._tick_s, max(seconds_left, 0.0)))
            if not events:
                raise RuntimeError("the engine has nothing to do, although searches are open: a branch was lost")
            self._handle(events)
            self._sweep()
        self._tell_progress()

    def _handle(self, events: list[Event]) -> None:
        ended = [event.branch for event in events if event.kind is EventKind.TRACE_ENDED]
        for search in self._searches:
            if any(search.find(branch) is not None for branch in ended):
                search.note_cells()
        observed: list[tuple[Search, Branch]] = []
        limited: list[Search] = []
        for event in events:
            for search in self._searches:
                branch = search.find(event.branch)
                if branch is None:
                    continue
                if event.kind in (EventKind.STEP_ENDED, EventKind.TRACE_ENDED):
                    search.observe(branch, event)
                    observed.append((search, branch))
                elif event.kind is EventKind.LIMIT_REACHED:
                    limited.append(search)
        score_together([(search.request.scorer, branch) for search, branch in observed])
        for search, branch in observed:
            search.tell(branch)
        for search in limited:
            search.finish(StopReason.BUDGET_TOKENS)
        for search, _ in observed:
            search.settle()

    def _finish_all(self, reason: StopReason) -> None:
        for search in self._searches:
            search.finish(reason)
        self._sweep()

    def _sweep(self) -> None:
        """Count the finished searches and forget them."""
        for search in [search for search in self._searches if search.is_finished]:
            self._searches.remove(search)
            self._free_owners.append(search.owner)
            self._room.note_finished(search)
            self._num_finished += 1
            self._num_decoded_before += search.num_tokens_decoded

    def _tell_progress(self) -> None:
        now = self._clock()
        if not self._searches or now - self._told_s < self._tick_s:
            return  # the end of the last question is the last word
        self._told_s = now
        num_running = sum(search.num_running for search in self._searches)
        num_decoded = self._num_decoded_before + sum(search.num_tokens_decoded for search in self._searches)
        seconds = now - self._began_s
        self._events.append(Progress(num_decoded, seconds, num_running, len(self._searches), self._num_finished))

    def _take_events(self) -> Iterator[SearchEvent]:
        events = list(self._events)
        self._events.clear()  # in place: the open searches append to this very list
        yield from events
