"""What a tiny proposer can do: pass@k, right steps and styles on fresh problems of the test split.

Traces are drawn by the engine from the GGUF at temperature 1, top-p 1 (or whatever the file asks for). pass@k is the
unbiased estimate of Chen et al. 2021 (arXiv 2107.03374), section 2.1, with a 95 % interval from 2,000 bootstrap samples
over problems. Intervals of rates are Wilson's.
"""

from __future__ import annotations

import math
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from harness import parser, report, settings

from arts_lite.engine import EngineConfig
from arts_lite.experiments import SdfConfig, SdfRun
from arts_lite.experiments.folder import read_folder
from arts_lite.proposer import Proposer, embedded_proposer
from arts_lite.tasks import Problem, make_task
from arts_lite.tasks.arithmetic import ArithmeticDifficulty, arithmetic_problems, check_arithmetic
from arts_lite.tasks.countdown import CountdownDifficulty, check_countdown, countdown_problems
from arts_lite.tree import Tree

SUM = re.compile(r"(-?\d+)([-+*/])(-?\d+)=(-?\d+)(?:;.*)?")

Difficulty = CountdownDifficulty | ArithmeticDifficulty
SETTINGS: dict[str, Difficulty] = {
    "countdown": CountdownDifficulty(),
    "countdown, 3 numbers": CountdownDifficulty(num_numbers=3),
    "countdown, 5 numbers": CountdownDifficulty(num_numbers=5),
    "arithmetic": ArithmeticDifficulty(),
    "arithmetic, 5 operators": ArithmeticDifficulty(num_operators=5),
    "arithmetic, 4 operators": ArithmeticDifficulty(num_operators=4),
    "arithmetic, 7 operators": ArithmeticDifficulty(num_operators=7),
    "arithmetic, 6 operators, values to 999": ArithmeticDifficulty(max_value=999),
    "arithmetic, 4 operators, values to 999": ArithmeticDifficulty(num_operators=4, max_value=999),
    "arithmetic, 3 operators, values to 999": ArithmeticDifficulty(num_operators=3, max_value=999),
}


def problems(difficulty: Difficulty, num: int, seed: int) -> list[Problem]:
    """Different problems of the test split, none of which any training has seen."""
    if isinstance(difficulty, CountdownDifficulty):
        return list(islice(countdown_problems(seed, "test", difficulty), num))
    return list(islice(arithmetic_problems(seed, "test", difficulty), num))


def pass_at(correct: Sequence[int], num_traces: int, k: int) -> list[float]:
    """Per problem: chance that k of its traces, drawn without putting back, hold a correct one."""
    return [1.0 - math.comb(num_traces - c, k) / math.comb(num_traces, k) for c in correct]


def interval(values: Sequence[float]) -> str:
    drawn = np.random.default_rng(0).choice(values, (2000, len(values))).mean(1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return f"{np.mean(values):.3f} [{low:.3f}, {high:.3f}]"


def wilson(part: int, whole: int) -> str:
    if whole == 0:
        return "-"
    rate, z = part / whole, 1.96
    middle = (rate + z * z / (2 * whole)) / (1 + z * z / whole)
    half = z * math.sqrt(rate * (1 - rate) / whole + z * z / (4 * whole * whole)) / (1 + z * z / whole)
    return f"{rate:.4f} [{middle - half:.4f}, {middle + half:.4f}]"


def texts(tree: Tree) -> Iterator[str]:
    """What each trace wrote."""
    for node in tree.trace_node:
        yield "".join(tree.texts[step] for step in tree.path(int(node))[1:])


def is_right_sum(line: str) -> bool | None:
    """Whether a line of Countdown claims a true sum, whatever else is wrong with it; None: it is no step."""
    match = SUM.fullmatch(line)
    if match is None:
        return None
    a, op, b, value = int(match[1]), match[2], int(match[3]), int(match[4])
    if op == "/":
        return b != 0 and b * value == a
    return value == {"+": a + b, "-": a - b, "*": a * b}[op]


def measured(trees: list[Tree], num_traces: int, family: str) -> dict[str, Any]:
    """Figures of one difficulty."""
    correct = [sum(end.correct is True for end in tree.ends) for tree in trees]
    num_right = num_lines = 0
    sums: Counter[bool | None] = Counter()
    styles: Counter[str] = Counter()
    look: Callable[[Problem, str], Any] = check_countdown if family == "countdown" else check_arithmetic
    for tree in trees:
        plain = tree.origin.problem
        assert plain is not None
        problem = Problem(plain["id"], plain["question"], plain["answer"], plain["metadata"])
        for text in texts(tree):
            check = look(problem, text)
            lines = sum(bool(line.strip()) for line in text.split("\n"))
            # A trace counts up to its first wrong line: what follows a wrong rest cannot be judged fairly.
            num_right += lines if check.first_wrong is None else check.first_wrong
            num_lines += lines if check.first_wrong is None else check.first_wrong + 1
            if family == "countdown":
                sums.update(is_right_sum(line) for line in text.split("\n") if line.strip())
            else:
                styles[check.style or "none"] += 1
    row: dict[str, Any] = {
        f"pass@{k}": interval(pass_at(correct, num_traces, k)) for k in (1, 4, 16) if k <= num_traces
    }
    row["right steps"] = wilson(num_right, num_lines)
    row["right sums"] = wilson(sums[True], sums.total()) if family == "countdown" else None
    num_styled = styles.total() - styles["none"]
    for style in ("left", "inner", "partial"):
        row[style] = wilson(styles[style], num_styled) if family == "arithmetic" else None
    row["no style"] = round(styles["none"] / max(styles.total(), 1), 4) if family == "arithmetic" else None
    return row


def main() -> None:
    options = parser(__doc__ or "", needs_model=False)
    options.add_argument("--problems", type=int, default=500)
    options.add_argument("--traces", type=int, default=16)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--only", default="", help="difficulties whose names begin so")
    chosen = options.parse_args()
    if chosen.quick:
        chosen.problems = 20
    path = chosen.model or embedded_proposer()
    rows = []
    with Proposer.from_gguf(
        path, config=EngineConfig(num_traces=chosen.traces, threads=chosen.threads, gpu_layers=chosen.gpu_layers)
    ) as model:
        for name, difficulty in SETTINGS.items():
            if not name.startswith(chosen.only):
                continue
            family = name.split(",")[0]
            config = SdfConfig(num_traces=chosen.traces, fork_prob=0.0, max_tokens=400, seed=chosen.seed)
            with tempfile.TemporaryDirectory() as folder:
                start = time.perf_counter()
                asked = problems(difficulty, chosen.problems, chosen.seed)
                for last in SdfRun(model, make_task(family), asked, Path(folder), config).run():
                    progress = last
                seconds = time.perf_counter() - start
                trees = list(read_folder(folder))
            rows.append(
                {
                    "difficulty": name,
                    **measured(trees, chosen.traces, family),
                    "tokens/s": progress.num_tokens / seconds,
                }
            )
    used = settings(path, problems=chosen.problems, traces=chosen.traces, seed=chosen.seed, split="test")
    report("proposer", used, rows, chosen.json)


if __name__ == "__main__":
    main()
