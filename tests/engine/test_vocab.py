"""Text to tokens and back, whatever the text."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_gguf import BOS, EOS, NUM_TOKENS, PAD, TinyModel, write_tiny_gguf

from arts_lite.engine import Model
from arts_lite.engine.vocab import Vocab


@pytest.fixture(scope="module")
def vocab(tiny_model: Model) -> Vocab:
    return tiny_model.vocab


@pytest.fixture(scope="module")
def spm(tiny_spm_path: Path) -> Iterator[Vocab]:
    with Model(tiny_spm_path) as model:
        yield model.vocab


def test_the_vocabulary_s_facts(vocab: Vocab, spm: Vocab) -> None:
    assert vocab.num_tokens == NUM_TOKENS
    assert (vocab.bos, vocab.eos, vocab.pad, vocab.newline) == (BOS, EOS, PAD, 10)
    assert not vocab.adds_bos
    assert vocab.is_end(EOS)
    assert not vocab.is_end(65)
    assert {"<|bos|>", "<|endoftext|>", "<|pad|>", "<|step|>"} == vocab.special_texts
    assert (spm.bos, spm.eos, spm.adds_bos) == (1, 2, True)
    assert {"<s>", "</s>", "<unk>"} <= spm.special_texts


@given(st.text())
def test_text_comes_back_as_it_was(vocab: Vocab, text: str) -> None:
    tokens = vocab.tokenise(text)
    assert tokens == list(text.encode())
    assert vocab.text(tokens) == text.encode()


@given(st.text(st.characters(exclude_characters="\N{LOWER ONE EIGHTH BLOCK}", exclude_categories=["Cs"])))
def test_text_comes_back_from_a_sentencepiece_vocabulary(spm: Vocab, text: str) -> None:
    assert spm.text(spm.tokenise(text)) == text.encode()


def test_special_tokens_are_read_only_when_asked(vocab: Vocab) -> None:
    text = "a<|endoftext|>b"
    assert vocab.tokenise(text) == list(text.encode())
    assert vocab.tokenise(text, parse_special=True) == [97, EOS, 98]
    assert vocab.piece(EOS) == b""
    assert vocab.piece(EOS, special=True) == b"<|endoftext|>"


def test_nul_bytes_are_ordinary(vocab: Vocab) -> None:
    assert vocab.tokenise("a\0b\0") == [97, 0, 98, 0]


def test_a_lone_surrogate_is_named(vocab: Vocab) -> None:
    with pytest.raises(ValueError, match=r"lone surrogate '\\ud800' at character 2"):
        vocab.tokenise("ab\ud800c")


def test_no_text_is_no_tokens(vocab: Vocab, spm: Vocab) -> None:
    assert vocab.tokenise("") == []
    assert spm.tokenise("") == []


@pytest.mark.parametrize("token", [-1, NUM_TOKENS, 2**31, -(2**31)])
def test_a_token_outside_the_vocabulary_is_refused(vocab: Vocab, token: int) -> None:
    for method in (vocab.piece, vocab.is_end):
        with pytest.raises(ValueError, match="vocabulary has the ids 0 to 287"):
            method(token)


def test_long_texts_are_fine(vocab: Vocab) -> None:
    text = "What is 1 + 1? " * 10_000
    assert vocab.tokenise(text) == list(text.encode())


@pytest.mark.parametrize("pre", ["tekken", "gpt-4o", "deepseek-llm", "bloom"])
def test_endless_words_do_not_overflow_the_stack(tmp_path: Path, pre: str) -> None:
    """llama.cpp recurses once per character of a word for most of these: 30,000 letters end the process."""
    path = write_tiny_gguf(tmp_path / "m.gguf", TinyModel(metadata={"tokenizer.ggml.pre": pre}))
    script = f"""
import threading
from arts_lite.engine import Model
def check(size):
    with Model({str(path)!r}) as model:
        for text in ("a" * size, " " * size, "1" * size, "ab" * size + "\\n" * size, "é" * size):
            assert model.vocab.tokenise(text) == list(text.encode())
check(40_000)
threading.stack_size(512 * 1024)  # what a thread has on macOS
thread = threading.Thread(target=check, args=(4_000,))
thread.start()
thread.join()
print("fine")
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert (result.returncode, result.stdout.strip()) == (0, "fine"), result.stderr[-1000:]
