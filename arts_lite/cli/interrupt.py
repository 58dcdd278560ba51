"""Ctrl-C: once to end with the best answer so far, twice to end at once."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Generic, TypeVar

from arts_lite.cli.commands import INTERRUPTED

T = TypeVar("T")
_SHOW_CURSOR = b"\x1b[?25h\n"


@dataclass
class _End:
    error: BaseException | None = None


class InThread(Generic[T]):
    """Iterates in a thread of its own, so that the main thread is free to handle signals at any moment.

    Leaving the context early calls `stop` and waits for the thread: native code must not be at work when Python ends.

    Args:
        produce: makes the iterable; called in the thread.
        stop: makes the iterable end soon; callable from any thread.
    """

    def __init__(self, produce: Callable[[], Iterable[T]], stop: Callable[[], None]) -> None:
        self._items: queue.SimpleQueue[T | _End] = queue.SimpleQueue()
        self._produce = produce
        self._stop = stop
        self._thread = threading.Thread(target=self._work, name="arts-lite", daemon=True)

    def put(self, item: T) -> None:
        """Put an item in between. Callable from any thread and from a signal handler."""
        self._items.put(item)

    def __iter__(self) -> Iterator[T]:
        while not isinstance(item := self._items.get(), _End):
            yield item
        if item.error is not None:
            raise item.error

    def __enter__(self) -> InThread[T]:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self._stop()
        self._thread.join()

    def _work(self) -> None:
        end = _End()
        try:
            for item in self._produce():
                self._items.put(item)
        except BaseException as error:
            end.error = error
        self._items.put(end)


@contextmanager
def on_interrupt(first: Callable[[], bool]) -> Iterator[None]:
    """While the body runs, call `first` on the first SIGINT; end the process on the second, or if `first` says False.

    Signals can only be handled in the main thread; elsewhere this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    has_come = False

    def handle(_signal: int, _frame: FrameType | None) -> None:
        nonlocal has_come
        if has_come or not first():
            if sys.stderr.isatty():  # not through Python's buffers, which this signal may have found half written
                os.write(2, _SHOW_CURSOR)
            os._exit(INTERRUPTED)
        has_come = True

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
