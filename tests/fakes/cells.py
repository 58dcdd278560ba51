"""A fake engine whose KV cells are scarce: what does not fit is parked, and decoded again when it goes on."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

from fakes.engine import FakeBranch, FakeEngine, FakeStats
from fakes.models import Model

from arts_lite.types import BranchId, Event

_ROOM = 8  # tokens that every branch at work may grow by before another one comes back into the cells


class FakeCells(FakeEngine):
    """Holds one cell per distinct token of the prefixes of all cached branches. The owner who began first goes first.

    A branch that is to decode evicts those that do not, then the youngest one that does.

    Attributes:
        num_redecoded: tokens decoded again after their branch was parked.
        most_used: cells at the height.
    """

    def __init__(self, model: Model | None = None, *, num_cells: int, **options: Any) -> None:
        super().__init__(model, **options)
        self.num_cells = num_cells
        self.num_redecoded = 0
        self.most_used = 0
        self._names = itertools.count()
        self._paths: dict[BranchId, list[int]] = {}  # the cells of each branch's tokens, by name
        self._prompts: dict[tuple[int, ...], list[int]] = {}
        self._holders: Counter[int] = Counter()  # cached branches by cell
        self._cached: set[BranchId] = set()
        self._ever: set[int] = set()

    @property
    def num_cells_used(self) -> int:
        return len(self._holders)

    def park(self, branch: BranchId) -> None:
        super().park(branch)
        self._evict(branch)

    def close(self, branch: BranchId) -> None:
        self._evict(branch)
        super().close(branch)
        del self._paths[branch]

    def fork(self, branch: BranchId, position: int) -> BranchId:
        child = super().fork(branch, position)
        self._paths[child] = self._paths[branch][:position]
        if branch in self._cached:
            self._cache(child)
        return child

    def stats(self) -> FakeStats:
        stats = super().stats()
        stats.num_cells_capacity = self.num_cells
        return stats

    def _add(self, state: FakeBranch) -> BranchId:
        branch = super()._add(state)
        prompt = self._prompts.setdefault(state.prompt, [next(self._names) for _ in state.prompt])
        self._paths[branch] = list(prompt)
        return branch

    def _decode(self) -> list[Event]:
        lanes = self._lanes()
        waiting = {branch: None for branch in self.running if branch not in lanes}
        self.running = dict.fromkeys(lanes)
        lengths = {branch: self.branches[branch].length for branch in lanes}
        events = super()._decode()
        self.running |= waiting
        for branch in lanes:
            if self.branches[branch].length > lengths[branch]:
                self._paths[branch].append(next(self._names))
                self._hold(self._paths[branch][-1:])
        return events

    def _lanes(self) -> list[BranchId]:
        """Branches that decode next; each has room for a token."""
        lanes: list[BranchId] = []
        for branch in sorted(self.running, key=self._order)[: self.max_rows]:
            num_needed = len(lanes) + 1
            if branch not in self._cached:  # lest it is thrown out at once, the others get room to grow
                num_needed += sum(cell not in self._holders for cell in self._paths[branch]) + _ROOM * len(lanes)
            if not self._make_room(num_needed, [*lanes, branch]):
                assert lanes, "a single trace does not fit into the cells"
                break
            self._cache(branch)
            lanes.append(branch)
        return lanes

    def _make_room(self, num_cells: int, spared: Sequence[BranchId]) -> bool:
        while self.num_cells - len(self._holders) < num_cells:
            victims = [branch for branch in self._cached if branch not in spared]
            if not victims:
                return False
            self._evict(max(victims, key=self._order))
            self.num_parked += 1
        return True

    def _order(self, branch: BranchId) -> tuple[int, BranchId]:
        owner = self.branches[branch].owner
        return min(other for other, state in self.branches.items() if state.owner == owner), branch

    def _cache(self, branch: BranchId) -> None:
        if branch not in self._cached:
            self._cached.add(branch)
            self.num_redecoded += sum(cell in self._ever and cell not in self._holders for cell in self._paths[branch])
            self._hold(self._paths[branch])

    def _hold(self, cells: Sequence[int]) -> None:
        self._holders.update(cells)
        self._ever.update(cells)
        self.most_used = max(self.most_used, len(self._holders))

    def _evict(self, branch: BranchId) -> None:
        if branch in self._cached:
            self._cached.discard(branch)
            for cell in self._paths[branch]:
                self._holders[cell] -= 1
                if not self._holders[cell]:
                    del self._holders[cell]
