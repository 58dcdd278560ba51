"""Write tiny GGUF models with random weights: real files for real llama.cpp, made in milliseconds.

The default is a ``qwen2`` of about 0.15 M parameters whose token ids are bytes, so ``tokens == list(text.encode())``.
Its text is random but looks like text (letters, digits, spaces, a newline in about 20 tokens) and ends by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

NUM_TOKENS = 288
BOS, EOS, PAD, STEP = 256, 257, 258, 259
CHAT_TEMPLATE = (
    "{% for m in messages %}<|bos|>{{ m['role'] }}\n{{ m['content'] }}<|pad|>{% endfor %}"
    "{% if add_generation_prompt %}<|bos|>assistant\n{% endif %}"
)
TEXT_BIAS: Mapping[int, float] = {
    **dict.fromkeys(b"abcdefghijklmnopqrstuvwxyz0123456789.=+", 5.0),
    ord("\n"): 6.5,
    ord(" "): 6.5,
    EOS: 5.0,
    **dict.fromkeys((BOS, PAD, STEP, *range(260, NUM_TOKENS)), -20.0),
}
SPM_FIRST_BYTE, SPM_BOS, SPM_EOS = 3, 1, 2

Weight = NDArray[np.float32]


@dataclass(frozen=True)
class TinyModel:
    """What to write. Every choice is a field, so that a test names only the one that it is about."""

    architecture: str = "qwen2"  #: qwen2 | llama | gemma3 (sliding window) | mamba | bert
    seed: int = 0
    num_layers: int = 2
    num_heads: int = 2
    num_kv_heads: int = 1
    head_dim: int = 32
    ff_dim: int = 128
    ctx_train: int = 4096
    sliding_window: int = 64
    float_type: str = "f16"  #: f16 | f32
    chat_template: str | None = CHAT_TEMPLATE
    add_bos: bool = False
    bias: Mapping[int, float] = field(default_factory=lambda: TEXT_BIAS)  #: token -> amount added to its logit
    metadata: Mapping[str, Any] = field(default_factory=dict)  #: more keys; a value of None removes a key
    stored_as: Mapping[str, str] = field(default_factory=dict)  #: tensor -> number format of its own, e.g. "F64"
    with_tensors: bool = True  #: False: a vocabulary-only file

    @property
    def dim(self) -> int:
        return self.num_heads * self.head_dim

    @property
    def logit_bias(self) -> Mapping[int, float]:
        if self.architecture != "llama":
            return self.bias
        return {SPM_EOS if token == EOS else token + SPM_FIRST_BYTE: amount for token, amount in self.bias.items()}


def byte_tokens() -> list[str]:
    """GPT-2's printable stand-ins of the 256 bytes, in byte order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    stand_ins = {byte: chr(byte) for byte in printable}
    others = [byte for byte in range(256) if byte not in stand_ins]
    stand_ins |= {byte: chr(256 + i) for i, byte in enumerate(others)}
    return [stand_ins[byte] for byte in range(256)]


