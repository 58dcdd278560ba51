"""How far a run is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from arts_lite.tree import Tree


@dataclass(frozen=True, slots=True)
class SdfProgress:
    """Counters of a run.

    Attributes:
        num_done: problems whose trees are in the file, those of earlier runs included.
        num_before: of these, by earlier runs.
        num_failed: problems that could not be searched in this run.
        num_problems: of this shard.
        num_leaves, num_correct: of this run's trees.
        num_tokens: decoded by this run, those of unfinished trees included.
        seconds: since this run began.
        why: of the last failure; "" without one.
    """

    num_done: int
    num_before: int
    num_failed: int
    num_problems: int
    num_leaves: int
    num_correct: int
    num_tokens: int
    seconds: float
    why: str = ""

    @property
    def trees_per_second(self) -> float:
        """Speed of this run."""
        return (self.num_done - self.num_before) / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Time that the rest takes at this run's speed; None before the first tree."""
        num_left = self.num_problems - self.num_done - self.num_failed
        return num_left / self.trees_per_second if self.trees_per_second > 0 else None


@dataclass
class Counters:
    """Counts while a run goes on."""

    num_problems: int
    num_before: int
    clock: Callable[[], float]
    num_new: int = 0
    num_failed: int = 0
    num_leaves: int = 0
    num_correct: int = 0
    num_tokens: int = 0
    num_tokens_kept: int = 0
    why: str = ""

    def __post_init__(self) -> None:
        self._began_s = self.clock()

    def add(self, tree: Tree, num_tokens: int) -> None:
        """Count a tree that has been written."""
        self.num_new += 1
        self.num_tokens_kept += num_tokens
        self.note_tokens(self.num_tokens_kept)
        self.num_leaves += sum(end.correct is not None for end in tree.ends)
        self.num_correct += sum(end.correct is True for end in tree.ends)

    def note_tokens(self, num_tokens: int) -> None:
        """Take in how many tokens have been decoded so far, those of unfinished trees included."""
        self.num_tokens = max(self.num_tokens, num_tokens)  # trees may be told of later than the loop counts

    def note_failures(self, failures: Sequence[Exception]) -> None:
        """Count problems that could not be searched."""
        self.num_failed = len(failures)
        self.why = str(failures[-1]) if failures else ""

    def told(self) -> SdfProgress:
        """Freeze the counters."""
        return SdfProgress(
            self.num_before + self.num_new,
            self.num_before,
            self.num_failed,
            self.num_problems,
            self.num_leaves,
            self.num_correct,
            self.num_tokens,
            self.clock() - self._began_s,
            self.why,
        )
