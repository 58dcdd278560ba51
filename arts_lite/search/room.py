"""How many questions the KV cache carries at a time."""

from __future__ import annotations

from collections.abc import Sequence

from arts_lite.search.search import Search


class Room:
    """Says whether the cells carry another question beside those that are open.

    A question is expected to hold as many cells as those before it held on average when traces of theirs ended, or as
    many as it holds already. Not as many as at its height: open questions are not at their heights together, and a row
    of the batch that stays empty costs about as much time as the tokens that have to be decoded again.

    Args:
        num_cells: of the engine; None: without end.
    """

    def __init__(self, num_cells: int | None) -> None:
        self._num_cells = num_cells
        self._guess = 0
        self._num_finished = 0
        self._sum = 0.0  # of the means of those that are over

    def note_opened(self, search: Search) -> None:
        """Learn from a search that has just started: until one is over, the next is taken to be like it."""
        self._guess = search.guessed_cells

    def note_finished(self, search: Search) -> None:
        """Learn from a search that is over; one without a complete trace tells nothing."""
        if search.mean_cells:
            self._num_finished += 1
            self._sum += search.mean_cells

    def carries_another(self, searches: Sequence[Search]) -> bool:
        """Whether one more may be opened beside these; one always may be alone."""
        if self._num_cells is None or not searches:
            return True
        if self._num_finished:
            expected = self._sum / self._num_finished
            needed = sum(max(search.num_cells, expected) for search in searches)
        else:
            expected = self._guess
            needed = sum(max(search.num_cells, search.guessed_cells) for search in searches)
        return needed + expected <= self._num_cells