def write_tiny_gguf(path: Path, model: TinyModel = TinyModel()) -> Path:
    """Write one model file and return its path."""
    writer = gguf.GGUFWriter(path, model.architecture)
    keys = _hyperparameters(model) | (_spm_vocab() if model.architecture == "llama" else _byte_vocab(model))
    for key, value in (keys | dict(model.metadata)).items():
        if value is not None:
            _add_key(writer, key, value)
    float_16 = model.float_type == "f16" and model.architecture != "mamba"  # its convolution needs f32
    if model.with_tensors:
        for name, weight in _tensors(model).items():
            stored = weight.astype(np.float16) if float_16 and weight.ndim > 1 else weight
            if name in model.stored_as:
                stored = weight.astype({"F16": "f2", "F64": "f8", "I8": "i1", "I32": "i4"}[model.stored_as[name]])
            writer.add_tensor(name, stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_key(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        add = writer.add_float64 if key.startswith("arts.verifier.") else writer.add_float32
        add(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def _hyperparameters(model: TinyModel) -> dict[str, Any]:
    arch = model.architecture
    keys: dict[str, Any] = {
        "general.name": f"tiny random {arch}",
        "general.file_type": 1 if model.float_type == "f16" else 0,
        "general.quantization_version": 2,
        f"{arch}.vocab_size": NUM_TOKENS,
        f"{arch}.context_length": model.ctx_train,
        f"{arch}.embedding_length": model.dim,
        f"{arch}.block_count": model.num_layers,
        f"{arch}.feed_forward_length": model.ff_dim,
        f"{arch}.attention.head_count": model.num_heads,
        f"{arch}.attention.head_count_kv": model.num_kv_heads,
        f"{arch}.attention.layer_norm_rms_epsilon": 1e-6,
        f"{arch}.rope.dimension_count": model.head_dim,
        f"{arch}.rope.freq_base": 10000.0,
    }
    if arch == "gemma3":
        keys[f"{arch}.attention.key_length"] = model.head_dim
        keys[f"{arch}.attention.value_length"] = model.head_dim
        keys[f"{arch}.attention.sliding_window"] = model.sliding_window
    if arch == "bert":
        keys[f"{arch}.attention.layer_norm_epsilon"] = 1e-6
        keys[f"{arch}.attention.causal"] = False
        keys[f"{arch}.pooling_type"] = 1
        keys["tokenizer.ggml.token_type_count"] = 1
    if arch == "mamba":
        keys |= {f"{arch}.attention.head_count": 0, f"{arch}.attention.head_count_kv": None}
        keys |= {f"{arch}.feed_forward_length": 0}
        keys |= {f"{arch}.ssm.conv_kernel": 4, f"{arch}.ssm.inner_size": 2 * model.dim}
        keys |= {f"{arch}.ssm.state_size": 16, f"{arch}.ssm.time_step_rank": 4}
    return keys


def _byte_vocab(model: TinyModel) -> dict[str, Any]:
    specials = ["<|bos|>", "<|endoftext|>", "<|pad|>", "<|step|>", "ÿÿ"]
    tokens = byte_tokens() + specials + [f"<|unused{i}|>" for i in range(1, NUM_TOKENS - 256 - len(specials) + 1)]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [1] * 256 + [3] * 4 + [1] + [5] * (NUM_TOKENS - 261),
        # llama.cpp insists on merges; this one can never fire, because UTF-8 has no byte 0xFF
        "tokenizer.ggml.merges": ["ÿ ÿ"],
        "tokenizer.ggml.bos_token_id": BOS,
        "tokenizer.ggml.eos_token_id": EOS,
        "tokenizer.ggml.padding_token_id": PAD,
        "tokenizer.ggml.add_bos_token": model.add_bos,
        "tokenizer.ggml.add_eos_token": False,
        "tokenizer.ggml.add_space_prefix": False,
        "tokenizer.chat_template": model.chat_template,
    }


def _spm_vocab() -> dict[str, Any]:
    """A SentencePiece vocabulary of nothing but bytes: ids 3 to 258 are the bytes 0 to 255; BOS is added."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁"]
    types = [2, 3, 3] + [6] * 256 + [1]
    unused = NUM_TOKENS - len(tokens)
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens + [f"<unused{i}>" for i in range(unused)],
        "tokenizer.ggml.scores": [0.0] * NUM_TOKENS,
        "tokenizer.ggml.token_type": types + [5] * unused,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_space_prefix": False,
    }


def _tensors(model: TinyModel) -> dict[str, Weight]:
    rng = np.random.default_rng(model.seed)
    dim = model.dim

    def dense(rows: int, columns: int, gain: float = 1.0) -> Weight:
        return rng.normal(0.0, gain / np.sqrt(columns), (rows, columns)).astype(np.float32)

    # Dimension 0 is the same for every token and no layer writes to it, so that column 0 of the output layer is a bias.
    embedding = dense(NUM_TOKENS, dim, gain=np.sqrt(dim))
    embedding[:, 0] = 24.0
    output = dense(NUM_TOKENS, dim, gain=1.5)
    output[:, 0] = [model.logit_bias.get(token, 0.0) / np.sqrt(dim) for token in range(NUM_TOKENS)]
    tensors = {"token_embd.weight": embedding, "output_norm.weight": np.ones(dim, np.float32), "output.weight": output}
    layer = _mamba_layer if model.architecture == "mamba" else _attention_layer
    for index in range(model.num_layers):
        tensors |= {f"blk.{index}.{name}": weight for name, weight in layer(model, dense).items()}
    if model.architecture == "bert":
        del tensors["output_norm.weight"], tensors["output.weight"]
        tensors |= {f"token_embd_norm.{kind}": np.ones(dim, np.float32) for kind in ("weight", "bias")}
        tensors["position_embd.weight"] = dense(model.ctx_train, dim)
    return tensors


def _attention_layer(model: TinyModel, dense: Callable[..., Weight]) -> dict[str, Weight]:
    dim, kv_dim = model.dim, model.num_kv_heads * model.head_dim
    layer = {
        "attn_norm.weight": np.ones(dim, np.float32),
        "attn_q.weight": dense(dim, dim, 2.0),
        "attn_k.weight": dense(kv_dim, dim, 2.0),
        "attn_v.weight": dense(kv_dim, dim, 2.0),
        "attn_output.weight": _keeping_dimension_0(dense(dim, dim)),
        "ffn_norm.weight": np.ones(dim, np.float32),
        "ffn_gate.weight": dense(model.ff_dim, dim, 2.0),
        "ffn_up.weight": dense(model.ff_dim, dim, 2.0),
        "ffn_down.weight": _keeping_dimension_0(dense(dim, model.ff_dim)),
    }
    if model.architecture == "gemma3":
        names = {"attn_q_norm": model.head_dim, "attn_k_norm": model.head_dim}
        names |= {"post_attention_norm": dim, "post_ffw_norm": dim}
        layer |= {f"{name}.weight": np.ones(size, np.float32) for name, size in names.items()}
    if model.architecture == "bert":
        del layer["attn_norm.weight"], layer["ffn_norm.weight"], layer["ffn_gate.weight"]
        for name in ("attn_output_norm", "layer_output_norm"):
            layer |= {f"{name}.{kind}": np.ones(dim, np.float32) for kind in ("weight", "bias")}
    return layer


def _mamba_layer(model: TinyModel, dense: Callable[..., Weight]) -> dict[str, Weight]:
    dim, inner, state, rank = model.dim, 2 * model.dim, 16, 4
    return {
        "attn_norm.weight": np.ones(dim, np.float32),
        "ssm_in.weight": dense(2 * inner, dim),
        "ssm_conv1d.weight": dense(inner, 4),
        "ssm_conv1d.bias": np.zeros(inner, np.float32),
        "ssm_x.weight": dense(rank + 2 * state, inner),
        "ssm_dt.weight": dense(inner, rank),
        "ssm_dt.bias": np.zeros(inner, np.float32),
        "ssm_a": -np.ones((inner, state), np.float32),
        "ssm_d": np.ones(inner, np.float32),
        "ssm_out.weight": _keeping_dimension_0(dense(dim, inner)),
    }


def _keeping_dimension_0(weight: Weight) -> Weight:
    weight[0] = 0.0
    return weight
