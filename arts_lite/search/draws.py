"""Random numbers that are a function of their key: no state, no order of calls, the same on every machine."""

from __future__ import annotations

import struct
from hashlib import blake2b


def uniform(seed: int, *key: int) -> float:
    """Draw the number in [0, 1) that belongs to (seed, key); ints of at most 64 bits."""
    words = struct.pack(f"<{len(key) + 1}q", seed, *key)
    return int.from_bytes(blake2b(words, digest_size=8).digest()[:7], "little") / (1 << 56)


def coin(probability: float, seed: int, *key: int) -> bool:
    """Flip the coin that belongs to (seed, key): True with this probability."""
    return uniform(seed, *key) < probability
