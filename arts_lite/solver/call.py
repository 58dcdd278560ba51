"""One use of a solver's engine at a time: calls queue, and a call that is left gives its turn away."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Generator
from contextlib import suppress
from types import TracebackType
from typing import Any, Generic, TypeVar

from arts_lite.errors import BranchClosedError
from arts_lite.search import SearchLoop

T = TypeVar("T")
_POLL_S = 0.05
_CLOSED = "the solver is closed; make a new one"


class Turn:
    """Whose turn it is to use the engine."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: int | None = None
        self._holder: weakref.ref[Call[Any]] | None = None
        self.is_closed = False

    @property
    def holder(self) -> Call[Any] | None:
        """The call whose turn it is."""
        return None if self._holder is None else self._holder()

    def require_open(self) -> None:
        """Raise BranchClosedError once the solver is closed."""
        if self.is_closed:
            raise BranchClosedError(_CLOSED)

    def take(self, call: Call[Any]) -> bool:
        """Wait until nobody else has the turn; False: the call was cancelled meanwhile.

        Raises:
            RuntimeError: this very thread has the turn, by a stream that it has not finished.
            BranchClosedError: the solver was closed meanwhile.
        """
        while not self._lock.acquire(timeout=_POLL_S):
            self.require_open()
            if call.is_cancelled:
                return False
            if self._thread == threading.get_ident() and self.holder is not None:
                raise RuntimeError(
                    "this thread is in the middle of a stream of the same solver; exhaust or close() the stream first, "
                    "or collect solve_many's results in a list"
                )
        if self.is_closed or call.is_cancelled:
            self._lock.release()
            self.require_open()
            return False
        self._holder = weakref.ref(call)
        return True

    def touch(self, call: Call[Any]) -> None:
        """Note that this thread is the one that works on the call whose turn it is."""
        if self.holder is call:
            self._thread = threading.get_ident()

    def give_back(self) -> None:
        """Let the next one in."""
        self._holder = self._thread = None
        self._lock.release()

    def close(self) -> None:
        """End the call whose turn it is with what it has, refuse all others, and return when nobody is left.

        Raises RuntimeError: called in the middle of the search itself, by a signal handler or a callable of the user's.
        """
        self.is_closed = True
        while not self._lock.acquire(timeout=_POLL_S):
            call = self.holder
            if call is None:
                continue
            call.cancel()
            if not call.try_close() and self._thread == threading.get_ident():
                raise RuntimeError(
                    "the solver cannot be closed from inside its own search, which has been cancelled now; call "
                    "cancel() there, and close() when the search has returned"
                )
        self._lock.release()


class Call(Generic[T]):
    """An iterator that has the solver's turn from its first item until it is exhausted or closed.

    Args:
        events: does the work; runs only while the call has the turn.
        loop: can be cancelled from any thread.
    """

    def __init__(self, turn: Turn, events: Generator[T, None, None], loop: SearchLoop) -> None:
        self._turn = turn
        self._events = events
        self._loop = loop
        self._has_turn = False
        self._is_over = False
        self._closing = threading.Lock()
        self.is_cancelled = False

    def __iter__(self) -> Call[T]:
        return self

    def __next__(self) -> T:
        if self._is_over:
            raise StopIteration
        if not self._has_turn:
            if not self._turn.take(self):
                self.close()
                raise StopIteration
            self._has_turn = True
        self._turn.touch(self)
        try:
            return next(self._events)
        except BaseException:
            self.close()
            raise

    def cancel(self) -> None:
        """Come to an end soon, with the best answers so far. Callable from any thread and from a signal handler."""
        self.is_cancelled = True
        self._loop.cancel()

    def close(self) -> None:
        """Drop everything and give the turn away. Idempotent. Raises ValueError: another thread is in `next`."""
        with self._closing:
            if self._is_over:
                return
            self._events.close()
            self._is_over = True
            if self._has_turn:
                self._turn.give_back()

    def try_close(self) -> bool:
        """Close if no thread is working on the call right now; says whether it is closed."""
        with suppress(ValueError):  # a generator at work cannot be closed; once cancelled it ends by itself
            self.close()
        return self._is_over

    def __enter__(self) -> Call[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()
