"""llama_decode called straight through llama-cpp-python's bindings: the limit that the engine is measured against."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence

import llama_cpp.llama_cpp as llama
import numpy as np
from numpy.typing import NDArray


class RawBatch:
    """The arrays of a llama_batch, written through numpy.

    One row carries one token at one position of one sequence.
    """

    def __init__(self, max_rows: int) -> None:
        self._tokens = np.zeros(max_rows, np.int32)
        self._positions = np.zeros(max_rows, np.int32)
        self._num_ids = np.ones(max_rows, np.int32)
        self._ids = np.zeros(max_rows, np.int32)
        self._is_output = np.zeros(max_rows, np.int8)
        start = self._ids.ctypes.data
        self._id_pointers = np.arange(start, start + 4 * max_rows, 4, dtype=np.uint64)

    def fill(
        self, tokens: Sequence[int], positions: Sequence[int], ids: Sequence[int], *, is_output: bool
    ) -> llama.llama_batch:
        """Write rows of (token, position, sequence); valid until the next call."""
        num_rows = len(tokens)
        self._tokens[:num_rows] = tokens
        self._positions[:num_rows] = positions
        self._ids[:num_rows] = ids
        self._is_output[:num_rows] = is_output
        return llama.llama_batch(
            n_tokens=num_rows,
            token=_pointer(self._tokens, ctypes.c_int32),
            embd=None,
            pos=_pointer(self._positions, ctypes.c_int32),
            n_seq_id=_pointer(self._num_ids, ctypes.c_int32),
            seq_id=_pointer(self._id_pointers, ctypes.POINTER(ctypes.c_int32)),
            logits=_pointer(self._is_output, ctypes.c_int8),
        )


def _pointer(array: NDArray[np.generic], kind: type) -> object:
    return array.ctypes.data_as(ctypes.POINTER(kind))


class RawDecoder:
    """Decodes given shapes on a llama_context whose cache it owns for the moment (the engine over it must be idle)."""

    def __init__(self, context: int, max_rows: int = 512) -> None:
        self._context = ctypes.cast(context, llama.llama_context_p_ctypes)
        self._memory = llama.llama_get_memory(self._context)
        self._batch = RawBatch(max_rows)
        self._max_rows = max_rows

    def prefill(self, tokens: Sequence[int], sequence: int = 0) -> None:
        """Decode a prompt into a sequence, without logits."""
        for start in range(0, len(tokens), self._max_rows):
            chunk = tokens[start : start + self._max_rows]
            positions = range(start, start + len(chunk))
            self._decode(self._batch.fill(chunk, list(positions), [sequence] * len(chunk), is_output=False))

    def fork(self, sequence: int, length: int, source: int = 0) -> None:
        """Copy the first `length` positions (-1: all) of a sequence."""
        llama.llama_memory_seq_cp(self._memory, source, sequence, 0, length)

    def step(self, tokens: Sequence[int], position: int, sequences: Sequence[int]) -> float:
        """Advance sequences by one token each, logits computed; returns seconds."""
        batch = self._batch.fill(tokens, [position] * len(tokens), sequences, is_output=True)
        start = time.perf_counter()
        self._decode(batch)
        return time.perf_counter() - start

    def clear(self) -> None:
        """Empty the cache as the engine does, sequence by sequence: llama_memory_clear would move its head too."""
        for sequence in range(256):
            llama.llama_memory_seq_rm(self._memory, sequence, 0, -1)

    def _decode(self, batch: llama.llama_batch) -> None:
        status = llama.llama_decode(self._context, batch)
        llama.llama_synchronize(self._context)
        if status != 0:
            raise RuntimeError(f"llama_decode returned {status}")
