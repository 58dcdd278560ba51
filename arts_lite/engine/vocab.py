"""A model's vocabulary: text to tokens and back, and which tokens are special."""

from __future__ import annotations

import ctypes
import functools
import re
from collections.abc import Iterable, Sequence

import llama_cpp.llama_cpp as llama

from arts_lite.engine.gguf import GGUFHeader

_BPE = 2  # llama_vocab_type
_CONTROL, _UNKNOWN = 3, 2  # token types in a GGUF
_MAX_BYTES = 2**31 - 16

# Many of llama.cpp's pre-tokenizers recurse once per character of a run (measured: 300 bytes of stack each) and
# overflow a thread's stack on runs of some thousands. Longer runs are cut; the text stays the same, one token border is
# added.
_MAX_RUN = 1000
_LONG_RUN = re.compile(rf"\S{{{_MAX_RUN}}}(?=\S)|\s{{{_MAX_RUN}}}(?=\s)")


class Vocab:
    """Tokens of one loaded model. Valid as long as its `Model` is open."""

    def __init__(self, pointer: int, header: GGUFHeader) -> None:
        self._pointer = pointer
        self.num_tokens: int = llama.llama_vocab_n_tokens(pointer)
        self.bos = self._optional(llama.llama_vocab_bos(pointer))
        self.eos = self._optional(llama.llama_vocab_eos(pointer))
        self.eot = self._optional(llama.llama_vocab_eot(pointer))
        self.newline = self._optional(llama.llama_vocab_nl(pointer))
        self.pad = self._optional(llama.llama_vocab_pad(pointer))
        self.adds_bos = bool(llama.llama_vocab_get_add_bos(pointer)) and self.bos is not None
        self.is_bpe = llama.llama_vocab_type(pointer) == _BPE
        self.special_texts = _special_texts(header, (self.bos, self.eos, self.eot))

    def _optional(self, token: int) -> int | None:
        return token if 0 <= token < self.num_tokens else None

    def check(self, token: int) -> int:
        """Return the token; raise ValueError if the vocabulary has no such id."""
        if not 0 <= token < self.num_tokens:
            raise ValueError(f"token is {token}, but the vocabulary has the ids 0 to {self.num_tokens - 1}")
        return token

    def is_end(self, token: int) -> bool:
        """Whether the token ends a generation."""
        return bool(llama.llama_vocab_is_eog(self._pointer, self.check(token)))

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """Bytes of one token; a special token is b'' unless `special`."""
        self.check(token)
        buffer = ctypes.create_string_buffer(64)
        length = llama.llama_token_to_piece(self._pointer, token, buffer, 64, 0, special)
        if length < 0:
            buffer = ctypes.create_string_buffer(-length)
            length = llama.llama_token_to_piece(self._pointer, token, buffer, -length, 0, special)
        return buffer.raw[:length]

    def text(self, tokens: Iterable[int], *, special: bool = False) -> bytes:
        """Bytes of several tokens."""
        return b"".join(self.piece(token, special=special) for token in tokens)

    def tokenise(self, text: str, *, parse_special: bool = False) -> list[int]:
        """Turn text into tokens; BOS is never added. `parse_special`: read special tokens' texts as those tokens.

        Raises:
            ValueError: the text holds a lone surrogate (it is no Unicode text) or is longer than 2 GiB.
        """
        tokens: list[int] = []
        for part in self._parts(text):
            tokens += self._tokenise_part(part, parse_special)
        return tokens

    def _parts(self, text: str) -> Sequence[str]:
        if not self.is_bpe or len(text) <= _MAX_RUN:
            return [text]
        ends = [match.end() for match in _LONG_RUN.finditer(text)]
        return [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]

    def _tokenise_part(self, text: str, parse_special: bool) -> list[int]:
        data = encode_text(text)
        if not data:
            return []
        if len(data) > _MAX_BYTES:
            raise ValueError(f"the text has {len(data)} bytes, but at most {_MAX_BYTES} can be tokenised")
        capacity = len(data) + 2
        buffer = (ctypes.c_int32 * capacity)()
        count = llama.llama_tokenize(self._pointer, data, len(data), buffer, capacity, False, parse_special)
        if count < 0:
            raise ValueError(f"the text of {len(data)} bytes needs {-count} tokens, more than it has bytes")
        return buffer[:count]

    @functools.cached_property
    def special_pattern(self) -> re.Pattern[str] | None:
        """Finds the texts of special tokens; None if the vocabulary has none."""
        longest_first = sorted(self.special_texts, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


def encode_text(text: str) -> bytes:
    """Encode as UTF-8; raise ValueError naming the first lone surrogate."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"the text holds the lone surrogate {text[error.start]!r} at character {error.start}, which is no valid "
            "Unicode; decode the input as UTF-8, for example with errors='replace'"
        ) from None


def _special_texts(header: GGUFHeader, also: Sequence[int | None]) -> frozenset[str]:
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    kinds = header.metadata.get("tokenizer.ggml.token_type")
    if not isinstance(tokens, list):
        return frozenset()
    ids = {token for token in also if token is not None and token < len(tokens)}
    if isinstance(kinds, list):
        ids |= {index for index, kind in enumerate(kinds[: len(tokens)]) if kind in (_CONTROL, _UNKNOWN)}
    texts = (tokens[index] for index in ids)
    return frozenset(text.decode("utf-8", "replace") for text in texts if isinstance(text, bytes) and text)
