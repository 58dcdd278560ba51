"""Tiny transformers as GGUF files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from arts_lite.train.byte_vocab import tokenizer_keys
from arts_lite.train.transformer import NORM_EPSILON, Shape, Transformer
from arts_lite.train.writing import new_gguf

FILE_TYPES = {
    "F32": (0, gguf.GGMLQuantizationType.F32),
    "F16": (1, gguf.GGMLQuantizationType.F16),
    "Q8_0": (7, gguf.GGMLQuantizationType.Q8_0),
}
"""Format -> general.file_type and how matrices are stored; vectors are always F32."""

_BLOCK_NAMES = {
    "attention_norm": "attn_norm",
    "query": "attn_q",
    "key": "attn_k",
    "value": "attn_v",
    "attention_output": "attn_output",
    "ff_norm": "ffn_norm",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
}
EMBEDDING = "token_embd.weight"
_NO_ROWS: Mapping[int, NDArray[np.float32]] = {}
_ARCHITECTURE = "qwen2"  # rotate-half rotary positions and optional biases: nothing has to be permuted or invented


def write_gguf(
    path: Path,
    model: Transformer,
    metadata: Mapping[str, Any],
    *,
    file_type: str = "F16",
    token_rows: Mapping[int, NDArray[np.float32]] = _NO_ROWS,
) -> None:
    """Write a model with its tokenizer, atomically.

    Args:
        metadata: more keys (general.*, arts.*): bool, int, float, str or a list of one of them.
        file_type: "F32", "F16" or "Q8_0".
        token_rows: token -> float32 [dim], in place of the model's own row in the embedding, which is the output layer
            too. With any, a Q8_0 file keeps the embedding in F16: a row of it is to be exact.

    Raises:
        ValueError: no such format.
        TrainingError: the file cannot be written.
    """
    if file_type not in FILE_TYPES:
        raise ValueError(f"file_type is {file_type!r}, but must be one of {', '.join(FILE_TYPES)}")
    number, stored_as = FILE_TYPES[file_type]
    with new_gguf(path, _ARCHITECTURE) as writer:
        keys = {"general.file_type": number, "general.quantization_version": 2}
        for key, value in {**keys, **_shape_keys(model.shape), **tokenizer_keys(), **metadata}.items():
            add_key(writer, key, value)
        for name, weight in tensors(model).items():
            kind = stored_as if weight.ndim > 1 else gguf.GGMLQuantizationType.F32
            if name == EMBEDDING and token_rows:
                weight = weight.copy()
                for token, row in token_rows.items():
                    weight[token] = row
                kind = gguf.GGMLQuantizationType.F16 if file_type == "Q8_0" else kind
            writer.add_tensor(name, gguf.quants.quantize(weight, kind), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()


def tensors(model: Transformer) -> dict[str, NDArray[np.float32]]:
    """A model's weights by their GGUF names, float32."""
    named = {}
    for name, weight in model.state_dict().items():
        named[_gguf_name(name)] = weight.detach().float().cpu().numpy()
    return named


def load_tensors(model: Transformer, weights: Mapping[str, NDArray[np.float32]]) -> None:
    """Put weights under GGUF names into a model of this shape. Raises ValueError: one is missing or does not fit."""
    import torch

    state = {}
    for name, weight in model.state_dict().items():
        found = weights.get(_gguf_name(name))
        if found is None or tuple(found.shape) != tuple(weight.shape):
            shape = "missing" if found is None else f"of shape {tuple(found.shape)}"
            raise ValueError(f"tensor {_gguf_name(name)} is {shape}, but must be {tuple(weight.shape)}")
        state[name] = torch.from_numpy(np.array(found, np.float32))  # a copy: files are mapped read-only
    model.load_state_dict(state)


def read_gguf(path: Path) -> tuple[Shape, dict[str, NDArray[np.float32]]]:
    """Read a tiny model's shape and weights, dequantised to float32. Raises ValueError: it is none of ours."""
    reader = gguf.GGUFReader(path)
    field = reader.get_field("general.architecture")
    if field is None or field.contents() != _ARCHITECTURE:
        raise ValueError(f"{path} is no {_ARCHITECTURE} model; only files that this trainer wrote can be read back")
    keys = {key: reader.get_field(f"{_ARCHITECTURE}.{key}") for key in _SHAPE_KEYS}
    if any(found is None for found in keys.values()):
        raise ValueError(f"{path} lacks {', '.join(key for key, found in keys.items() if found is None)}")
    values = {name: keys[key].contents() for key, name in _SHAPE_KEYS.items()}
    weights = {one.name: gguf.quants.dequantize(one.data, one.tensor_type) for one in reader.tensors}
    return Shape(**values), weights


_SHAPE_KEYS = {
    "embedding_length": "dim",
    "block_count": "num_layers",
    "attention.head_count": "num_heads",
    "attention.head_count_kv": "num_kv_heads",
    "feed_forward_length": "ff_dim",
    "vocab_size": "num_tokens",
    "context_length": "max_positions",
    "rope.freq_base": "rope_base",
}


def _shape_keys(shape: Shape) -> dict[str, Any]:
    keys: dict[str, Any] = {f"{_ARCHITECTURE}.{key}": getattr(shape, name) for key, name in _SHAPE_KEYS.items()}
    keys[f"{_ARCHITECTURE}.rope.dimension_count"] = shape.head_dim
    keys[f"{_ARCHITECTURE}.attention.layer_norm_rms_epsilon"] = NORM_EPSILON
    return keys


def _gguf_name(name: str) -> str:
    parts = name.split(".")
    if parts[0] == "blocks":
        return f"blk.{parts[1]}.{_BLOCK_NAMES[parts[2]]}.weight"
    return {"embedding": EMBEDDING, "norm": "output_norm.weight"}[parts[0]]


def add_key(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    """Add one metadata value of a type that suits it: what llama.cpp reads is float32, what only we read is exact."""
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        add = writer.add_float64 if key.startswith("arts.") else writer.add_float32
        add(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)
