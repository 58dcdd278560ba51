"""Hidden states and logits of every token of a text, from llama.cpp by hand: what trained models are compared with."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import llama_cpp.llama_cpp as llama
import numpy as np
from numpy.typing import NDArray

from arts_lite.engine import log

Array = NDArray[np.float32]
_GGML_TYPES = {"f32": 0, "f16": 1}
_POOLING_NONE = 0


class HiddenStates:
    """One model in one context; every call starts from an empty cache."""

    def __init__(self, model: int, context: int) -> None:
        self._context = context
        self._dim = llama.llama_model_n_embd(model)
        self._vocab = llama.llama_model_get_vocab(model)
        self._num_tokens = llama.llama_vocab_n_tokens(self._vocab)

    def __call__(self, tokens: Sequence[int]) -> tuple[Array, Array]:
        """Decode a text in one call; returns states [num_tokens, n_embd] and logits [num_tokens, vocabulary]."""
        llama.llama_memory_clear(llama.llama_get_memory(self._context), True)
        batch = llama.llama_batch_init(len(tokens), 0, 1)
        batch.n_tokens = len(tokens)
        for index, token in enumerate(tokens):
            batch.token[index] = token
            batch.pos[index] = index
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = 0
            batch.logits[index] = True
        result = llama.llama_decode(self._context, batch)
        llama.llama_batch_free(batch)
        assert result == 0, f"llama_decode returned {result}"
        states = [llama.llama_get_embeddings_ith(self._context, index) for index in range(len(tokens))]
        logits = [llama.llama_get_logits_ith(self._context, index) for index in range(len(tokens))]
        return (
            np.stack([np.ctypeslib.as_array(row, (self._dim,)).copy() for row in states]),
            np.stack([np.ctypeslib.as_array(row, (self._num_tokens,)).copy() for row in logits]),
        )

    def tokenise(self, text: str) -> list[int]:
        """Turn plain text into tokens."""
        data = text.encode()
        buffer = (llama.llama_token * (len(data) + 2))()
        count = llama.llama_tokenize(self._vocab, data, len(data), buffer, len(buffer), False, False)
        assert count >= 0
        return buffer[:count]


@contextmanager
def hidden_states(path: Path, *, kv_type: str = "f16", num_tokens: int = 512) -> Iterator[HiddenStates]:
    """Open a file for texts of at most so many tokens."""
    with log.captured():
        options = llama.llama_model_default_params()
        options.n_gpu_layers = 0
        model = llama.llama_model_load_from_file(os.fsencode(path), options)
        assert model, f"llama.cpp does not load {path}"
        params = llama.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = num_tokens
        params.n_threads = params.n_threads_batch = 1
        params.embeddings = True
        params.pooling_type = _POOLING_NONE
        params.type_k = params.type_v = _GGML_TYPES[kv_type]
        params.flash_attn_type = 0
        context = llama.llama_init_from_model(model, params)
    try:
        assert context, "llama.cpp makes no context"
        yield HiddenStates(model, context)
    finally:
        llama.llama_free(context)
        llama.llama_model_free(model)
