"""A policy that is small enough to be tuned within a test."""

from __future__ import annotations

from pathlib import Path

import torch

from arts_lite.train.export import write_gguf
from arts_lite.train.transformer import Shape, Transformer

SHAPE = Shape(dim=32, num_layers=2, num_heads=1, num_kv_heads=1, ff_dim=64, max_positions=128)
METADATA = {"general.name": "small", "arts.tasks": ["countdown", "arithmetic"], "arts.sampling.temperature": 1.0}


def random_transformer(seed: int = 0, shape: Shape = SHAPE) -> Transformer:
    """A transformer whose logits differ enough to be compared."""
    torch.manual_seed(seed)
    model = Transformer(shape)
    with torch.no_grad():
        model.embedding.weight.mul_(10)
    return model


def write_policy(path: Path, seed: int = 0) -> Path:
    write_gguf(path, random_transformer(seed), METADATA, file_type="F32")
    return path
