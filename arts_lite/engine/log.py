"""Keep llama.cpp's log off the terminal, and its errors at hand for our own messages.

llama.cpp has one log for the whole process. While anything holds `quiet()`, its lines end here; afterwards the callback
that was there before (llama-cpp-python's own) is back.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import threading
from collections.abc import Iterator
from typing import Any

import llama_cpp.llama_cpp as llama

_WARNING, _ERROR, _CONTINUED = 3, 4, 5
_GENERIC = ("failed to load model", "failed to initialize the context", "failed to load lora")

_lock = threading.RLock()
_lines: collections.deque[str] = collections.deque(maxlen=64)
_num_quiet = 0
_num_verbose = 0
_previous: tuple[Any, Any] | None = None
_is_error = False


@llama.llama_log_callback  # type: ignore[untyped-decorator]
def _receive(level: int, text: bytes | None, _user_data: Any) -> None:
    """Remember errors; pass everything on while someone wants to see it. Called by llama.cpp, from any thread."""
    global _is_error
    if level != _CONTINUED:
        _is_error = level >= _ERROR or level == _WARNING
    if _is_error and text:
        _lines.append(text.decode("utf-8", "replace"))
    previous = _previous
    if _num_verbose and previous is not None and previous[0]:
        previous[0](level, text, previous[1])


def acquire(verbose: bool = False) -> None:
    """Take llama.cpp's log over; `release` gives it back. Calls nest, and count per process."""
    global _num_quiet, _num_verbose, _previous
    with _lock:
        _num_verbose += verbose
        _num_quiet += 1
        if _num_quiet == 1:
            callback, user_data = llama.llama_log_callback(), ctypes.c_void_p()
            llama.llama_log_get(ctypes.byref(callback), ctypes.byref(user_data))
            _previous = (callback, user_data)
            llama.llama_log_set(_receive, None)


def release(verbose: bool = False) -> None:
    """Undo one `acquire` of the same `verbose`."""
    global _num_quiet, _num_verbose, _previous
    with _lock:
        _num_verbose -= verbose
        _num_quiet -= 1
        if _num_quiet == 0 and _previous is not None:
            llama.llama_log_set(*_previous)
            _previous = None


@contextlib.contextmanager
def captured(verbose: bool = False) -> Iterator[collections.deque[str]]:
    """Hold the log, alone in this process, and yield the warnings and errors that llama.cpp writes meanwhile."""
    with _lock:
        acquire(verbose)
        _lines.clear()
        try:
            yield _lines
        finally:
            release(verbose)


def reason(lines: collections.deque[str]) -> str:
    """Return the most telling line of a failure: the last error that is not a mere summary."""
    whole = [line.strip() for line in "".join(lines).splitlines() if line.strip()]
    telling = [line for line in whole if not any(summary in line for summary in _GENERIC)]
    telling = telling or whole
    if not telling:
        return "llama.cpp gave no reason"
    prefix, colon, rest = telling[-1].partition(": ")
    return rest if colon and " " not in prefix else telling[-1]
