"""0/1 rewards by the tasks' own graders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from arts_lite.tasks import Problem, Task


@dataclass(frozen=True, slots=True)
class Question:
    """A problem and the task that asks and grades it."""

    task: Task
    problem: Problem


def reward_function(questions: Sequence[Question], end_tokens: frozenset[int]) -> Callable[..., list[float]]:
    """Make TRL's reward function: 1 for a completion that ended by itself and whose answer is right, else 0."""

    def reward(
        completions: Sequence[Any], completion_ids: Sequence[Sequence[int]], question: Sequence[int], **_: Any
    ) -> list[float]:
        rewards = []
        for completion, tokens, number in zip(completions, completion_ids, question, strict=True):
            text = completion if isinstance(completion, str) else completion[-1]["content"]
            asked = questions[number]
            answer = asked.task.extract(text) if tokens and tokens[-1] in end_tokens else None
            rewards.append(float(answer is not None and asked.task.grade(asked.problem, answer)))
        return rewards

    return reward
