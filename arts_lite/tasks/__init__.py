"""Problems, how they are asked, and whether an answer is right. Knows no engine and no search."""

from __future__ import annotations

from arts_lite.tasks.answers import canonical_answer, extract_answer, same_answer
from arts_lite.tasks.difficulty import with_difficulty
from arts_lite.tasks.grading import Grader, MathGrader
from arts_lite.tasks.problem import Problem, Rewards
from arts_lite.tasks.rows import Columns, DataError
from arts_lite.tasks.stated import stated_answer
from arts_lite.tasks.task import TASKS, Task, load_grader, make_task

__all__ = [
    "TASKS",
    "Columns",
    "DataError",
    "Grader",
    "MathGrader",
    "Problem",
    "Rewards",
    "Task",
    "canonical_answer",
    "extract_answer",
    "load_grader",
    "make_task",
    "same_answer",
    "stated_answer",
    "with_difficulty",
]
