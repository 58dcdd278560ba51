"""Whether an answer is right: plain numbers and words at once, formulas by math-verify in a process with limits."""

from __future__ import annotations

import json
import queue
import re
import subprocess
import sys
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from typing import IO

from arts_lite.errors import ArtsError
from arts_lite.tasks.answers import MAX_ANSWER_CHARS, canonical_answer
from arts_lite.tasks.stated import plain_words

Grader = Callable[[str, str], bool]
"""(answer, gold) -> whether the answer is right."""
MAX_DEPTH = 24
"""Deeper nested formulas are wrong unless they are equal as text."""
_NUMBER = re.compile(r"-?\d+(?:/\d+)?")
_MAX_DIGITS = 100
_LONG_NUMBER = re.compile(rf"\d{{{_MAX_DIGITS + 1}}}")
_LARGE_POWER = re.compile(
    r"(?:\^\s*[{(]?\s*\d+\s*){3}"  # a tower
    r"|\^\s*[{(]?\s*(?:\d{5}|\d{2,}\s*\^)"  # a huge exponent
    r"|(?:\d{5}|\^\s*[{(]?\s*\d+)[)}\s]*!"  # a huge factorial
)
_ROUNDED = Fraction(1, 2_000_000)  # half of the sixth decimal place
_CACHE_SIZE = 20_000
_START_S = 60.0


class MathGrader:
    """Compares two bare answers; thread-safe; never raises on hostile input and never exceeds its limits.

    What cannot be compared within the limits is wrong. The verdict does not depend on the order of the two answers.

    Args:
        cpu_s: CPU time of one comparison.
        wall_s: time of one comparison, whatever else the machine does.
        num_bytes: memory of the comparing process.
    """

    def __init__(self, *, cpu_s: float = 2.0, wall_s: float = 15.0, num_bytes: int = 1 << 30) -> None:
        self._limits = (str(cpu_s), str(num_bytes))
        self._wall_s = wall_s
        self._lock = threading.Lock()
        self._worker: _Worker | None = None
        self._verdicts: OrderedDict[tuple[str, str], bool] = OrderedDict()
        self.num_restarts = 0

    def __call__(self, answer: str, gold: str) -> bool:
        """Tell whether an answer is right."""
        verdict = quick_verdict(answer, gold)
        if verdict is not None:
            return verdict
        key = (min(answer, gold), max(answer, gold))
        with self._lock:
            if key in self._verdicts:
                self._verdicts.move_to_end(key)
                return self._verdicts[key]
            self._verdicts[key] = verdict = self._ask(*key)
            if len(self._verdicts) > _CACHE_SIZE:
                self._verdicts.popitem(last=False)
            return verdict

    def close(self) -> None:
        """End the comparing process; the next comparison starts another one. Idempotent."""
        with self._lock:
            self._drop()

    def _ask(self, a: str, b: str) -> bool:
        if self._worker is None:
            self._worker = _Worker(self._limits)
        try:
            return self._worker.ask(a, b, self._wall_s)
        except _WorkerEndedError:
            self._drop()
            self.num_restarts += 1
            return False

    def _drop(self) -> None:
        if self._worker is not None:
            self._worker.end()
            self._worker = None


def quick_verdict(answer: str, gold: str) -> bool | None:
    """Decide what needs no algebra: equal texts, two numbers, words, and what is too large; None for formulas."""
    a, b = canonical_answer(answer), canonical_answer(gold)
    if a == b:
        return a != ""
    if not a or not b or is_too_large(answer) or is_too_large(gold):
        return False
    if _NUMBER.fullmatch(a) and _NUMBER.fullmatch(b) and "%" not in answer + gold:
        return _are_equal_numbers(Fraction(a), Fraction(b))
    if (plain_words(a) and plain_words(answer)) or (plain_words(b) and plain_words(gold)):
        return _bare_words(a) == _bare_words(b)
    return None


def is_too_large(text: str) -> bool:
    """Whether a formula is of a size that no answer has: by length, nesting, digits or a tower of powers."""
    if len(text) > MAX_ANSWER_CHARS or _LONG_NUMBER.search(text):
        return True
    depth = deepest = 0
    for char in text:
        depth += (char in "({[") - (char in ")}]")
        deepest = max(deepest, depth)
    return deepest > MAX_DEPTH or _LARGE_POWER.search(text) is not None


def _are_equal_numbers(a: Fraction, b: Fraction) -> bool:
    """Equal, or one is the other one's decimal expansion to at least six places (1/3 and 0.333333)."""
    if a == b:
        return True
    expansions = [x for x in (a, b) if _is_decimal(x)]
    return len(expansions) == 1 and abs(a - b) <= _ROUNDED


def _is_decimal(number: Fraction) -> bool:
    rest = number.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest == 1


def _bare_words(text: str) -> str:
    text = re.sub(r"\\[A-Za-z]+|[^\w\s]", " ", text.casefold())
    return " ".join(word for word in text.split() if word not in ("the", "a", "an"))


class _WorkerEndedError(Exception):
    """The comparing process is gone, or has to go."""


class _Worker:
    """One comparing process."""

    def __init__(self, limits: tuple[str, str]) -> None:
        command = [sys.executable, "-m", "arts_lite.tasks.math_worker", *limits]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._replies: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=_read, args=(self._process.stdout, self._replies), daemon=True)
        self._reader.start()
        self._finalize = weakref.finalize(self, _end, self._process, self._reader)
        if self._reply(_START_S) != "ready\n":
            self.end()
            raise ArtsError(
                "the grading process did not start; check that `python -c 'import math_verify'` works "
                "(pip install math-verify)"
            )

    def ask(self, a: str, b: str, wall_s: float) -> bool:
        """Compare two answers. Raises _WorkerEndedError: a limit was exceeded."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps([a, b]) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise _WorkerEndedError from error
        reply = self._reply(wall_s)
        if not reply:
            raise _WorkerEndedError
        return reply == "1\n"

    def end(self) -> None:
        """Kill the process. Idempotent."""
        self._finalize()

    def _reply(self, seconds: float) -> str:
        """Return a line, or "" if none came."""
        with suppress(queue.Empty):
            return self._replies.get(timeout=seconds)
        return ""


def _read(stream: IO[str], replies: queue.SimpleQueue[str]) -> None:
    with stream:
        for line in stream:
            replies.put(line)
    replies.put("")


def _end(process: subprocess.Popen[str], reader: threading.Thread) -> None:
    process.kill()
    process.wait()
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()
    reader.join()
