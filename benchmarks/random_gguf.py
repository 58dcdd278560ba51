"""Write a GGUF of Qwen2.5-1.5B's shape with random weights: the speed of a real model, without one.

    random_gguf.py FILE [--type q4_k|q8_0|f16] [--layers 28] [--seed 0]

Weights are random blocks of the chosen format, scaled so that the logits are spread like a real model's (a standard
deviation of about 3): the sampler then does a real model's work. One token in 20 ends with a blank line, which ends a
step; hardly any trace ends by itself. Prompts are read byte by byte.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

DIM, FF_DIM, NUM_HEADS, NUM_KV_HEADS, HEAD_DIM = 1536, 8960, 12, 2, 128
NUM_TOKENS, CTX_TRAIN = 151936, 32768
EMBEDDING_STD, WEIGHT_STD, LOGIT_STD = 0.02, 0.02, 3.0
STEP_SHARE = 20

TYPES = {
    "q4_k": gguf.GGMLQuantizationType.Q4_K,
    "q8_0": gguf.GGMLQuantizationType.Q8_0,
    "f16": gguf.GGMLQuantizationType.F16,
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("file", type=Path)
    options.add_argument("--type", choices=TYPES, default="q4_k")
    options.add_argument("--layers", type=int, default=28)
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    write(chosen.file, TYPES[chosen.type], chosen.layers, np.random.default_rng(chosen.seed))
    print(f"{chosen.file}: {chosen.file.stat().st_size / 2**20:.0f} MiB")


def write(path: Path, kind: gguf.GGMLQuantizationType, num_layers: int, random: np.random.Generator) -> None:
    """Write the file, tensor by tensor."""
    writer = gguf.GGUFWriter(path, "qwen2", use_temp_file=False)
    writer.add_name("random weights in the shape of Qwen2.5-1.5B")
    writer.add_block_count(num_layers)
    writer.add_context_length(CTX_TRAIN)
    writer.add_embedding_length(DIM)
    writer.add_feed_forward_length(FF_DIM)
    writer.add_head_count(NUM_HEADS)
    writer.add_head_count_kv(NUM_KV_HEADS)
    writer.add_rope_freq_base(1e6)
    writer.add_layer_norm_rms_eps(1e-6)
    add_vocabulary(writer)
    writer.add_tensor("token_embd.weight", weights(random, kind, NUM_TOKENS, DIM, EMBEDDING_STD), raw_dtype=kind)
    # The head is the embedding: logits = (norm * RMS-normed state) . embedding, a sum of DIM products.
    writer.add_tensor("output_norm.weight", constant(DIM, LOGIT_STD / EMBEDDING_STD / DIM**0.5))
    kv_dim = NUM_KV_HEADS * HEAD_DIM
    matrices = {
        "attn_q": (DIM, DIM),
        "attn_k": (kv_dim, DIM),
        "attn_v": (kv_dim, DIM),
        "attn_output": (DIM, DIM),
        "ffn_gate": (FF_DIM, DIM),
        "ffn_up": (FF_DIM, DIM),
        "ffn_down": (DIM, FF_DIM),
    }
    for layer in range(num_layers):
        for name, (rows, columns) in matrices.items():
            data = weights(random, kind, rows, columns, WEIGHT_STD)
            writer.add_tensor(f"blk.{layer}.{name}.weight", data, raw_dtype=kind)
        for name, size in (("attn_q", DIM), ("attn_k", kv_dim), ("attn_v", kv_dim)):
            writer.add_tensor(f"blk.{layer}.{name}.bias", constant(size, 0.0))
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", constant(DIM, 1.0))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_vocabulary(writer: gguf.GGUFWriter) -> None:
    """256 byte tokens, then made-up words; the last token ends a trace."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    stand_in = {byte: chr(byte if byte in printable else next(others)) for byte in range(256)}
    space, newline = stand_in[ord(" ")], stand_in[ord("\n")]
    words = [
        space + f"w{index:x}" + (newline * 2 if index % STEP_SHARE == 0 else "") for index in range(256, NUM_TOKENS - 1)
    ]
    end = NUM_TOKENS - 1
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([stand_in[byte] for byte in range(256)] + words + ["<|end|>"])
    writer.add_token_types([gguf.TokenType.NORMAL] * end + [gguf.TokenType.CONTROL])
    writer.add_token_merges([f"{stand_in[ord('a')]} {stand_in[ord('b')]}"])
    writer.add_eos_token_id(end)
    writer.add_add_bos_token(False)


def constant(size: int, value: float) -> NDArray[np.float32]:
    return np.full(size, value, np.float32)


def weights(
    random: np.random.Generator, kind: gguf.GGMLQuantizationType, rows: int, columns: int, std: float
) -> NDArray[np.generic]:
    """Random blocks of a format with about this standard deviation, as the file holds them: uint8[rows, bytes]."""
    if kind == gguf.GGMLQuantizationType.F16:
        return (random.standard_normal((rows, columns), np.float32) * std).astype(np.float16)
    block, num_bytes = gguf.GGML_QUANT_SIZES[kind]
    data = np.frombuffer(random.bytes(rows * columns // block * num_bytes), np.uint8).reshape(-1, num_bytes).copy()
    if kind == gguf.GGMLQuantizationType.Q8_0:
        scales = np.array([std / (255 / 12**0.5)], np.float16)  # int8 values are uniform
    else:
        # w = d * scale * q - dmin * offset, scale and offset in 0..63, q in 0..15: with dmin = 7.5 d its mean is 0
        scales = np.array([std / 230, 7.5 * std / 230], np.float16)
    head = scales.view(np.uint8)
    data[:, : len(head)] = head
    return data.reshape(rows, -1)


if __name__ == "__main__":
    main()
