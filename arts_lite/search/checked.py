"""Any strategy, with a checker that knows a right answer when it sees one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from arts_lite.search.actions import Action, Stop
from arts_lite.search.ballot import Decision, by_check
from arts_lite.search.record import Branch, SearchTree
from arts_lite.search.strategy import Strategy
from arts_lite.types import StopReason


class Checked:
    """Lets a strategy search until a leaf's answer passes; chooses among those that pass, whatever the votes.

    Args:
        inner: decides what is opened, forked and pruned; it should not stop for votes (`early_stop`), since a minority
            may be right.
        accepts: whether an answer is right.
        early_stop: stop at the first answer that passes.
    """

    def __init__(self, inner: Strategy, accepts: Callable[[str], bool], *, early_stop: bool = True) -> None:
        self._inner = inner
        self._accepts = accepts
        self._early_stop = early_stop

    def start(self, tree: SearchTree) -> Iterable[Action]:
        """Start as the strategy does."""
        return self._inner.start(tree)

    def react(self, tree: SearchTree, branch: Branch) -> Iterator[Action]:
        """Stop at an answer that passes, else react as the strategy does."""
        if self._early_stop and branch.has_ended and branch.answer is not None and self._accepts(branch.answer):
            yield Stop(StopReason.DECIDED, "an answer has passed the check")
        else:
            yield from self._inner.react(tree, branch)

    def decide(self, tree: SearchTree) -> Decision:
        """Take the best scored of the answers that pass; no answer if none does."""
        return by_check(tree, self._accepts)
