"""A body with a value head, and the values of trees."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from arts_lite.train.base import Base
from arts_lite.train.encoding import EncodedTree, Rows, lay_out
from arts_lite.verifier.head import Head


class ValueModel(nn.Module):
    """Rows of tokens to one value per node. The head is float32, whatever the body computes in."""

    def __init__(self, base: Base, bias: float = 0.0) -> None:
        super().__init__()
        self.base = base
        self.body = base.module
        self.head = nn.Linear(base.dim, 1)
        nn.init.normal_(self.head.weight, std=0.01 / math.sqrt(base.dim))
        nn.init.constant_(self.head.bias, bias)

    def forward(self, rows: Rows) -> Tensor:
        """Compute the values of all nodes, float32[num_nodes]."""
        device = self.head.weight.device
        visible = None if rows.visible is None else torch.from_numpy(rows.visible).to(device)
        tokens = torch.from_numpy(rows.tokens).to(device)
        positions = torch.from_numpy(rows.positions).to(device)
        hidden = self.base.compute(tokens, visible, positions)
        at = hidden[torch.from_numpy(rows.value_row).to(device), torch.from_numpy(rows.value_column).to(device)]
        with torch.autocast(device.type, enabled=False):
            values: Tensor = self.head(at.float()).squeeze(-1)
        return values

    def numpy_head(self) -> Head:
        """The head as a file holds it."""
        weight = self.head.weight.detach().float().cpu().numpy()[0]
        return Head(weight, float(self.head.bias.detach()))

    def learning(self) -> dict[str, Tensor]:
        """What learns, by name: the head and what the tuning leaves free in the body."""
        return {name: weight for name, weight in self.named_parameters() if weight.requires_grad}


def parts_of(trees: Sequence[EncodedTree], max_tokens: int) -> Iterator[tuple[list[int], Rows]]:
    """Cut trees into parts of at most so many tokens (one tree at least), which fit into memory one at a time.

    Trees of like row lengths stand together, so that little is padded; yields their numbers and rows.
    """
    longest = [max(sum(len(tree.tokens[node]) for node in row) for row in tree.rows) for tree in trees]
    part: list[int] = []
    num_rows = 0
    for number in sorted(range(len(trees)), key=lambda number: longest[number]):
        grown = num_rows + len(trees[number].rows)
        if part and grown * longest[number] > max_tokens:
            yield part, lay_out([trees[one] for one in part])
            part, grown = [], len(trees[number].rows)
        part.append(number)
        num_rows = grown
    if part:
        yield part, lay_out([trees[one] for one in part])


@torch.no_grad()
def values_of(
    model: ValueModel, trees: Sequence[EncodedTree], *, max_tokens: int, dtype: torch.dtype = torch.float32
) -> list[NDArray[np.float64]]:
    """Compute the values of every node of trees, outside of training: one float64[num_nodes] per tree."""
    was_training = model.training
    model.eval()
    found: dict[int, NDArray[np.float64]] = {}
    device = model.head.weight.device
    for part, rows in parts_of(trees, max_tokens):
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            values = model(rows).double().cpu().numpy()
        ends = np.cumsum([trees[number].tree.num_nodes for number in part])
        for number, one in zip(part, np.split(values, ends[:-1]), strict=True):
            found[number] = one
    model.train(was_training)
    return [found[number] for number in range(len(trees))]
