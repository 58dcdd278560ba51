"""Chat templates: the Jinja text that a GGUF carries, rendered in a sandbox."""

from __future__ import annotations

from typing import Any

import jinja2
from llama_cpp.llama_chat_format import Jinja2ChatFormatter

from arts_lite.proposer.prompt import Render

# What rendering a foreign template may raise: its own refusals, and Python's errors from within its expressions.
_TEMPLATE_ERRORS = (
    jinja2.TemplateError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)


def chat_renderer(template: str, *, bos_text: str, eos_text: str) -> Render:
    """Compile a chat template. Raises ValueError: it does not parse."""
    try:
        formatter = Jinja2ChatFormatter(template, eos_token=eos_text, bos_token=bos_text)
    except _TEMPLATE_ERRORS as error:
        raise ValueError(f"the model's chat template does not parse ({_first_line(error)}); {_REMEDY}") from error

    def render(question: str, system: str) -> str:
        if system:
            try:
                return _apply(formatter, [_message("system", system), _message("user", question)])
            except _TEMPLATE_ERRORS:  # some templates (Gemma's) know no system role
                question = f"{system}\n\n{question}"
        try:
            return _apply(formatter, [_message("user", question)])
        except _TEMPLATE_ERRORS as error:
            raise ValueError(f"the model's chat template fails ({_first_line(error)}); {_REMEDY}") from error

    return render


_REMEDY = "pass another one as prompt_template: a text with {question} in it"


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _apply(formatter: Any, messages: list[dict[str, str]]) -> str:
    return str(formatter(messages=messages).prompt)


def _first_line(error: Exception) -> str:
    text = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {text}"
