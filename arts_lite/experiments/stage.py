"""A stage of a long experiment: what it is, and one that is at work."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from arts_lite.experiments.child import Child

_NUM_LAST_LINES = 15
_SHARING = 1.36
"""A stage on one core of two, the other at work too, takes so much longer than on both: 1.1 steps/s against 1.5."""


@dataclass(frozen=True)
class Stage:
    """One command.

    Attributes:
        name: of the stage and of the folder within the pipeline's that its command writes to.
        command: arguments of Python, such as ("-m", "arts_lite", "sdf", "--out", name); run in the pipeline's folder.
        needs: names of the stages whose results it reads; they are earlier ones.
        outputs: files that are there when it is done, relative to the pipeline's folder.
        minutes: that it is expected to take.
        settings: what its results depend on besides the command, such as a model's digest; JSON-ready.
    """

    name: str
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    minutes: float = 0.0
    settings: Mapping[str, Any] = field(default_factory=dict)


def expected_minutes(stages: Sequence[Stage], jobs: int) -> float:
    """Say how long stages take by the clock, begun in their order, at most `jobs` >= 1 side by side.

    What a stage needs that is not among them is taken to be there.
    """
    waiting, missing = list(stages), {stage.name for stage in stages}
    ends: dict[str, float] = {}
    now = 0.0
    while waiting or ends:
        for stage in [one for one in waiting if not missing.intersection(one.needs)][: jobs - len(ends)]:
            waiting.remove(stage)
            ends[stage.name] = now + stage.minutes * (_SHARING if jobs > 1 else 1.0)
        name = min(ends, key=ends.__getitem__)
        now = ends.pop(name)
        missing.discard(name)
    return now


class Running:
    """A stage at work: its command, its log, and how long it has taken so far.

    Args:
        cores: that it runs on; None: all.
        before_s: seconds of earlier, interrupted runs.
        now_s: the clock.
    """

    def __init__(
        self,
        number: int,
        stage: Stage,
        child: Child,
        log: Path,
        *,
        cores: list[int] | None,
        before_s: float,
        now_s: float,
    ) -> None:
        self.number = number
        self.stage = stage
        self.child = child
        self.cores = cores
        self.last: deque[str] = deque(maxlen=_NUM_LAST_LINES)
        self.saved_s = now_s
        self._log = log.open("a", encoding="utf-8")
        self._origin_s = now_s - before_s

    def seconds(self, now_s: float) -> float:
        """How long it has taken, earlier runs included."""
        return now_s - self._origin_s

    def note(self, line: str) -> None:
        """Write a line to its log."""
        self.last.append(line)
        self._log.write(line + "\n")
        self._log.flush()

    def close(self) -> int:
        """Close the log, wait for the command to end, and return its exit code."""
        self._log.close()
        return self.child.wait()
