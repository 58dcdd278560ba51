"""Say what a GGUF file is and what a search with it would need, without loading its weights."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from arts_lite.engine.capacity import plan_cells
from arts_lite.engine.config import DEFAULT_CONFIG, EngineConfig
from arts_lite.engine.gguf import GGUFHeader, Scalar, read_header
from arts_lite.engine.hub import resolve
from arts_lite.engine.preflight import check_model_file, split_paths
from arts_lite.errors import ModelLoadError, UnsupportedModelError


@dataclass(frozen=True)
class ModelDescription:
    """What a GGUF file is.

    Attributes:
        path, name, architecture: of the file. A size_label such as "1.5B" is the file's own.
        num_params, num_bytes: of all weights, over all parts of a split model.
        quantisation: the number format of most weights, e.g. "Q4_K".
        ctx_train, num_layers, dim, num_heads, num_kv_heads, sliding_window: the shape; 0 where the file does not say.
        num_tokens, tokenizer: the vocabulary.
        chat_template: the file's own, or None.
        arts: our own keys, ``arts.*``.
        can_fork: whether a search can use it; if not, `why_not` says why.
        num_bytes_per_cell: of the KV cache, for one token.
        ctx_size, num_cells, num_cache_bytes, num_total_bytes: what a search at this context size and number of traces
            would take: longest trace, cells, bytes of the cache, and with the weights. 0 where it cannot be used.
    """

    path: str
    name: str
    architecture: str
    size_label: str
    num_params: int
    num_bytes: int
    quantisation: str
    ctx_train: int
    num_layers: int
    dim: int
    num_heads: int
    num_kv_heads: int
    sliding_window: int
    num_tokens: int
    tokenizer: str
    chat_template: str | None
    arts: Mapping[str, Scalar]
    can_fork: bool
    why_not: str | None
    num_bytes_per_cell: int
    ctx_size: int
    num_cells: int
    num_cache_bytes: int
    num_total_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return dataclasses.asdict(self)


def describe(path: str | os.PathLike[str], config: EngineConfig = DEFAULT_CONFIG) -> ModelDescription:
    """Describe a GGUF file; reads its header only. `config` says for which ctx_size, num_traces and kv_type.

    Raises:
        ModelLoadError: the file is missing, damaged or no GGUF. A sound file that cannot be searched with is no error.
    """
    file = resolve(path)
    header = read_header(file)
    try:
        check_model_file(file)
        why_not = None
    except (UnsupportedModelError, ModelLoadError) as error:
        why_not = str(error)
    need = plan_cells(header, config) if why_not is None else (0, 0, 0)
    parts = [header, *(read_header(part) for part in split_paths(header)[1:])] if why_not is None else [header]
    num_bytes = sum(tensor.num_bytes or 0 for part in parts for tensor in part.tensors)
    ctx_size, num_cells, per_cell = need
    return ModelDescription(
        path=str(file),
        name=header.text("general.name") or file.stem,
        architecture=header.architecture,
        size_label=header.text("general.size_label") or "",
        num_params=sum(tensor.num_elements for part in parts for tensor in part.tensors),
        num_bytes=num_bytes,
        quantisation=_quantisation(parts),
        **_shape(header),
        tokenizer=header.text("tokenizer.ggml.model") or "",
        chat_template=header.text("tokenizer.chat_template"),
        arts={key: value for key, value in header.metadata.items() if _is_ours(key) and not isinstance(value, list)},
        can_fork=why_not is None,
        why_not=why_not,
        num_bytes_per_cell=per_cell,
        ctx_size=ctx_size,
        num_cells=num_cells,
        num_cache_bytes=num_cells * per_cell,
        num_total_bytes=num_bytes + num_cells * per_cell if why_not is None else 0,
    )


def _is_ours(key: str) -> bool:
    return key.startswith("arts.")


def _shape(header: GGUFHeader) -> dict[str, int]:
    def first(key: str) -> int:
        value = header.arch_value(key)
        largest = max(value, default=0) if isinstance(value, list) else value
        return largest if type(largest) is int else 0

    tokens = header.metadata.get("tokenizer.ggml.tokens")
    num_heads = first("attention.head_count")
    return {
        "ctx_train": first("context_length"),
        "num_layers": first("block_count"),
        "dim": first("embedding_length"),
        "num_heads": num_heads,
        "num_kv_heads": first("attention.head_count_kv") or num_heads,
        "sliding_window": first("attention.sliding_window"),
        "num_tokens": len(tokens) if isinstance(tokens, list) else 0,
    }


def _quantisation(parts: list[GGUFHeader]) -> str:
    weights: Counter[str] = Counter()
    for part in parts:
        for tensor in part.tensors:
            weights[tensor.type_name] += tensor.num_elements
    return weights.most_common(1)[0][0] if weights else ""
