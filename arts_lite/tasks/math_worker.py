"""Compares answers with math-verify, in a process of its own: `MathGrader` starts it, bounds it and replaces it.

Reads one JSON list [answer, gold] a line from stdin, writes 1 or 0 a line to stdout. A comparison that outgrows a limit
ends the process; whoever waits for its line sees the end of the stream.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any


def main() -> None:
    """Answer until stdin ends. Arguments: seconds of CPU time per comparison, bytes of memory in all."""
    seconds, num_bytes = float(sys.argv[1]), int(sys.argv[2])
    replies = os.fdopen(os.dup(1), "w", encoding="ascii")
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - whatever a library prints must not be read as a verdict
        os.dup2(nowhere.fileno(), 1)
    for name in ("SIGINT", "SIGTSTP"):  # Ctrl-C is the parent's to handle
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    is_same = _make_comparison()
    bound_memory(num_bytes)
    replies.write("ready\n")
    replies.flush()
    for line in sys.stdin:
        with _CPULimit(seconds):
            verdict = is_same(*json.loads(line))
        replies.write("1\n" if verdict else "0\n")
        replies.flush()


class _CPULimit:
    """Ends the process by a signal, also in the middle of native code, once the body has used its CPU time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        if sys.platform != "win32":
            signal.setitimer(signal.ITIMER_PROF, self._seconds)

    def __exit__(self, *_error: object) -> None:
        if sys.platform != "win32":
            signal.setitimer(signal.ITIMER_PROF, 0)


def bound_memory(num_bytes: int) -> None:
    """Let the process take no more memory than this, and leave no core dump."""
    try:
        import resource
    except ImportError:  # Windows: the time limit has to do
        return
    with suppress(ValueError, OSError):  # a lower limit is set already, or the system knows none
        resource.setrlimit(resource.RLIMIT_AS, (num_bytes, num_bytes))
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _make_comparison() -> Callable[[str, str], bool]:
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    logging.disable(logging.CRITICAL)
    extraction = (LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig())

    def parsed(text: str) -> Any:
        return parse(f"${text}$", extraction_config=extraction, parsing_timeout=None, raise_on_error=False)

    def is_same(answer: str, gold: str) -> bool:
        """Ask in both directions: the library lets a gold inequality be met by an interval, but not the reverse."""
        try:
            a, b = parsed(answer), parsed(gold)
            return any(verify(*pair, timeout_seconds=None, raise_on_error=False) for pair in ((b, a), (a, b)))
        except MemoryError:
            os._exit(1)  # what is left of this process is not to be trusted
        except Exception:  # whatever the library makes of hostile input, the answer was not shown to be right
            return False

    return is_same


if __name__ == "__main__":
    main()
