"""Kill runs at random moments."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]


def killed_at_random(
    parent: Path, num_kills: int, most_s: float, *arguments: str, script: str = "killed_sdf.py"
) -> Iterator[Path]:
    """Yield folders in which a script (folder, arguments) was killed, resumed and killed again, until one process came
    to its end or so many kills are done in all. Each is killed at most `most_s` after it has begun to work.
    """
    rng = random.Random(0)
    num_killed = num_folders = 0
    while num_killed < num_kills:
        folder = parent / f"killed{num_folders}"
        num_folders += 1
        while num_killed < num_kills and _is_killed(folder, rng.uniform(0, most_s), script, arguments):
            num_killed += 1
        yield folder


def _is_killed(folder: Path, seconds: float, script: str, arguments: tuple[str, ...]) -> bool:
    paths = [str(TESTS), *(path for path in sys.path if path)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(TESTS / "experiments" / script), str(folder), *arguments]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            return True
        assert process.returncode == 0
        return False
