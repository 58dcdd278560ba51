"""From the options of a command to its task, its problems and how they are sampled."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arts_lite.experiments import SdfConfig
    from arts_lite.proposer import Proposer
    from arts_lite.tasks import Problem, Task

SAMPLING = ("temperature", "top_p", "top_k", "min_p")
ENGINE = ("ctx_size", "gpu_layers", "threads", "kv_type", "reproducible")
DRAWN = ("ctx_size", "gpu_layers", "kv_type", "reproducible")
"""Of the engine's options, those that may change the draws."""


def read_task(options: dict[str, Any]) -> Task:
    """Make the task. Raises ValueError: an option that does not fit it."""
    from arts_lite.tasks import load_grader, make_task, with_difficulty

    task = make_task(
        options["task"],
        prompt=options["prompt"],
        grader=None if options["grader"] is None else load_grader(options["grader"]),
    )
    if options["difficulty"] is not None:
        task = with_difficulty(task, options["difficulty"])
    named = {part: options[f"{part}_column"] for part in ("question", "answer", "id") if options[f"{part}_column"]}
    if not named:
        return task
    if task.columns is None:
        raise ValueError(f"task {task.name!r} generates its problems; it has no columns to name")
    return dataclasses.replace(task, columns=dataclasses.replace(task.columns, **named))


def read_problems(task: Task, options: dict[str, Any], *, split: str) -> Sequence[Problem]:
    """Read or generate the problems; generated ones are of this split unless the options say otherwise.

    Raises:
        ValueError: an option is missing or has nothing to do, or there is no problem.
    """
    num, data = options["num_problems"], options["data"]
    if task.generate is not None:
        if data is not None:
            raise ValueError(f"task {task.name!r} generates its problems; leave --data out and say --num-problems")
        if num is None:
            raise ValueError(f"task {task.name!r} generates its problems; say how many with --num-problems")
        return list(islice(task.generate(options["problem_seed"], options["split"] or split), num))
    if data is None:
        raise ValueError(f"task {task.name!r} needs --data FILE or --data hf:OWNER/NAME")
    problems = list(islice(task.read(data, options["split"] or "test"), num))
    if not problems:
        raise ValueError(f"{data} holds no problem; check the file")
    return problems


def with_models_defaults(config: SdfConfig, model: Proposer, options: dict[str, Any]) -> SdfConfig:
    """Lay the sampling and step options over what the model's file asks for. Raises ValueError: out of range."""
    sampling = {name: options[name] for name in SAMPLING if options[name] is not None}
    rules = {"delimiters": options["step_delimiters"]} if options["step_delimiters"] else {}
    return dataclasses.replace(
        config,
        sampling=dataclasses.replace(model.default_sampling, **sampling),
        rules=dataclasses.replace(model.default_rules, **rules),
    )
