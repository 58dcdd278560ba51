"""llama.cpp by hand, through llama-cpp-python's bindings: what the engine is compared with."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import llama_cpp.llama_cpp as llama
import numpy as np
from numpy.typing import NDArray

from arts_lite.engine import EngineConfig, Model
from arts_lite.engine.capacity import plan_cache
from arts_lite.engine.context import make_context
from arts_lite.types import SamplingParams


class RawContext:
    """One llama_context, made as the engine makes its own, driven call by call."""

    def __init__(self, pointer: int, num_tokens: int) -> None:
        self.pointer = pointer
        self.memory = llama.llama_get_memory(pointer)
        self.num_tokens = num_tokens

    def decode(self, rows: Sequence[tuple[int, int, int]]) -> list[NDArray[np.float32]]:
        """Decode rows of (token, position, sequence); returns the logits of each."""
        batch = llama.llama_batch_init(len(rows), 0, 1)
        batch.n_tokens = len(rows)
        for index, (token, position, sequence) in enumerate(rows):
            batch.token[index] = token
            batch.pos[index] = position
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = sequence
            batch.logits[index] = True
        result = llama.llama_decode(self.pointer, batch)
        llama.llama_batch_free(batch)
        assert result == 0, f"llama_decode returned {result}"
        return [self._row(index) for index in range(len(rows))]

    def prefill(self, tokens: Sequence[int], sequence: int = 0) -> NDArray[np.float32]:
        """Decode a prompt in one call, with logits for its last token only."""
        batch = llama.llama_batch_init(len(tokens), 0, 1)
        batch.n_tokens = len(tokens)
        for index, token in enumerate(tokens):
            batch.token[index] = token
            batch.pos[index] = index
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = sequence
            batch.logits[index] = index == len(tokens) - 1
        result = llama.llama_decode(self.pointer, batch)
        llama.llama_batch_free(batch)
        assert result == 0, f"llama_decode returned {result}"
        return self._row(len(tokens) - 1)

    def fork(self, source: int, target: int, position: int) -> None:
        llama.llama_memory_seq_cp(self.memory, source, target, 0, position)

    def _row(self, index: int) -> NDArray[np.float32]:
        pointer = llama.llama_get_logits_ith(self.pointer, index)
        return np.ctypeslib.as_array(pointer, (self.num_tokens,)).copy()


@contextmanager
def raw_context(model: Model, config: EngineConfig) -> Iterator[RawContext]:
    """Open a bare context over a model."""
    model.retain()
    pointer = make_context(model, config, plan_cache(model.header, model.num_params, config))
    try:
        yield RawContext(pointer, model.vocab.num_tokens)
    finally:
        llama.llama_free(pointer)
        model.release()


def chain_probabilities(
    logits: NDArray[np.float32], params: SamplingParams, history: Sequence[int]
) -> NDArray[np.float64]:
    """Probabilities that llama.cpp's own sampler chain, in our order, gives each token. float32[n] -> float64[n]."""
    size = len(logits)
    chain = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
    bias = dict(params.logit_bias) | dict.fromkeys(params.banned_tokens, float("-inf"))
    entries = (llama.llama_logit_bias * max(1, len(bias)))(*[llama.llama_logit_bias(t, b) for t, b in bias.items()])
    for sampler in (
        llama.llama_sampler_init_logit_bias(size, len(bias), entries),
        llama.llama_sampler_init_penalties(size, params.repeat_last_n, params.repeat_penalty, 0.0, 0.0),
        llama.llama_sampler_init_temp(params.temperature),
        llama.llama_sampler_init_top_k(params.top_k),
        llama.llama_sampler_init_top_p(params.top_p, 1),
        llama.llama_sampler_init_min_p(params.min_p, 1),
    ):
        llama.llama_sampler_chain_add(chain, sampler)
    for token in history:
        llama.llama_sampler_accept(chain, token)
    data = (llama.llama_token_data * size)(*[llama.llama_token_data(t, float(x), 0.0) for t, x in enumerate(logits)])
    array = llama.llama_token_data_array(data, size, -1, False)
    llama.llama_sampler_apply(chain, ctypes.byref(array))
    kept = {array.data[i].id: array.data[i].logit for i in range(array.size)}
    llama.llama_sampler_free(chain)
    probabilities = np.zeros(size)
    top = max(kept.values())
    for token, logit in kept.items():
        probabilities[token] = np.exp(logit - top)
    return probabilities / probabilities.sum()
