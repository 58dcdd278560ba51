"""Samples packed into rows of equal length; within a row, no sample sees another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arts_lite.tasks.traces import END, Sample
from arts_lite.train.byte_vocab import EOS, PAD

IGNORED = -100
"""Target of a position that is not learnt: prompts, padding, the last token of a sample."""


@dataclass(frozen=True, slots=True)
class Packed:
    """One batch.

    Attributes:
        tokens: int64 [rows, length].
        targets: int64 [rows, length]: the token that follows, or IGNORED.
        samples: int64 [rows, length]: which sample of its row a token belongs to, from 0; -1 for padding.
        num_samples: samples in the batch.
        num_left_out: samples that were longer than a row.
    """

    tokens: NDArray[np.int64]
    targets: NDArray[np.int64]
    samples: NDArray[np.int64]
    num_samples: int
    num_left_out: int

    @property
    def num_targets(self) -> int:
        """Tokens that are learnt."""
        return int((self.targets != IGNORED).sum())


def sample_tokens(sample: Sample) -> tuple[list[int], int]:
    """Return a sample's tokens, its end included, and how many of them are the prompt."""
    prompt = sample.prompt.encode()
    return [*prompt, *(sample.trace + END).encode(), EOS], len(prompt)


def pack(samples: Iterable[Sample], num_rows: int, length: int) -> Packed:
    """Fill rows with samples, each into the first row that has room, until one sample fits nowhere."""
    tokens = np.full((num_rows, length), PAD, np.int64)
    targets = np.full((num_rows, length), IGNORED, np.int64)
    owners = np.full((num_rows, length), -1, np.int64)
    used, held = [0] * num_rows, [0] * num_rows
    num_left_out = 0
    for sample in samples:
        ids, num_prompt = sample_tokens(sample)
        if len(ids) > length:
            num_left_out += 1
            continue
        row = next((row for row in range(num_rows) if used[row] + len(ids) <= length), None)
        if row is None:
            break
        start, end = used[row], used[row] + len(ids)
        tokens[row, start:end] = ids
        targets[row, start + num_prompt - 1 : end - 1] = ids[num_prompt:]
        owners[row, start:end] = held[row]
        used[row], held[row] = end, held[row] + 1
    return Packed(tokens, targets, owners, sum(held), num_left_out)


def attention_mask(samples: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Let every token see itself and the earlier ones of its own sample: bool [rows, 1, length, length]."""
    length = samples.shape[1]
    mask: NDArray[np.bool_] = (samples[:, :, None] == samples[:, None, :]) & np.tri(length, dtype=bool)
    return mask[:, None]
