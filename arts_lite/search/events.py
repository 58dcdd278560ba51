"""What a running search tells: typed events, in the order in which things happened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from arts_lite.errors import ArtsError
from arts_lite.search.ballot import Decision
from arts_lite.search.record import SearchTree
from arts_lite.types import StopReason


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search came to.

    Attributes:
        question: the request's number.
        decision: the answer and all candidates.
        tree: everything that was generated.
        stopped_by: COMPLETE, DECIDED, a budget, or INTERRUPTED.
        num_tokens_decoded: tokens that the engine decoded for it; a prefix that branches share counts once.
        seconds: from the question's opening to its end, the time spent on others in the same batch included.
    """

    question: int
    decision: Decision
    tree: SearchTree
    stopped_by: StopReason
    num_tokens_decoded: int
    seconds: float


@dataclass(frozen=True, slots=True)
class QuestionStarted:
    """A question's search has begun."""

    question: int
    num_prompt_tokens: int


@dataclass(frozen=True, slots=True)
class BranchOpened:
    """A main trace (`parent` is None) or a fork at `position` has been opened."""

    question: int
    branch: int
    parent: int | None
    position: int


@dataclass(frozen=True, slots=True)
class StepEnded:
    """A branch has completed its step number `step` (from 0, counted from the prompt), at `position`."""

    question: int
    branch: int
    step: int
    position: int
    text: str


@dataclass(frozen=True, slots=True)
class TraceEnded:
    """A trace is complete."""

    question: int
    branch: int
    reason: StopReason
    answer: str | None
    score: float | None
    text: str


@dataclass(frozen=True, slots=True)
class BranchPruned:
    """An unfinished branch has been given up."""

    question: int
    branch: int
    why: str


@dataclass(frozen=True, slots=True)
class QuestionDecided:
    """No other answer can win any more."""

    question: int
    answer: str | None
    votes: int


@dataclass(frozen=True, slots=True)
class QuestionFinished:
    """A question's search has ended."""

    question: int
    result: SearchResult


@dataclass(frozen=True, slots=True)
class QuestionFailed:
    """A question could not be searched (its prompt exceeds the context, say); the others go on."""

    question: int
    error: ArtsError


@dataclass(frozen=True, slots=True)
class Progress:
    """Counters of the whole run, told a few times a second.

    Attributes:
        num_tokens_decoded: of all questions so far.
        seconds: since the run began.
        num_running: branches that generate now.
        num_open: questions being searched.
        num_finished: questions done, failed ones included.
    """

    num_tokens_decoded: int
    seconds: float
    num_running: int
    num_open: int
    num_finished: int


SearchEvent = (
    QuestionStarted
    | BranchOpened
    | StepEnded
    | TraceEnded
    | BranchPruned
    | QuestionDecided
    | QuestionFinished
    | QuestionFailed
    | Progress
)
Emit = Callable[[SearchEvent], None]
