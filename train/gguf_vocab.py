"""A GGUF's own tokenizer, as llama.cpp applies it: what a verifier's input is made with when it is at work."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from pathlib import Path

import llama_cpp.llama_cpp as llama

from arts_lite.engine import log
from arts_lite.engine.gguf import read_header
from arts_lite.engine.vocab import Vocab
from arts_lite.errors import ModelLoadError, TrainingError


class GGUFTokeniser:
    """Plain text to tokens. Loads no weights.

    Attributes:
        bos: the token that the file wants in front of every text; None: there is none.

    Raises:
        TrainingError: the file, or its tokenizer, cannot be read.
    """

    def __init__(self, path: Path) -> None:
        try:
            header = read_header(path)
        except ModelLoadError as error:
            raise TrainingError(f"the tokenizer of {path} cannot be read: {error}") from error
        with log.captured():
            llama.llama_backend_init()
            options = llama.llama_model_default_params()
            options.vocab_only = True
            model = llama.llama_model_load_from_file(os.fsencode(path), options)
        if not model:
            raise TrainingError(f"llama.cpp cannot read the tokenizer of {path}; give another GGUF of this model")
        weakref.finalize(self, llama.llama_model_free, model)
        self._vocab = Vocab(llama.llama_model_get_vocab(model), header)
        self.bos = self._vocab.bos if self._vocab.adds_bos else None

    def __call__(self, text: str) -> list[int]:
        """Tokenise plain text: no special token is parsed, and none added."""
        return self._vocab.tokenise(text, parse_special=False)


def first_difference(
    one: Callable[[str], list[int]], other: Callable[[str], list[int]], texts: list[str]
) -> str | None:
    """Find the first text of which two tokenizers make different tokens."""
    return next((text for text in texts if one(text) != other(text)), None)
