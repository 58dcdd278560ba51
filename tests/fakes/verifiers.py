"""Verifier files without training, for tests of what uses them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


def write_random_verifier(path: Path, output: str = "log_flow") -> Path:
    """Write a tiny verifier with random weights that reads the tiny models' input; skips the test without torch."""
    torch = pytest.importorskip("torch", reason="tiny verifiers are written by the trainer")
    from arts_lite.train.transformer import Shape, Transformer
    from arts_lite.train.verifier_file import write_verifier
    from arts_lite.verifier import Head, InputRules, VerifierFormat

    shape = Shape(dim=64, num_layers=2, num_heads=1, num_kv_heads=1, ff_dim=64, max_positions=512)
    torch.manual_seed(0)
    head = Head(np.random.default_rng(0).normal(0, 0.3, shape.dim).astype(np.float32), 0.5)
    told = VerifierFormat("flow", InputRules("{question}\n", "\n"), head, output=output)
    write_verifier(path, Transformer(shape), told)
    return path
