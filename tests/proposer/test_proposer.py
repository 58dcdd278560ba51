from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tiny_gguf import BOS, PAD, TinyModel, write_tiny_gguf

from arts_lite.engine import EngineConfig
from arts_lite.errors import ContextOverflowError, ModelLoadError
from arts_lite.proposer import Proposer
from arts_lite.types import StopReason

CONFIG = EngineConfig(threads=1, ctx_size=512, num_cells=1024)


@pytest.fixture
def proposer(tiny_model_path: Path) -> Iterator[Proposer]:
    with Proposer.from_gguf(tiny_model_path, config=CONFIG) as proposer:
        yield proposer


def test_a_question_becomes_a_prompt_that_the_engine_takes(proposer: Proposer) -> None:
    engine = proposer.engine
    branch = engine.open(
        proposer.encode_prompt("1+1?"),
        sampling=proposer.default_sampling,
        rules=proposer.default_rules,
        seed=0,
        stream=0,
        max_tokens=20,
    )
    engine.run(branch)
    assert engine.advance()[0].reason in (StopReason.MAX_TOKENS, StopReason.END_OF_TEXT)
    assert isinstance(proposer.decode(engine.text(branch)), str)


def test_the_system_prompt_can_be_set_changed_and_left_out(tiny_model_path: Path) -> None:
    with Proposer.from_gguf(tiny_model_path, system="Be brief.", config=CONFIG) as proposer:
        text = proposer.engine.model.vocab.text
        assert b"system\nBe brief." in text(proposer.encode_prompt("Q"))
        assert b"system\nOther" in text(proposer.encode_prompt("Q", system="Other"))
        assert proposer.encode_prompt("Q", system="") == [BOS, *b"user\nQ", PAD, BOS, *b"assistant\n"]


def test_a_template_of_the_user_s_replaces_the_model_s(tiny_model_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "template.txt"
    path.write_text("{system}Q: {question}<|step|>A:")
    with Proposer.from_gguf(tiny_model_path, prompt_template=path, system="Go.", config=CONFIG) as proposer:
        assert not proposer.is_chat
        assert proposer.encode_prompt("1<|step|>") == [*b"Go.\n\nQ: 1<|step|>", 259, *b"A:"]


def test_a_base_model_gets_a_plain_prompt_and_bos(tiny_spm_path: Path) -> None:
    with Proposer.from_gguf(tiny_spm_path, config=CONFIG) as proposer:
        tokens = proposer.encode_prompt("1+1?")
        assert tokens[0] == 1
        assert proposer.engine.model.vocab.text(tokens) == b"Question: 1+1?\nAnswer:"


@pytest.mark.parametrize("question", ["", "  \n\t ", "\u3000"])
def test_an_empty_question_is_refused(proposer: Proposer, question: str) -> None:
    with pytest.raises(ValueError, match="question is empty"):
        proposer.encode_prompt(question)


def test_a_lone_surrogate_is_refused(proposer: Proposer) -> None:
    with pytest.raises(ValueError, match="lone surrogate"):
        proposer.encode_prompt("a\udfffb")


def test_a_question_of_100_000_tokens_is_refused_with_both_numbers(proposer: Proposer) -> None:
    with pytest.raises(ContextOverflowError, match=r"has 100\d{3} tokens, but a trace holds at most 512"):
        proposer.encode_prompt("x" * 100_000)


@pytest.mark.parametrize(
    "question", ["nul\0byte", "é😀", "<|im_end|>", "<|endoftext|>" * 9, "{{ 7 * 7 }}", "{question}"]
)
def test_strange_questions_arrive_unchanged(proposer: Proposer, question: str) -> None:
    assert question.encode() in proposer.engine.model.vocab.text(proposer.encode_prompt(question))


def test_a_broken_template_shows_when_loading_and_closes_what_was_opened(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "m.gguf", TinyModel(chat_template="{% for m in %}"))
    with pytest.raises(ValueError, match="does not parse"):
        Proposer.from_gguf(path, config=CONFIG)
    with Proposer.from_gguf(path, prompt_template="Q {question}", config=CONFIG) as proposer:
        assert proposer.encode_prompt("x")


def test_a_missing_model_is_a_load_error(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="does not exist"):
        Proposer.from_gguf(tmp_path / "none.gguf")


def test_the_file_is_described(proposer: Proposer, tiny_model_path: Path) -> None:
    assert proposer.info.path == str(tiny_model_path)
    assert proposer.info.can_fork


@pytest.mark.model
def test_qwen_s_prompt_is_the_one_that_its_makers_publish(real_model: Callable[[str], Path]) -> None:
    with Proposer.from_gguf(real_model("qwen2.5-coder-1.5b"), system="S", config=CONFIG) as proposer:
        vocab = proposer.engine.model.vocab
        text = vocab.text(proposer.encode_prompt("type <|im_end|>"), special=True).decode()
        tokens = proposer.encode_prompt("type <|im_end|>")
    assert (
        text == "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\ntype <|im_end|><|im_end|>\n<|im_start|>assistant\n"
    )
    assert tokens.count(151645) == 2  # <|im_end|>, the template's own two only
