"""How hard generated problems are, as it is written on a command line: `num_operators=5,max_value=999`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from arts_lite.tasks.arithmetic import ArithmeticDifficulty, arithmetic_problems
from arts_lite.tasks.countdown import CountdownDifficulty, countdown_problems
from arts_lite.tasks.task import Task

_KINDS: Mapping[str, tuple[Any, Callable[..., Any]]] = {
    "countdown": (CountdownDifficulty, countdown_problems),
    "arithmetic": (ArithmeticDifficulty, arithmetic_problems),
}


def with_difficulty(task: Task, text: str) -> Task:
    """Return a task that generates problems of another difficulty.

    Args:
        text: names and values, parted by commas; whatever is not named keeps its default.

    Raises:
        ValueError: the task generates no problems, has no such setting, or a value is out of range.
    """
    if task.name not in _KINDS:
        raise ValueError(f"task {task.name!r} reads its problems; it has no difficulty to set")
    kind, generate = _KINDS[task.name]
    types = {field.name: field.type for field in dataclasses.fields(kind)}
    settings: dict[str, int | str | bool] = {}
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or name not in types:
            raise ValueError(
                f"difficulty {part.strip()!r} must be NAME=VALUE with a name of {task.name}: {', '.join(types)}"
            )
        settings[name] = _read(name, value, str(types[name]))
    difficulty = kind(**settings)
    return dataclasses.replace(task, generate=lambda seed, split: generate(seed, split, difficulty))


def _read(name: str, value: str, kind: str) -> int | str | bool:
    if kind == "str":
        return value
    if kind == "bool":
        if value not in ("yes", "no"):
            raise ValueError(f"{name} is {value!r}, but must be yes or no")
        return value == "yes"
    try:
        return int(value)
    except ValueError:
        raise ValueError(f"{name} is {value!r}, but must be an integer") from None
