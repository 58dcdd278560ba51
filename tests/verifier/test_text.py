"""What a verifier reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arts_lite.verifier.text import InputRules, stripped

LINES = InputRules("{question}\n", "\n")
PARAGRAPHS = InputRules("Question: {question}\n\n", "\n\n", bos=256)
questions = st.text(st.characters(exclude_categories=["Cs"]))
steps = st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=6)
delimiters = st.lists(st.sampled_from(["\n", "\n\n", ". ", "<step>", "a"]), max_size=3)


def of_bytes(text: str) -> list[int]:
    return list(text.encode())


def of_words(text: str) -> list[int]:
    """A tokenizer that merges across what it is given, as BPE does: runs of one kind of character are a token."""
    tokens: list[int] = []
    previous = None
    for character in text:
        kind = (character.isspace(), character.isalnum())
        if kind == previous and len(tokens):
            tokens[-1] = tokens[-1] * 31 + ord(character)
        else:
            tokens.append(ord(character))
        previous = kind
    return tokens


tokenisers = st.sampled_from([of_bytes, of_words])
rules = st.sampled_from([LINES, PARAGRAPHS])


@given(rules, questions, steps, st.integers(0, 6), tokenisers, delimiters)
def test_a_longer_trace_begins_with_the_tokens_of_its_prefixes(rules, question, steps, length, tokenise, delimiters):
    whole = rules.encode(question, steps, tokenise, delimiters)
    prefix = rules.encode(question, steps[:length], tokenise, delimiters)
    assert whole.tokens[: len(prefix.tokens)] == prefix.tokens
    assert whole.ends[: len(prefix.ends)] == prefix.ends
    assert prefix.ends[-1] == len(prefix.tokens) - 1


@given(rules, questions, steps, tokenisers)
def test_there_is_a_value_for_the_question_and_for_every_step(rules, question, steps, tokenise):
    encoded = rules.encode(question, steps, tokenise)
    assert len(encoded.ends) == len(steps) + 1
    assert all(a < b for a, b in zip(encoded.ends, encoded.ends[1:], strict=False))


@given(questions, steps)
def test_steps_written_one_by_one_are_the_tokens_of_the_whole(question, steps):
    tokens = LINES.question_tokens(question, of_bytes)
    for step in steps:
        tokens += LINES.step_tokens(step, of_bytes)
    assert tokens == LINES.encode(question, steps, of_bytes).tokens


@pytest.mark.parametrize(
    ("delimiter", "ending"), [("\n", "\n"), ("\n", ""), ("\n\n", "\n\n\n"), (". ", ". "), (". ", "."), ("<s>", "<s>\n")]
)
def test_a_step_reads_the_same_however_its_delimiter_ended_it(delimiter, ending):
    last = of_bytes("1 + 1 = 2\n")
    assert LINES.step_tokens("1 + 1 = 2" + ending, of_bytes, [delimiter]) == last


def test_values_are_read_at_the_separators_last_token():
    encoded = PARAGRAPHS.encode(" 1+1? ", ["a\n", "b"], of_bytes)
    text = "Question: 1+1?\n\na\n\nb\n\n"
    assert encoded.tokens == [256, *text.encode()]
    assert [bytes(encoded.tokens[1 : end + 1]).decode() for end in encoded.ends] == [text[:16], text[:19], text]


def test_only_one_visible_delimiter_is_cut_off():
    assert stripped("wait... ", [". "]) == "wait.."
    assert stripped("a<step><step>", ["<step>", "p>"]) == "a<step>"


def test_what_a_question_contains_is_no_template():
    rules = InputRules("{question} {system} {0}\n", "\n")
    assert bytes(rules.question_tokens("{question}{x}", of_bytes)) == b"{question}{x} {system} {0}\n"


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [(("Q:", "\n"), "must contain {question}"), (("{question}", ""), "separator"), (("{question}", "\n", -1), "bos")],
)
def test_rules_that_give_no_place_for_a_value_are_refused(arguments, rule):
    with pytest.raises(ValueError, match=rule.replace("{", r"\{")):
        InputRules(*arguments)


def test_a_tokenizer_that_swallows_the_input_is_refused():
    with pytest.raises(ValueError, match="gives no token"):
        LINES.question_tokens("1+1?", lambda text: [])
    with pytest.raises(ValueError, match="choose a separator"):
        LINES.step_tokens("\n", lambda text: list(text.strip().encode()))
