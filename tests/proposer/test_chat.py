from __future__ import annotations

import pytest

from arts_lite.proposer.chat import chat_renderer

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def render(template: str, question: str = "Q", system: str = "") -> str:
    return chat_renderer(template, bos_text="<s>", eos_text="</s>")(question, system)


def test_messages_are_rendered_with_the_opening_of_the_answer() -> None:
    assert render(CHATML) == "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n"
    assert render(CHATML, system="S").startswith("<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nQ<|im_end|>")


def test_the_names_of_special_tokens_are_at_hand() -> None:
    assert render("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}") == "<s>Q</s>"


def test_a_template_without_a_system_role_gets_the_system_prompt_in_the_question() -> None:
    picky = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        "{{ messages[0].content }}"
    )
    assert render(picky, system="S") == "S\n\nQ"


@pytest.mark.parametrize(
    "template", ["{% for m in messages %}", "{{ messages[0] ", "{% nonsense %}", "{{ x | nofilter }}"]
)
def test_a_template_that_does_not_parse_says_so(template: str) -> None:
    with pytest.raises(ValueError, match=r"(does not parse|fails) \(Template\w+Error: .*prompt_template"):
        render(template)


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('roles must alternate') }}",
        "{{ messages[7].content }}",
        "{{ 1 // 0 }}",
        "{{ undefined.attribute }}",
        "{{ messages[0].content + 1 }}",
    ],
)
def test_a_template_that_fails_says_how(template: str) -> None:
    with pytest.raises(ValueError, match=r"chat template fails \(.*prompt_template"):
        render(template)


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{% for i in range(10**9) %}x{% endfor %}",
    ],
)
def test_a_template_cannot_leave_its_sandbox(template: str) -> None:
    with pytest.raises(ValueError, match="chat template fails"):
        render(template)
