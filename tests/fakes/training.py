"""A proposer's training that takes a second. As a script it runs in FOLDER, for tests that kill it."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from arts_lite.tasks.arithmetic import ArithmeticDifficulty
from arts_lite.tasks.countdown import CountdownDifficulty
from arts_lite.train.mixture import Part
from arts_lite.train.proposer import ProposerConfig, ProposerTraining
from arts_lite.train.transformer import Shape

QUICK = (
    Part(CountdownDifficulty(num_numbers=3), 0.5),
    Part(ArithmeticDifficulty(1, 99, 999, "+-", styles=False), 0.5),
)
"""Problems that are drawn at once, also those of the dev split."""
CONFIG = ProposerConfig(
    shape=Shape(dim=32, num_layers=1, num_heads=1, num_kv_heads=1, ff_dim=32, max_positions=64),
    num_samples=200,
    num_rows=4,
    row_length=64,
    eval_every=4,
    save_every=3,
    mixture=QUICK,
)


def training(folder: Path, config: ProposerConfig = CONFIG) -> ProposerTraining:
    """A run with one thread, as its results depend on their number; tells every step on stdout."""
    torch.set_num_threads(1)
    return ProposerTraining(config, folder, torch.device("cpu"), lambda done, text: print(done, text, flush=True))


if __name__ == "__main__":
    training(Path(sys.argv[1])).train()
