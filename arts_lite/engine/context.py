"""Make a llama_context that branches can fork in, and check that they can."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as llama

from arts_lite.engine import log
from arts_lite.engine.capacity import CachePlan
from arts_lite.engine.config import EngineConfig
from arts_lite.engine.model import Model
from arts_lite.engine.preflight import check_lora_file
from arts_lite.errors import ModelLoadError, UnsupportedModelError

_FLASH = {None: -1, False: 0, True: 1}


def make_context(model: Model, config: EngineConfig, plan: CachePlan) -> int:
    """Create a context over a retained model; returns its llama_context pointer, for `llama_free`.

    Raises:
        ModelLoadError: llama.cpp refuses, mostly for want of memory; or an adapter does not fit.
        UnsupportedModelError: a forked sequence does not hold what it should.
    """
    params = llama.llama_context_default_params()
    params.n_ctx = plan.num_cells
    # llama.cpp asserts that a batch holds a row of each sequence, and takes no larger one than the context
    params.n_batch = min(config.max_prefill_rows, plan.num_cells)
    params.n_ubatch = params.n_batch
    params.n_seq_max = config.num_sequences
    params.n_outputs_max = max(config.num_sequences, plan.max_rows)
    params.n_threads = plan.threads
    params.n_threads_batch = plan.prefill_threads
    params.flash_attn_type = _FLASH[config.flash_attention]
    params.type_k = config.kv_type.ggml_type
    params.type_v = (config.kv_type_v or config.kv_type).ggml_type
    params.offload_kqv = config.offload_kv
    params.embeddings = False  # the extension turns it on for the calls whose hidden states are read
    params.pooling_type = llama.LLAMA_POOLING_TYPE_NONE
    params.kv_unified = True
    params.swa_full = True
    pointer = model.retain()
    try:
        with log.captured(config.verbose) as lines:
            context = llama.llama_init_from_model(pointer, params)
            why = log.reason(lines)
        if not context:
            raise ModelLoadError(
                f"llama.cpp cannot make a context of {plan.num_cells} cells ({plan.num_bytes / 2**30:.2f} GiB) for "
                f"{model.path}: {why}"
            )
    finally:
        model.release()
    with log.captured(config.verbose):
        try:
            _add_adapters(model, context, config)
            _check_forks(model, context)
        except BaseException:
            llama.llama_free(context)
            raise
    return int(context)


def _add_adapters(model: Model, context: int, config: EngineConfig) -> None:
    adapters, scales = [], []
    for entry in config.lora:
        path, scale = entry if isinstance(entry, tuple) else (entry, 1.0)
        adapters.append(_load_adapter(model, Path(path)))
        scales.append(float(scale))
    if adapters:
        count = len(adapters)
        failed = llama.llama_set_adapters_lora(
            context, (llama.llama_adapter_lora_p_ctypes * count)(*adapters), count, (ctypes.c_float * count)(*scales)
        )
        if failed:
            raise ModelLoadError(f"llama.cpp does not apply the LoRA adapters {[str(entry) for entry in config.lora]}")


def _load_adapter(model: Model, path: Path) -> Any:
    check_lora_file(path, model.architecture)
    with log.captured() as lines:
        adapter = llama.llama_adapter_lora_init(model.retain(), os.fsencode(path))
        why = log.reason(lines)
    model.release()
    if not adapter:
        raise ModelLoadError(f"llama.cpp cannot load the LoRA adapter {path}: {why}")
    return adapter


def _check_forks(model: Model, context: int) -> None:
    """Fork three tokens at the second and look at the positions; also the first, slow decode is over then."""
    count = 3
    token = model.vocab.bos if model.vocab.bos is not None else 0
    tokens = (ctypes.c_int32 * count)(*[token] * count)
    result = llama.llama_decode(context, llama.llama_batch_get_one(tokens, count))
    if result != 0:
        raise UnsupportedModelError(f"{model.path} cannot be decoded with: llama_decode returned {result}")
    llama.llama_synchronize(context)
    memory = llama.llama_get_memory(context)
    if not memory:
        raise UnsupportedModelError(f"{model.path} has no KV cache to fork: it does not generate token by token")
    llama.llama_memory_seq_cp(memory, 0, 1, 0, count - 1)
    forked = llama.llama_memory_seq_pos_min(memory, 1), llama.llama_memory_seq_pos_max(memory, 1)
    llama.llama_memory_clear(memory, True)
    if forked != (0, count - 2):
        raise UnsupportedModelError(
            f"{model.path} cannot be forked at an earlier position: a fork of {count - 1} tokens holds the positions "
            f"{forked[0]} to {forked[1]}"
        )
