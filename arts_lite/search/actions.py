"""What a strategy can ask for. Branches are named by their index in `SearchTree.branches`."""

from __future__ import annotations

from dataclasses import dataclass

from arts_lite.types import StopReason

OVER = "the search is over"
"""Why a branch that nobody gave up before is unfinished in the end."""


@dataclass(frozen=True, slots=True)
class Open:
    """Open a main trace on the prompt and run it. `pause_on_step`: ask the strategy again after each step."""

    pause_on_step: bool = False


@dataclass(frozen=True, slots=True)
class Fork:
    """Fork a branch's first `position` tokens (prompt included) and run the fork."""

    branch: int
    position: int
    pause_on_step: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """Let a paused or parked branch go on."""

    branch: int
    pause_on_step: bool = False


@dataclass(frozen=True, slots=True)
class Park:
    """Pause a branch and free the cache that it alone holds."""

    branch: int


@dataclass(frozen=True, slots=True)
class Drop:
    """Let go of an ended branch in the engine: its record stays, but nothing can be forked from it any more."""

    branch: int


@dataclass(frozen=True, slots=True)
class Prune:
    """Give an unfinished branch up; its record stays and says why."""

    branch: int
    why: str


@dataclass(frozen=True, slots=True)
class Stop:
    """End the search now; unfinished branches are pruned, and their records say why."""

    reason: StopReason = StopReason.COMPLETE
    why: str = OVER


Action = Open | Fork | Run | Park | Drop | Prune | Stop
