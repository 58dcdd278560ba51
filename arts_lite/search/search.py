"""One search: a strategy, its tree, and the engine's branches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import suppress

from arts_lite.errors import ArtsError
from arts_lite.search import events as told
from arts_lite.search.actions import OVER, Action, Drop, Fork, Open, Park, Prune, Run, Stop
from arts_lite.search.live import LiveBranches, SearchRequest
from arts_lite.search.protocols import Engine
from arts_lite.search.record import Branch, BranchState, SearchTree
from arts_lite.search.scorers import score_together
from arts_lite.types import BranchId, Event, EventKind, StopReason

_NO_QUOTA = 1 << 50
_EXPECTED_TRACE_TOKENS = 192
"""What a trace is taken to generate before anything is known of traces; the engine takes the same."""
_CUTS = (StopReason.BUDGET_TOKENS, StopReason.BUDGET_SECONDS, StopReason.BUDGET_NODES, StopReason.INTERRUPTED)


class Search:
    """Applies a strategy's actions, keeps the tree's books and the bounds on nodes, and ends with a result.

    Args:
        owner: the engine's quota account of this search, shared with no other that is open.
        emit: takes what there is to tell.
        follows_steps: tell every step when it ends, also of branches whose strategy does not ask for it.
    """

    def __init__(
        self,
        request: SearchRequest,
        engine: Engine,
        *,
        owner: int,
        clock: Callable[[], float],
        emit: told.Emit,
        follows_steps: bool = False,
    ) -> None:
        self.request = request
        self.owner = owner
        self.is_finished = False
        self._engine = engine
        self._clock = clock
        self._emit = emit
        self._stops_at_steps = follows_steps or request.budget.nodes is not None
        self._tree = SearchTree(request.seed, len(request.tokens), request.max_tokens, request.budget, request.same)
        self._live = LiveBranches(engine, request, self._tree, owner)
        self._stepwise: set[int] = set()  # branches whose steps the strategy wants to see
        self._held: set[int] = set()  # branches that would run if the budget of nodes allowed
        self._num_steps_told: dict[int, int] = {}
        self._sum_cells = self._num_cells_noted = 0
        self._began_s = clock()
        self._spent_before = engine.quota_spent(owner)

    @property
    def num_running(self) -> int:
        """Branches that the engine advances."""
        return sum(branch.state is BranchState.RUNNING for branch in self._tree.branches)

    @property
    def num_tokens_decoded(self) -> int:
        """Tokens that the engine has decoded for this search."""
        return self._engine.quota_spent(self.owner) - self._spent_before

    @property
    def num_cells(self) -> int:
        """KV cells that the running branches stand on now; too few where branches drew the same tokens."""
        return self._tree.num_cells + max(self.num_tokens_decoded - self._tree.num_tokens, 0)

    @property
    def mean_cells(self) -> float:
        """The mean of `num_cells` over the ends of traces so far; 0 before the first."""
        return self._sum_cells / max(self._num_cells_noted, 1)

    @property
    def guessed_cells(self) -> int:
        """KV cells that its running branches may need, as far as that can be told before any search has finished."""
        return len(self.request.tokens) + self.num_running * min(self.request.max_tokens, _EXPECTED_TRACE_TOKENS)

    @property
    def seconds_left(self) -> float:
        """Time until the budget of seconds is spent; infinite without one."""
        seconds = self.request.budget.seconds
        return math.inf if seconds is None else self._began_s + seconds - self._clock()

    def start(self) -> None:
        """Ask the strategy for its first actions. Raises what the engine raises on a prompt that it cannot take."""
        budget = self.request.budget.tokens
        self._engine.set_quota(self.owner, _NO_QUOTA if budget is None else budget)
        self._emit(told.QuestionStarted(self.request.question, len(self.request.tokens)))
        self._apply(self.request.strategy.start(self._tree))
        self.settle()

    def find(self, handle: BranchId | None) -> Branch | None:
        """Find the branch behind an engine's branch; None if it is another search's."""
        return self._live.find(handle)

    def note_cells(self) -> None:
        """Take note of `num_cells`, where traces end (what is told of steps is no matter); before that is observed."""
        self._sum_cells += self.num_cells
        self._num_cells_noted += 1

    def observe(self, branch: Branch, event: Event) -> None:
        """Take note of a step's or a trace's end; the strategy hears of it by `tell`."""
        if event.kind is EventKind.STEP_ENDED:
            branch.state = BranchState.PAUSED
            self._live.read_steps(branch)
            return
        self._live.read_all(branch)
        branch.state = BranchState.ENDED
        branch.reason = event.reason
        self._tree.set_answer(branch, self.request.extract(branch.text))

    def tell(self, branch: Branch) -> None:
        """Let the strategy react to what has been observed (and scored since)."""
        if self.is_finished:
            return
        self._tell_steps(branch)
        if branch.has_ended:
            self._tell_end(branch)
        if branch.has_ended or branch.index in self._stepwise:
            self._apply(self.request.strategy.react(self._tree, branch))
        else:
            self._run(branch)

    def settle(self) -> None:
        """After all has been told: let held branches go on, or end the search if nothing runs any more."""
        for index in sorted(self._held):
            if not self.is_finished and self._has_room():
                self._held.discard(index)
                self._run(self._tree.branches[index])
        if not self.is_finished and self.num_running == 0:
            self.finish(StopReason.BUDGET_NODES if self._held else StopReason.COMPLETE)

    def finish(self, reason: StopReason, why: str = OVER) -> None:
        """End the search and tell its result; `why` is of what is pruned by it. A second time is nothing."""
        if self.is_finished:
            return
        self.is_finished = True
        unfinished = [branch for branch in self._tree.branches if branch.is_alive]
        for branch in unfinished:
            self._live.read_all(branch)
            is_parked = branch.state is BranchState.PARKED
            if reason in _CUTS:
                branch.state, branch.reason = BranchState.CUT, reason
                branch.why = "parked" if is_parked else ""
                self._tree.set_answer(branch, self.request.extract(branch.text))
            else:
                self._mark_pruned(branch, f"parked; {why}" if is_parked else why)
        self._live.close_all()
        score_together([(self.request.scorer, branch) for branch in unfinished])
        decision = self.request.strategy.decide(self._tree)
        question, num_decoded = self.request.question, self.num_tokens_decoded
        if reason is StopReason.DECIDED:
            self._emit(told.QuestionDecided(question, decision.answer, decision.votes))
        seconds = self._clock() - self._began_s
        result = told.SearchResult(question, decision, self._tree, reason, num_decoded, seconds)
        self._emit(told.QuestionFinished(question, result))

    def abandon(self) -> None:
        """Close the branches without a result."""
        self.is_finished = True
        with suppress(ArtsError):  # an engine that is closed or broken holds no branch; the first error counts
            self._live.close_all()

    def _apply(self, actions: Iterable[Action]) -> None:
        for action in actions:
            self._do(action)
            if self.is_finished:
                return

    def _do(self, action: Action) -> None:
        match action:
            case Open():
                self._begin(self._live.open(), pause_on_step=action.pause_on_step)
            case Fork():
                branch = self._live.fork(self._tree.branches[action.branch], action.position)
                self._begin(branch, pause_on_step=action.pause_on_step)
            case Run():
                self._let_run(self._alive(action.branch), pause_on_step=action.pause_on_step)
            case Park():
                branch = self._alive(action.branch)
                self._held.discard(branch.index)
                self._live.park(branch)
                branch.state = BranchState.PARKED
            case Drop():
                branch = self._tree.branches[action.branch]
                if branch.is_alive:
                    raise ValueError(f"branch {branch.index} has not ended: prune it instead of dropping it")
                self._live.drop(branch)
            case Prune():
                branch = self._alive(action.branch)
                self._live.read_all(branch)
                self._mark_pruned(branch, action.why)
                self._live.drop(branch)
                score_together([(self.request.scorer, branch)])
            case Stop():
                self.finish(action.reason, action.why)

    def _begin(self, branch: Branch, *, pause_on_step: bool) -> None:
        self._num_steps_told[branch.index] = len(branch.steps)
        self._emit(told.BranchOpened(self.request.question, branch.index, branch.parent, branch.start))
        self._let_run(branch, pause_on_step=pause_on_step)

    def _let_run(self, branch: Branch, *, pause_on_step: bool) -> None:
        if pause_on_step:
            self._stepwise.add(branch.index)
        else:
            self._stepwise.discard(branch.index)
        self._run(branch)

    def _run(self, branch: Branch) -> None:
        if branch.state is BranchState.RUNNING:
            raise ValueError(f"branch {branch.index} is running already")
        if not self._has_room():
            self._held.add(branch.index)
            return
        self._live.run(branch, pause_on_step=self._stops_at_steps or branch.index in self._stepwise)
        branch.state = BranchState.RUNNING

    def _has_room(self) -> bool:
        """Whether one more branch may run: each adds at most one node before it stops again."""
        nodes = self.request.budget.nodes
        return nodes is None or self._tree.num_nodes + self.num_running < nodes

    def _alive(self, index: int) -> Branch:
        branch = self._tree.branches[index]
        if not branch.is_alive:
            raise ValueError(f"branch {index} is {branch.state.value}; only a living branch can run, park or be pruned")
        return branch

    def _mark_pruned(self, branch: Branch, why: str) -> None:
        self._held.discard(branch.index)
        branch.state, branch.reason, branch.why = BranchState.PRUNED, StopReason.PRUNED, why
        self._emit(told.BranchPruned(self.request.question, branch.index, why))

    def _tell_steps(self, branch: Branch) -> None:
        first = self._num_steps_told[branch.index]
        self._num_steps_told[branch.index] = len(branch.steps)
        for number, step in enumerate(branch.steps[first:], first):
            self._emit(told.StepEnded(self.request.question, branch.index, number, step.end, step.text))

    def _tell_end(self, branch: Branch) -> None:
        assert branch.reason is not None  # every ended trace has one
        self._emit(
            told.TraceEnded(
                self.request.question, branch.index, branch.reason, branch.answer, branch.score, branch.text
            )
        )
