"""A verifier's training that takes a second. As a script it runs on TREES in FOLDER, for tests that kill it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch
from accelerate import Accelerator
from fakes.sdf_trees import Step, lines, sdf_tree

from arts_lite.train.dataset import DataConfig
from arts_lite.train.export import write_gguf
from arts_lite.train.transformer import Shape, Transformer
from arts_lite.train.verifier import VerifierConfig, VerifierTraining
from arts_lite.tree import TreeWriter

SHAPE = Shape(dim=32, num_layers=1, num_heads=1, num_kv_heads=1, ff_dim=32, max_positions=64)


def ends_well(_question: str, steps: tuple[Step, ...]) -> bool:
    """Last steps A, B and C are right, D, E and F wrong: a verifier can tell by the very last letter."""
    return steps[-1] in "ABC"


def write_sums(path: Path, num_trees: int = 24, seed: int = 0) -> Path:
    """Write trees of as many problems."""
    rng = Random(seed)
    with TreeWriter(path) as writer:
        for number in range(num_trees):
            writer.write(sdf_tree(rng, question=f"{number} + 1", policy=lines(), is_correct=ends_well))
    return path


def write_base(path: Path, shape: Shape = SHAPE, seed: int = 0) -> Path:
    """Write a tiny proposer with random weights."""
    torch.manual_seed(seed)
    write_gguf(path, Transformer(shape), {}, file_type="F32")
    return path


def config(base: Path | str, **changes: Any) -> VerifierConfig:
    """Two epochs of several batches each."""
    settings: dict[str, Any] = {
        "base": str(base),
        "data": DataConfig(dev_share=0.25),
        "epochs": 2.0,
        "batch_tokens": 150,
        "row_tokens": 48,
        "evals": 4,
        "save_every": 3,
    }
    return VerifierConfig(**{**settings, **changes})


def training(
    folder: Path, base: Path | str, trees: Sequence[Path] | Path, told: bool = False, **changes: Any
) -> VerifierTraining:
    """A run on one thread, as its results depend on their number."""
    torch.set_num_threads(1)
    paths = [trees] if isinstance(trees, Path) else trees
    tell = (lambda done, text: print(done, text, flush=True)) if told else (lambda _done, _text: None)
    return VerifierTraining(config(base, **changes), paths, folder, tell=tell, accelerator=Accelerator(cpu=True))


if __name__ == "__main__":
    training(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), told=True).train()
