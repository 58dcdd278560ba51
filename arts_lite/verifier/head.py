"""The value head: what turns a hidden state into a number."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A linear map from a hidden state (after the final norm) to one number.

    Attributes:
        weight: float32 [n_embd], read-only.
        bias: a float32's value.

    Raises:
        ValueError: the weight is no vector, is empty, or a number is not finite.
    """

    weight: NDArray[np.float32] = field(repr=False)
    bias: float

    def __post_init__(self) -> None:
        weight = np.array(self.weight, np.float32)
        if weight.ndim != 1 or not weight.size:
            raise ValueError(f"the head's weight has the shape {weight.shape}, but must be a vector of n_embd numbers")
        if not np.isfinite(weight).all() or not math.isfinite(self.bias):
            raise ValueError("the head holds numbers that are not finite; train it again with a lower learning rate")
        weight.setflags(write=False)
        object.__setattr__(self, "weight", weight)
        object.__setattr__(self, "bias", float(np.float32(self.bias)))

    def __call__(self, hidden: NDArray[np.float32]) -> NDArray[np.float32]:
        """Apply it: float32 [..., n_embd] -> float32 [...], not calibrated."""
        values: NDArray[np.float32] = hidden @ self.weight + np.float32(self.bias)
        return values

    @property
    def data(self) -> bytes:
        """Weight, then bias, as little-endian float32."""
        return np.append(self.weight, np.float32(self.bias)).astype("<f4").tobytes()
