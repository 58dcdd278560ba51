"""A command of ours in a process of its own: its lines are passed on, its end is told, Ctrl-C reaches it once."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
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
    """

    def __init__(self, command: Sequence[str], folder: Path, *, keep_open: Sequence[int] = ()) -> None:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        self._process = subprocess.Popen(
            [sys.executable, *command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
            pass_fds=tuple(keep_open),
            preexec_fn=_hear_interrupts(os.getpid()),
        )

    def follow(self, tell: Callable[[str], None]) -> int:
        """Pass each line on until the process ends. Returns its exit code, negative for a signal."""
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                tell(line.rstrip("\n"))
        return self._process.wait()

    def interrupt(self) -> None:
        """Send what Ctrl-C sends. Callable from a signal handler."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """End it at once, and wait for that."""
        self._process.kill()
        self._process.wait()


def _hear_interrupts(parent: int) -> Callable[[], None] | None:
    """Make what the child does before its program begins: hear SIGINT, and on Linux get one at the parent's death."""
    if os.name != "posix":
        return None
    # Looked up here: the child of a fork should do as little as possible.
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs, and so their children, ignore it
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
            if os.getppid() != parent:  # it died before we could ask
                os._exit(1)

    return prepare
