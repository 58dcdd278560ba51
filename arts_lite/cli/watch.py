"""What the displays know of a running search, gathered from its events."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from arts_lite.search.events import (
    BranchOpened,
    BranchPruned,
    Progress,
    QuestionStarted,
    StepEnded,
    TraceEnded,
)
from arts_lite.solver import Solution, Solved, SolverConfig, SolverEvent

_LEAST_SHARE = 0.1  # of a trace's expected length still to come, however long it is already


@dataclass(slots=True)
class WatchedBranch:
    """One branch as of its last event. Positions count tokens, prompt included."""

    index: int
    parent: int | None
    position: int
    num_steps: int = 0
    last_step: str = ""
    state: str = "running"  #: running | ended | pruned
    answer: str | None = None
    score: float | None = None
    note: str = ""


@dataclass(slots=True)
class WatchedQuestion:
    """One question that has been begun."""

    text: str
    num_prompt_tokens: int
    branches: list[WatchedBranch] = field(default_factory=list)
    solution: Solution | None = None

    @property
    def num_ended(self) -> int:
        """Complete traces."""
        return sum(branch.state == "ended" for branch in self.branches)

    @property
    def num_kept(self) -> int:
        """Traces that have ended or may still do so."""
        return sum(branch.state != "pruned" for branch in self.branches)

    def votes(self) -> Counter[str]:
        """Answers so far, as they were written."""
        return Counter(branch.answer for branch in self.branches if branch.answer is not None)


class Watch:
    """Gathers events.

    Args:
        questions: as asked.
        config: of the search.
    """

    def __init__(self, questions: list[str], config: SolverConfig) -> None:
        self.texts = questions
        self.config = config
        self.questions: dict[int, WatchedQuestion] = {}
        self.progress = Progress(0, 0.0, 0, 0, 0)

    def note(self, event: SolverEvent) -> None:
        """Take an event in."""
        match event:
            case Progress():
                self.progress = event
            case QuestionStarted():
                text = self.texts[event.question]
                self.questions[event.question] = WatchedQuestion(text, event.num_prompt_tokens)
            case BranchOpened():
                branches = self.questions[event.question].branches
                branches.append(WatchedBranch(event.branch, event.parent, event.position))
            case StepEnded():
                branch = self._branch(event.question, event.branch)
                branch.position = max(branch.position, event.position)
                branch.num_steps, branch.last_step = event.step + 1, event.text
            case TraceEnded():
                branch = self._branch(event.question, event.branch)
                branch.state, branch.answer, branch.score = "ended", event.answer, event.score
                branch.note = event.reason.value
            case BranchPruned():
                branch = self._branch(event.question, event.branch)
                branch.state, branch.note = "pruned", event.why
            case Solved() if event.question in self.questions:
                self.questions[event.question].solution = event.solution

    @property
    def current(self) -> tuple[int, WatchedQuestion] | None:
        """The first question that is being searched."""
        open_ones = (item for item in sorted(self.questions.items()) if item[1].solution is None)
        return next(open_ones, None)

    @property
    def tokens_per_second(self) -> float:
        """Of the whole run."""
        return self.progress.num_tokens_decoded / self.progress.seconds if self.progress.seconds > 0 else 0.0

    def seconds_left(self) -> tuple[float, bool] | None:
        """Estimate the time left, and say whether that is a bound (no trace has ended yet); None: nothing is known."""
        rate = self.tokens_per_second
        if rate == 0:
            return None
        ended = [length for question in self.questions.values() for length in _ended_lengths(question)]
        expected = sum(ended) / len(ended) if ended else float(self.config.max_tokens)
        num_tokens = sum(_tokens_left(question, expected, self.config.n) for question in self.questions.values())
        num_tokens += (len(self.texts) - len(self.questions)) * self.config.n * expected
        seconds = num_tokens / rate
        if self.config.budget_seconds is not None and len(self.texts) == 1:
            seconds = min(seconds, max(0.0, self.config.budget_seconds - self.progress.seconds))
        if self.config.budget_tokens is not None and len(self.texts) == 1:
            seconds = min(seconds, max(0, self.config.budget_tokens - self.progress.num_tokens_decoded) / rate)
        return seconds, not ended

    def _branch(self, question: int, index: int) -> WatchedBranch:
        return self.questions[question].branches[index]


def _ended_lengths(question: WatchedQuestion) -> list[float]:
    """Generated tokens of complete traces; the last step's are guessed from the mean of those before it."""
    return [
        (branch.position - question.num_prompt_tokens) * (1 + 1 / branch.num_steps)
        for branch in question.branches
        if branch.state == "ended" and branch.num_steps
    ]


def _tokens_left(question: WatchedQuestion, expected: float, num_main_traces: int) -> float:
    """Tokens that the running branches and the main traces still to be opened will probably take."""
    if question.solution is not None:
        return 0.0
    lengths = [
        branch.position - question.num_prompt_tokens for branch in question.branches if branch.state == "running"
    ]
    num_opened = max(sum(branch.parent is None for branch in question.branches), question.num_ended)
    num_unopened = num_main_traces - num_opened  # a search of few main traces (mcts) may end as many forks instead
    running = sum(max(expected - length, expected * _LEAST_SHARE) for length in lengths)
    return running + max(0, num_unopened) * expected
