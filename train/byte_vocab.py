"""The vocabulary of our own tiny models: a token's id is the byte's value, special tokens follow.

So `tokens == list(text.encode())` on both sides, and no tokenizer has to be trained, shipped or matched.
"""

from __future__ import annotations

from collections.abc import Mapping

NUM_TOKENS = 288
BOS, EOS, PAD, STEP = 256, 257, 258, 259
FIRST_UNUSED = 261
CHAT_TEMPLATE = "{% for m in messages %}{{ m['content'] | trim }}{% endfor %}{{ '\\n' }}"
"""The question as it is and a newline: these models read problems in their plain form."""

_NORMAL, _CONTROL, _UNUSED = 1, 3, 5


def byte_texts() -> list[str]:
    """GPT-2's printable stand-ins of the 256 bytes, in byte order."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    stand_ins, next_code = [], 256
    for byte in range(256):
        if byte in printable:
            stand_ins.append(chr(byte))
        else:
            stand_ins.append(chr(next_code))
            next_code += 1
    return stand_ins


def tokenizer_keys() -> Mapping[str, object]:
    """The tokenizer's GGUF keys: a byte-level BPE whose one merge can never fire, since UTF-8 has no byte 0xFF."""
    specials = ["<|bos|>", "<|endoftext|>", "<|pad|>", "<|step|>", "ÿÿ"]
    unused = [f"<|unused{number}|>" for number in range(1, NUM_TOKENS - FIRST_UNUSED + 1)]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": byte_texts() + specials + unused,
        "tokenizer.ggml.token_type": [_NORMAL] * 256 + [_CONTROL] * 4 + [_NORMAL] + [_UNUSED] * len(unused),
        "tokenizer.ggml.merges": ["ÿ ÿ"],
        "tokenizer.ggml.bos_token_id": BOS,
        "tokenizer.ggml.eos_token_id": EOS,
        "tokenizer.ggml.padding_token_id": PAD,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.add_eos_token": False,
        "tokenizer.ggml.add_space_prefix": False,
        "tokenizer.chat_template": CHAT_TEMPLATE,
    }
