"""The `async for` twin of a call: its work is done in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from arts_lite.solver.call import Call

T = TypeVar("T")


@dataclass
class _End:
    error: BaseException | None = None


async def items_of(call: Call[T]) -> AsyncGenerator[T, None]:
    """Yield a call's items without blocking the event loop.

    A consumer that leaves (by `break`, an exception or cancellation) cancels the call; the generator's end waits until
    the thread is done with the engine.
    """
    loop = asyncio.get_running_loop()
    items: asyncio.Queue[T | _End] = asyncio.Queue()
    done = asyncio.Event()

    def in_loop(function: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the event loop is closed: nobody listens any more
            loop.call_soon_threadsafe(function)

    def work() -> None:
        end = _End()
        try:
            with call:
                for item in call:
                    in_loop(lambda item=item: items.put_nowait(item))  # type: ignore[misc]
        except BaseException as error:
            end.error = error
        in_loop(lambda: items.put_nowait(end))
        in_loop(done.set)

    threading.Thread(target=work, name="arts-lite stream", daemon=True).start()
    try:
        while not isinstance(item := await items.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        call.cancel()
        await done.wait()
