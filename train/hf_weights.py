"""A Hugging Face model's weights by the names, and in the layout, of its GGUF."""

from __future__ import annotations

from collections.abc import Mapping

import gguf
import torch
from torch import Tensor

from arts_lite.errors import TrainingError
from arts_lite.train.gguf_files import Template

_PERMUTED = frozenset({"llama"})  # rotary pairs are neighbours in the GGUF, and half a head apart here
_NORMS_PLUS_ONE = frozenset({"gemma2", "gemma3"})  # the GGUF holds 1 + weight
EXPORTABLE = (*_PERMUTED, *_NORMS_PLUS_ONE, "qwen2", "qwen3")
"""GGUF architectures whose weights can be written back."""


def check_exportable(architecture: str) -> None:
    """Raise TrainingError if a model of this GGUF architecture could be trained, but not be written back."""
    if architecture not in EXPORTABLE:
        raise TrainingError(
            f"models of the architecture {architecture!r} cannot be exported, only those of "
            f"{', '.join(sorted(EXPORTABLE))}; choose another base"
        )


def gguf_weights(template: Template, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename and lay out a language model's state dict (LoRA merged) for `rewrite`.

    A tied output layer is left out, and so are biases of zero that the template lacks. Tensors keep their precision,
    but for the norms of gemma (float32).

    Raises:
        TrainingError: the architecture cannot be exported, or a tensor has no place in the template.
    """
    check_exportable(template.architecture)
    [number] = [one for one, name in gguf.MODEL_ARCH_NAMES.items() if name == template.architecture]
    names = gguf.get_tensor_name_map(number, template.arch_number("block_count"))
    weights: dict[str, Tensor] = {}
    tied: list[Tensor] = []
    for name, weight in state.items():
        full = name if name.startswith(("model.", "lm_head.")) else f"model.{name}"
        found = names.get_name(full, try_suffixes=(".weight", ".bias"))
        if found in template.tensors:
            weights[found] = _laid_out(template, found, weight)
        elif found == "output.weight":
            tied.append(weight)
        elif found is None or not name.endswith(".bias") or weight.any():  # transformers adds biases of zero
            raise TrainingError(f"{name} has no place in {template.path}: the trained model is not of this base")
    if any(not torch.equal(weight, weights.get("token_embd.weight", weight)) for weight in tied):
        raise TrainingError(
            f"the output layer was trained apart from the embedding, but {template.path} ties the two; train without it"
        )
    return weights


def _laid_out(template: Template, name: str, weight: Tensor) -> Tensor:
    if template.architecture in _PERMUTED and (".attn_q." in name or ".attn_k." in name):
        is_grouped = ".attn_k." in name and template.header.arch_value("attention.head_count_kv") is not None
        num_heads = template.arch_number("attention.head_count_kv" if is_grouped else "attention.head_count")
        halves = weight.reshape(num_heads, 2, weight.shape[0] // num_heads // 2, *weight.shape[1:])
        return halves.transpose(1, 2).reshape(weight.shape)
    if template.architecture in _NORMS_PLUS_ONE and name.endswith("norm.weight"):
        return weight.float() + 1
    return weight
