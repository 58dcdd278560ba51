"""What a solver returns: plain, frozen, ready for JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from arts_lite.search import Branch, BranchState, Candidate, SearchEvent, SearchResult
from arts_lite.solver.trees import tree_of_search
from arts_lite.tree import Tree
from arts_lite.types import StopReason


@dataclass(frozen=True, slots=True)
class Trace:
    """One path from the prompt to where it ended, was cut off or was pruned.

    Attributes:
        parent: index of the trace that it was forked from, None for a main trace.
        fork_position: tokens that it shares with its parent, prompt included; None for a main trace.
        state: ENDED, CUT (by a budget or the user) or PRUNED (`why` says more).
        reason: why it went no further.
        text: all that was generated; `steps` cuts it.
        answer: None where none was found, or the trace was pruned.
        score: the scorer's, higher is better; None without any token.
        num_tokens: generated tokens, those before the fork included.
        mean_log_prob: per token under the model; None without any token.
    """

    parent: int | None
    fork_position: int | None
    state: BranchState
    reason: StopReason | None
    why: str
    text: str
    steps: tuple[str, ...]
    answer: str | None
    score: float | None
    num_tokens: int
    mean_log_prob: float | None

    def to_dict(self) -> dict[str, object]:
        """Plain data, for JSON."""
        return {
            "parent": self.parent,
            "fork_position": self.fork_position,
            "state": self.state.value,
            "reason": None if self.reason is None else self.reason.value,
            "why": self.why,
            "text": self.text,
            "steps": list(self.steps),
            "answer": self.answer,
            "score": _finite(self.score),
            "num_tokens": self.num_tokens,
            "mean_log_prob": _finite(self.mean_log_prob),
        }


@dataclass(frozen=True)
class Solution:
    """What a question came to.

    Attributes:
        question: as asked.
        answer: None where no trace gave one.
        text: of the trace that is shown for the answer.
        score: of that trace; None without a trace or any token.
        votes: traces that gave the answer.
        chosen_by: what chose the answer: "vote", "weighted vote", "score", "posterior" ("flow") or "checker" (the
            task's own, which knows a right answer when it sees one).
        stopped_by: COMPLETE, DECIDED, a budget or INTERRUPTED; None where the question failed.
        candidates: all answers, the chosen one first, then by count and score.
        traces: in order of opening, unfinished ones included.
        num_traces: how many.
        num_nodes: of `tree`, the root (the prompt) included; identical steps at one node are one node.
        num_tokens_decoded: tokens that the engine decoded; those shared by branches count once.
        num_tokens_shared: tokens that branches took from others' prefixes instead.
        tokens_per_second: decoded tokens by time; in `solve_many` questions share the time.
        seconds: from the question's opening to its end.
        settings: what was asked for and what came of the defaults; JSON-ready.
        versions: of the packages involved.
        error: why the question failed (`solve_many` only; `solve` raises it).
        tree: everything that was generated, for trace files and pictures; None where nothing was.
    """

    question: str
    answer: str | None = None
    text: str = ""
    score: float | None = None
    votes: int = 0
    chosen_by: str = "vote"
    stopped_by: StopReason | None = None
    candidates: tuple[Candidate, ...] = ()
    traces: tuple[Trace, ...] = ()
    num_traces: int = 0
    num_nodes: int = 0
    num_tokens_decoded: int = 0
    num_tokens_shared: int = 0
    tokens_per_second: float = 0.0
    seconds: float = 0.0
    settings: Mapping[str, object] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    error: Exception | None = None
    tree: Tree | None = field(default=None, repr=False, compare=False)

    def to_dict(self, *, with_traces: bool = False) -> dict[str, object]:
        """Plain data, for JSON; numbers that are not finite become None."""
        plain: dict[str, object] = {
            "question": self.question,
            "answer": self.answer,
            "text": self.text,
            "score": _finite(self.score),
            "votes": self.votes,
            "chosen_by": self.chosen_by,
            "stopped_by": None if self.stopped_by is None else self.stopped_by.value,
            "candidates": [
                {"answer": one.answer, "count": one.count, "score": _finite(one.score)} for one in self.candidates
            ],
            "num_traces": self.num_traces,
            "num_nodes": self.num_nodes,
            "num_tokens_decoded": self.num_tokens_decoded,
            "num_tokens_shared": self.num_tokens_shared,
            "tokens_per_second": self.tokens_per_second,
            "seconds": self.seconds,
            "settings": dict(self.settings),
            "versions": dict(self.versions),
            "error": None if self.error is None else {"type": type(self.error).__name__, "message": str(self.error)},
        }
        if with_traces:
            plain["traces"] = [trace.to_dict() for trace in self.traces]
        return plain


@dataclass(frozen=True, slots=True)
class Solved:
    """The last event of a question."""

    question: int
    solution: Solution


SolverEvent = SearchEvent | Solved


def solution_of(
    question: str, result: SearchResult, *, settings: Mapping[str, object], versions: Mapping[str, str]
) -> Solution:
    """Turn a search's result into a solution."""
    decision, record = result.decision, result.tree
    shown = None if decision.branch is None else record.branches[decision.branch]
    tree = tree_of_search(question, result, settings=settings, versions=versions)
    return Solution(
        question,
        answer=decision.answer,
        text="" if shown is None else shown.text,
        score=None if shown is None else shown.score,
        votes=decision.votes,
        chosen_by=decision.by,
        stopped_by=result.stopped_by,
        candidates=decision.candidates,
        traces=tuple(_trace(branch) for branch in record.branches),
        num_traces=len(record.branches),
        num_nodes=tree.num_nodes,
        num_tokens_decoded=result.num_tokens_decoded,
        num_tokens_shared=record.num_tokens_shared,
        tokens_per_second=result.num_tokens_decoded / result.seconds if result.seconds > 0 else 0.0,
        seconds=result.seconds,
        settings=settings,
        versions=versions,
        tree=tree,
    )


def _trace(branch: Branch) -> Trace:
    return Trace(
        branch.parent,
        None if branch.parent is None else branch.start,
        branch.state,
        branch.reason,
        branch.why,
        branch.text,
        tuple(step.text for step in branch.steps),
        branch.answer,
        branch.score,
        len(branch.log_probs),
        float(branch.log_probs.mean()) if len(branch.log_probs) else None,
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
