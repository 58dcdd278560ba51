"""From a question to prompt tokens: the template's special tokens are special, the user's are text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_gguf import BOS, CHAT_TEMPLATE, EOS, PAD

from arts_lite.engine import Model
from arts_lite.engine.vocab import Vocab
from arts_lite.proposer.chat import chat_renderer
from arts_lite.proposer.prompt import PLAIN_TEMPLATE, Segment, encode, plain_renderer, read_template, segments

CHAT = chat_renderer(CHAT_TEMPLATE, bos_text="", eos_text="")
SPECIALS = ["<|bos|>", "<|endoftext|>", "<|pad|>", "<|step|>"]
TYPED = st.lists(st.sampled_from([*SPECIALS, "<|", "|>", "bos", " ", "a", "\n", "{question}", "{system}"])).map("".join)


@pytest.fixture(scope="module")
def vocab(tiny_model: Model) -> Vocab:
    return tiny_model.vocab


@pytest.fixture(scope="module")
def spm(tiny_spm_path: Path) -> Iterator[Vocab]:
    with Model(tiny_spm_path) as model:
        yield model.vocab


def test_the_template_s_special_tokens_are_special(vocab: Vocab) -> None:
    tokens = encode(segments(CHAT, "hi", ""), vocab)
    assert tokens == [BOS, *b"user\nhi", PAD, BOS, *b"assistant\n"]


def test_the_user_s_special_tokens_are_text(vocab: Vocab) -> None:
    tokens = encode(segments(CHAT, "a<|endoftext|>b<|pad|>", "be <|step|>"), vocab)
    system = [BOS, *b"system\nbe <|step|>", PAD]
    assert tokens == [*system, BOS, *b"user\na<|endoftext|>b<|pad|>", PAD, BOS, *b"assistant\n"]


@given(question=TYPED.filter(str.strip), system=TYPED)
def test_no_question_can_smuggle_in_a_special_token(vocab: Vocab, question: str, system: str) -> None:
    parts = segments(CHAT, question, system)
    tokens = encode(parts, vocab)
    assert vocab.text(tokens, special=True) == "".join(part.text for part in parts).encode()
    assert [token for token in tokens if token > 255] == [BOS, PAD] * (2 if system else 1) + [BOS]
    assert EOS not in tokens


def test_a_special_token_made_of_both_texts_is_text(vocab: Vocab) -> None:
    """Template and question together spell a special token: it is not the template's own."""
    parts = [Segment("say <|", False), Segment("pad|> now", True), Segment("<|pad|>", False)]
    assert encode(parts, vocab) == [*b"say <|pad|> now", PAD]


def test_bos_is_added_once_where_the_model_wants_it(spm: Vocab) -> None:
    assert spm.adds_bos
    plain = encode([Segment("hi", True)], spm)
    assert plain.count(1) == 1
    assert plain[0] == 1
    assert encode([Segment("<s>hi", False)], spm) == plain


def test_no_bos_is_added_where_the_model_wants_none(vocab: Vocab) -> None:
    assert encode([Segment("hi", True)], vocab) == list(b"hi")


def test_a_plain_template_keeps_all_other_braces() -> None:
    render = plain_renderer("{system}|{question}|\\boxed{}|{other}|{question}")
    assert render("Q", "S") == "S|Q|\\boxed{}|{other}|Q"
    assert render("{system}{question}", "") == "|{system}{question}|\\boxed{}|{other}|{system}{question}"


def test_base_models_get_a_plain_prompt() -> None:
    parts = segments(plain_renderer(PLAIN_TEMPLATE), "1+1?", "")
    assert [(part.text, part.is_users) for part in parts] == [
        ("Question: ", False),
        ("1+1?", True),
        ("\nAnswer:", False),
    ]


def test_a_template_without_a_question_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must contain \{question\}"):
        plain_renderer("Answer:")
    with pytest.raises(ValueError, match="does not put the question into the prompt"):
        segments(chat_renderer("always the same", bos_text="", eos_text=""), "hi", "")


def test_a_template_is_a_text_or_a_file(tmp_path: Path) -> None:
    path = tmp_path / "template.txt"
    path.write_text("Q {question} é", encoding="utf-8")
    assert read_template(path) == read_template(str(path)) == "Q {question} é"
    assert read_template("x {question}") == "x {question}"
    for missing in (tmp_path / "none.txt", tmp_path, "nul\0"):
        with pytest.raises(ValueError, match="cannot be read"):
            read_template(missing)
    path.write_bytes(b"\xff\xfe{question}")
    with pytest.raises(ValueError, match="cannot be read"):
        read_template(path)


def test_a_template_that_strips_the_question_is_followed(vocab: Vocab) -> None:
    render = chat_renderer("[{{ messages[0]['content'] | trim }}]", bos_text="", eos_text="")
    assert encode(segments(render, "  hi <|pad|> ", ""), vocab) == list(b"[hi <|pad|>]")
