"""A command of ours in a process of its own: its lines are passed on, its end is told, Ctrl-C reaches it once."""

from __future__ import annotations

import ctypes
import os
import selectors
import signal
import subprocess
import sys
from codecs import getincrementaldecoder
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1


class Child:
    """One running process.

    It is in a session of its own, so that a terminal's Ctrl-C reaches the parent alone, which passes it on once. If the
    parent is killed the child is interrupted too (on Linux; elsewhere it ends with the next line that it writes).

    Args:
        command: arguments of this very Python.
        folder: where it runs.
        keep_open: file descriptors that it inherits, such as a lock's.
        cores: that it may run on (on Linux); None: all that this process may.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        *,
        keep_open: Sequence[int] = (),
        cores: Collection[int] | None = None,
    ) -> None:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        self._process = subprocess.Popen(
            [sys.executable, *command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=tuple(keep_open),
            preexec_fn=_hear_interrupts(os.getpid(), cores),
        )
        assert self._process.stdout is not None
        self._output = self._process.stdout
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def fileno(self) -> int:
        """What it prints can be read here."""
        return self._output.fileno()

    def read(self) -> list[str] | None:
        """Wait until it prints something, or ends. Returns the lines that are complete; None at its end."""
        data = os.read(self.fileno(), 1 << 16)
        *lines, self._rest = (self._rest + self._decoder.decode(data, final=not data)).split("\n")
        if data:
            return lines
        if self._rest:  # an end without a newline: told first
            found, self._rest = [*lines, self._rest], ""
            return found
        return None

    def ends_within(self, seconds: float) -> bool:
        """Wait so long for its end, whatever it still prints; says whether it has ended."""
        try:
            self._process.communicate(timeout=max(seconds, 0.0))
        except subprocess.TimeoutExpired:
            return False
        return True

    def wait(self) -> int:
        """Wait for its end. Returns its exit code, negative for a signal."""
        self._output.close()
        return self._process.wait()

    def interrupt(self) -> None:
        """Send what Ctrl-C sends. Callable from a signal handler."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """End it at once, and wait for that."""
        self._process.kill()
        self.wait()


def ready(children: Collection[Child]) -> Iterator[Child]:
    """Wait until one or more of these can be read."""
    if len(children) == 1:  # also where there is no waiting for several pipes
        yield from children
        return
    with selectors.DefaultSelector() as selector:
        for child in children:
            selector.register(child, selectors.EVENT_READ, child)
        for key, _ in selector.select():
            yield key.data


def _hear_interrupts(parent: int, cores: Collection[int] | None) -> Callable[[], None] | None:
    """Make what the child does before its program begins: hear SIGINT, and on Linux get one at the parent's death."""
    if os.name != "posix":
        return None
    # Looked up here: the child of a fork should do as little as possible.
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def prepare() -> None:
        if cores is not None and sys.platform == "linux":
            os.sched_setaffinity(0, cores)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs, and so their children, ignore it
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
            if os.getppid() != parent:  # it died before we could ask
                os._exit(1)

    return prepare
