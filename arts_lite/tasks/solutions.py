"""How many different solutions a Countdown problem has: a yardstick for tests and difficulties."""

from __future__ import annotations

from arts_lite.tasks.problem import Problem

_Form = tuple[object, ...]
_Item = tuple[int, _Form]  # value, canonical form


def count_solutions(problem: Problem) -> int:
    """Count the solutions with integer intermediate values that use each number at most once.

    Two solutions are the same if they differ by the order of terms and factors, or by which of two equal numbers is
    used where. Exact and exhaustive: for up to five numbers.
    """
    items: list[_Item] = [(number, ("n", number)) for number in problem.metadata["numbers"]]
    found: set[_Form] = set()
    _search(tuple(sorted(items, key=repr)), problem.metadata["target"], found, set())
    return len(found)


def _search(items: tuple[_Item, ...], target: int, found: set[_Form], seen: set[tuple[_Item, ...]]) -> None:
    if items in seen:
        return
    seen.add(items)
    found.update(form for value, form in items if value == target)
    for first in range(len(items)):
        for second in range(first + 1, len(items)):
            rest = [item for place, item in enumerate(items) if place not in (first, second)]
            for made in _combinations(items[first], items[second]):
                _search(tuple(sorted([*rest, made], key=repr)), target, found, seen)


def _combinations(a: _Item, b: _Item) -> list[_Item]:
    made = [
        (a[0] + b[0], _join("+", a, b, inverse=False)),
        (a[0] * b[0], _join("*", a, b, inverse=False)),
        (a[0] - b[0], _join("+", a, b, inverse=True)),
        (b[0] - a[0], _join("+", b, a, inverse=True)),
    ]
    for over, under in ((a, b), (b, a)):
        if under[0] and over[0] % under[0] == 0:
            made.append((over[0] // under[0], _join("*", over, under, inverse=True)))
    return made


def _join(kind: str, a: _Item, b: _Item, *, inverse: bool) -> _Form:
    """Flatten sums (with differences) and products (with quotients): parts with their sign or exponent, sorted."""
    parts = _parts(kind, a[1]) + [(sign * (-1 if inverse else 1), form) for sign, form in _parts(kind, b[1])]
    return (kind, *sorted(parts, key=repr))


def _parts(kind: str, form: _Form) -> list[tuple[int, _Form]]:
    return list(form[1:]) if form[0] == kind else [(1, form)]  # type: ignore[arg-type]
