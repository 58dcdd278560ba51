"""Refuse, before llama.cpp sees it, a file that would make llama.cpp abort the process or that a search cannot use.

llama.cpp checks most of a GGUF itself and reports it; the checks here are for what it only asserts.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from arts_lite.engine.gguf import GGUFHeader, read_header
from arts_lite.errors import ModelLoadError, UnsupportedModelError

_MAX_LAYERS, _MAX_EXPERTS, _MAX_WINDOW = 512, 1024, 2**24
_MIN_ALIGNMENT = 32  # of ggml's CPU buffers
_NO_WEIGHTS = frozenset(("Q8_1", "Q8_K", "I8", "I16", "I32", "I64", "F64"))
_UNREADABLE_TOKENIZERS = ("bert", "rwkv", "test")
_ROPE_SCALINGS = ("none", "linear", "yarn", "longrope")

# Architectures whose graphs assert that keys, values and rotations have one size.
_PLAIN_HEADS = frozenset(
    [
        "llama",
        "qwen2",
        "qwen2moe",
        "qwen3",
        "qwen3moe",
        "olmo",
        "olmo2",
        "internlm2",
        "granite",
        "smollm3",
        "starcoder2",
        "xverse",
        "baichuan",
        "exaone",
    ]
)
_RECURRENT = "mamba mamba2 rwkv6 rwkv6qwen2 rwkv7 arwkv7"
_HYBRID = (
    "jamba falcon-h1 plamo2 granitehybrid lfm2 lfm2moe nemotron_h nemotron_h_moe qwen3next kimi-linear bailingmoe3 "
    "kimi-k3 glm5-next qwen35 qwen35moe qwen4exp deepseek4 minimax-01"
)
_EMBEDDING = (
    "bert modern-bert nomic-bert nomic-bert-moe neo-bert jina-bert-v2 jina-bert-v3 eurobert gemma-embedding "
    "llama-embed pangu-embedded-encoder"
)
_WHY_NOT: dict[str, str] = {
    **dict.fromkeys(
        _RECURRENT.split(), "is recurrent: its memory is one state that cannot be forked at an earlier position"
    ),
    **dict.fromkeys(
        _HYBRID.split(), "is a hybrid of attention and recurrence: its state cannot be forked at an earlier position"
    ),
    **dict.fromkeys(_EMBEDDING.split(), "is embedding-only: it turns text into a vector and does not generate"),
    **dict.fromkeys(
        ["dream", "llada", "llada-moe", "rnd1"], "is a diffusion model: it does not generate token by token"
    ),
    "t5": "is an encoder-decoder: a search needs a decoder-only model",
    "t5encoder": "is encoder-only: it does not generate text",
    "clip": "is an image encoder (mmproj): name the language model's file instead",
    **dict.fromkeys(["eagle3", "dflash", "gemma4-assistant"], "is a draft head that works only beside its main model"),
    **dict.fromkeys(["wavtokenizer-dec", "qwen3tts", "pockettts"], "makes speech, not text"),
}


def why_unsupported(header: GGUFHeader) -> str | None:
    """Say which property keeps a model out of a search; None where the header shows none."""
    if header.architecture in _WHY_NOT:
        return f"its architecture {header.architecture!r} {_WHY_NOT[header.architecture]}"
    if header.arch_value("attention.causal") is False:
        return "its attention is not causal: it is made for embeddings and does not generate"
    pooling = header.arch_value("pooling_type")
    if pooling not in (None, 0, -1):
        return (
            f"it pools its outputs (pooling_type {pooling}): it is embedding-only or a reranker and does not generate"
        )
    return None


def check_model_file(path: str | Path) -> GGUFHeader:
    """Read a model's header and refuse what cannot be loaded safely or searched with.

    Raises:
        ModelLoadError: missing, damaged, without weights or vocabulary, or no model at all.
        UnsupportedModelError: a sound file of a model that cannot be forked or does not generate.
    """
    header = read_header(path)
    kind = header.text("general.type")
    if kind == "adapter":
        raise ModelLoadError(
            f"{path} is a LoRA adapter, not a model; pass it as EngineConfig(lora=...) beside its model"
        )
    if header.architecture == "arts-probe":
        raise ModelLoadError(f"{path} is a probe: it goes with its proposer and is no model; give it as the probe")
    if not header.architecture:
        raise ModelLoadError(f"{path} names no general.architecture; it is not a language model")
    reason = why_unsupported(header)
    if reason:
        raise UnsupportedModelError(f"{path} cannot be searched with: {reason}. Use a decoder-only transformer")
    if not header.tensors and header.number("split.count") in (None, 0, 1):
        raise ModelLoadError(f"{path} holds a vocabulary but no weights; name the model's own file")
    check_tokenizer(header)
    check_shapes(header)
    _check_splits(header)
    return header


def check_tokenizer(header: GGUFHeader) -> None:
    """Refuse vocabularies on which llama.cpp asserts. Raises ModelLoadError or UnsupportedModelError."""
    model = header.text("tokenizer.ggml.model")
    if model is None or model in ("none", "no_vocab"):
        raise UnsupportedModelError(f"{header.path} holds no tokenizer; a search needs one to read questions")
    if model in _UNREADABLE_TOKENIZERS:
        raise UnsupportedModelError(f"{header.path} has a tokenizer of kind {model!r}, which no decoder-only model has")
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list) or not tokens or not isinstance(tokens[0], bytes):
        raise ModelLoadError(f"{header.path} is damaged: tokenizer.ggml.tokens is missing or not an array of texts")
    # llama.cpp cuts a token at its first NUL and names an empty one by its index
    cut = (token.partition(b"\0")[0] for token in tokens)
    texts = {token or b"[EMPTY_%d]" % index for index, token in enumerate(cut)}
    if len(texts) != len(tokens):
        raise ModelLoadError(
            f"{header.path} is damaged: {len(tokens) - len(texts)} tokens of its vocabulary are doubles"
        )
    if model == "llama":
        missing = [byte for byte in range(256) if b"<0x%02X>" % byte not in texts]
        if missing:
            raise ModelLoadError(
                f"{header.path}: its SentencePiece vocabulary lacks the byte token <0x{missing[0]:02X}>, without which "
                "llama.cpp cannot read every text"
            )


def check_shapes(header: GGUFHeader) -> None:
    """Refuse hyperparameters on which llama.cpp asserts. Raises ModelLoadError."""
    num_layers = _integer(header, "block_count", 1, _MAX_LAYERS, default=None)
    _integer(header, "nextn_predict_layers", 0, num_layers, default=0)
    _integer(header, "context_length", 1, 2**31 - 1, default=None)
    dim = _integer(header, "embedding_length", 1, 2**24, default=None)
    num_experts = _integer(header, "expert_count", 0, _MAX_EXPERTS, default=0)
    used = header.arch_ints("expert_used_count", num_layers) or [0]
    if max(used) > num_experts or (num_experts and max(used) == 0):
        _refuse(header, "expert_used_count", max(used), f"between 1 and expert_count ({num_experts})")
    groups = _integer(header, "expert_group_count", 0, max(num_experts - 1, 0), default=0)
    if groups > 1 and (num_experts % groups or not _integer(header, "expert_group_used_count", 0, groups - 1, 0) > 0):
        _refuse(header, "expert_group_count", groups, f"a divisor of expert_count ({num_experts}) with groups in use")
    scaling = header.arch_value("rope.scaling.type")
    if scaling is not None and scaling not in _ROPE_SCALINGS:
        _refuse(header, "rope.scaling.type", scaling, f"one of {', '.join(_ROPE_SCALINGS)}")
    for key in ("attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"):
        epsilon = header.arch_value(key)
        if epsilon is not None and not (isinstance(epsilon, float) and 0 <= epsilon <= 1):
            _refuse(header, key, epsilon, "between 0 and 1")
    alignment = header.metadata.get("general.alignment", _MIN_ALIGNMENT)
    if not isinstance(alignment, int) or alignment % _MIN_ALIGNMENT:
        raise ModelLoadError(
            f"{header.path}: general.alignment must be a multiple of {_MIN_ALIGNMENT}; convert it anew"
        )
    _check_window(header)
    _check_heads(header, num_layers, dim)
    _check_formats(header)


def _check_formats(header: GGUFHeader) -> None:
    """Refuse number formats that llama.cpp stores but cannot multiply by: it would crash in the first decode."""
    for tensor in header.tensors:
        is_vector = len(tensor.shape) == 1
        if is_vector and ("norm" in tensor.name or tensor.name.endswith(".bias")) and tensor.type_name != "F32":
            rule = "norms and biases as F32"
        elif not is_vector and tensor.name.endswith(".weight") and tensor.type_name in _NO_WEIGHTS:
            rule = "weights in another number format"
        else:
            continue
        raise ModelLoadError(
            f"{header.path} is damaged: the tensor {tensor.name!r} is {tensor.type_name}, but llama.cpp needs {rule}"
        )


def _check_window(header: GGUFHeader) -> None:
    window = header.arch_value("attention.sliding_window")
    if type(window) is int and window > _MAX_WINDOW:
        _refuse(header, "attention.sliding_window", window, f"at most {_MAX_WINDOW}")
    pattern = header.arch_value("attention.sliding_window_pattern")
    has_none = pattern == 1 or (isinstance(pattern, list) and not any(pattern))
    if header.architecture == "gemma3" and window and has_none:
        _refuse(header, "attention.sliding_window_pattern", pattern, "a pattern with at least one windowed layer")


def _check_heads(header: GGUFHeader, num_layers: int, dim: int) -> None:
    heads = header.arch_ints("attention.head_count", num_layers)
    if heads is None or heads[0] <= 0:
        return
    length = _integer(header, "attention.key_length", 1, 2**20, default=dim // heads[0])
    num_rotated = _integer(header, "rope.dimension_count", 1, 2**20, default=length)
    for suffix in ("", "_swa"):
        length = _integer(header, f"attention.key_length{suffix}", 1, 2**20, default=length)
        num_rotated = _integer(header, f"rope.dimension_count{suffix}", 1, 2**20, default=num_rotated)
        if num_rotated > length or num_rotated % 2:
            _refuse(header, f"rope.dimension_count{suffix}", num_rotated, f"even and at most the head size ({length})")
    value_length = _integer(header, "attention.value_length", 1, 2**20, default=dim // heads[0])
    key_length = _integer(header, "attention.key_length", 1, 2**20, default=dim // heads[0])
    if header.architecture in _PLAIN_HEADS and key_length != value_length:
        _refuse(header, "attention.key_length", key_length, f"attention.value_length ({value_length})")
    if header.architecture in _PLAIN_HEADS and header.arch_value("rope.dimension_count") not in (None, key_length):
        _refuse(
            header, "rope.dimension_count", header.arch_value("rope.dimension_count"), f"the head size ({key_length})"
        )


def _integer(header: GGUFHeader, key: str, low: int, high: int, default: int | None) -> int:
    value = header.arch_value(key)
    if value is None and default is not None:
        return default
    if type(value) is not int or not low <= value <= high:
        _refuse(header, key, value, f"a whole number between {low} and {high}")
    assert isinstance(value, int)
    return value


def _refuse(header: GGUFHeader, key: str, value: object, rule: str) -> None:
    raise ModelLoadError(
        f"{header.path} is damaged or of an unknown architecture: {header.architecture}.{key} is {value!r}, "
        f"but must be {rule}. Download it again or convert it anew"
    )


def split_paths(header: GGUFHeader) -> list[Path]:
    """Files of a model that is split into several; [its own path] where it is not."""
    count = header.metadata.get("split.count", 1)
    if type(count) is not int or count > 99999:
        raise ModelLoadError(f"{header.path} is damaged: split.count is {count!r}")
    if count <= 1:
        return [header.path]
    suffix = f"-00001-of-{count:05d}.gguf"
    if not header.path.name.endswith(suffix):
        raise ModelLoadError(
            f"{header.path} is one of {count} parts, but its name does not end in {suffix}; name the first part"
        )
    prefix = str(header.path)[: -len(suffix)]
    return [Path(f"{prefix}-{part:05d}-of-{count:05d}.gguf") for part in range(1, count + 1)]


def _check_splits(header: GGUFHeader) -> None:
    for path in split_paths(header)[1:]:
        read_header(path)


def check_lora_file(path: str | Path, architecture: str) -> None:
    """Refuse a file that is not a LoRA adapter of this architecture. Raises ModelLoadError."""
    header = read_header(path)
    kinds: Iterable[str | None] = (header.text("general.type"), header.text("adapter.type"))
    if tuple(kinds) != ("adapter", "lora"):
        raise ModelLoadError(f"{path} is not a LoRA adapter (general.type 'adapter', adapter.type 'lora')")
    if header.architecture != architecture:
        raise ModelLoadError(f"{path} is made for {header.architecture!r}, but the model is {architecture!r}")
