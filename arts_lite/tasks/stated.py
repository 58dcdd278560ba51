"""What answer a text states, be it a bare answer or running text that ends in one."""

from __future__ import annotations

import re

from arts_lite.tasks.answers import MAX_ANSWER_CHARS, extract_answer

# fmt: off
FUNCTION_WORDS = frozenset((
    "or", "and", "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh",
    "log", "ln", "exp", "lim", "max", "min", "gcd", "lcm", "mod", "det", "deg", "sqrt", "frac", "pi", "infty",
    "inf", "infinity", "circ", "cup", "cap", "cdot", "times", "div", "pm", "theta", "alpha", "beta", "gamma", "phi",
    "union",
))
# fmt: on
"""Words that belong to formulas."""
_MAX_BARE_WORDS = 6
_MARKER = re.compile(r"\\boxed|####|answer(?:\s+is|\s*[:=])|</?think>", re.IGNORECASE)
_COMMAND = re.compile(r"\\(?:begin|end)\{[a-z*]{1,20}\}|\\[A-Za-z]+")
_WORD = re.compile(r"[A-Za-z]{2,}")
_TEXT_GROUP = re.compile(r"\\(?:text|textbf|textit|mathrm|mbox)\s*\{([^{}]{0,200})\}")
_MATH = re.compile(r"\$\$?([^$]{1,500})\$\$?|\\\((.{1,500}?)\\\)|\\\[(.{1,500}?)\\\]", re.DOTALL)
_STOP = re.compile(r"[.!?;:]\s+\S")


def stated_answer(text: str) -> str | None:
    """Return the answer that a text states: it as a whole if it is bare, else as `extract_answer` finds it.

    In running text without a marker ("answer is", a box, ####), its last formula is the answer, else its last number.
    """
    text = text.strip()
    if not text:
        return None
    if _MARKER.search(text):
        return extract_answer(text)
    if is_bare(text):
        return text
    last = None
    for match in _MATH.finditer(text[-20_000:]):
        last = next(group for group in match.groups() if group is not None)
    if last is not None and "\\" in last:
        return last.rpartition("=")[2].strip() or last.strip()
    return extract_answer(text)


def is_bare(text: str) -> bool:
    """Whether a text is an answer by itself: one line of formula, a number with its unit, or a few words."""
    if len(text) > MAX_ANSWER_CHARS or "\n" in text.strip():
        return False
    num_words = len(plain_words(text))
    if num_words == 0:
        return all(part.count("=") <= 1 for part in re.split(r"\b(?:or|and)\b|,", text))
    if _STOP.search(text):
        return False
    if not re.search(r"\d", text):
        return num_words <= _MAX_BARE_WORDS
    starts_with_number = re.match(r"[\W_]*\d", text) is not None
    return starts_with_number and num_words <= 4 and len(re.findall(r"(?<![\^{\d.,/])\d[\d.,/]*", text)) == 1


def plain_words(text: str) -> list[str]:
    """Words of a text that are no part of a formula; those in LaTeX's text groups count."""
    text = _COMMAND.sub(" ", _TEXT_GROUP.sub(r" \1 ", text))
    return [word for word in _WORD.findall(text) if word.lower() not in FUNCTION_WORDS]
