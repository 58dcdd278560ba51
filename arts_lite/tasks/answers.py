"""Finding the final answer in a model's text, and telling when two answers are the same.

Model output is hostile input: everything here takes time linear in the text's length, and numbers stay small.
"""

from __future__ import annotations

import re
from collections import deque
from fractions import Fraction

MAX_ANSWER_CHARS = 1000
"""Longer answers are compared as they are."""

_BOX_OR_BRACE = re.compile(r"\\boxed\s*\{|\\.|[{}]", re.DOTALL)
_ANSWER_IS = re.compile(r"answer(?:\s+is\s*:?|\s*[:=])", re.IGNORECASE)
_SENTENCE_END = re.compile(r"\.(?=\s|$)")
_NUMBER_IN_TEXT = re.compile(
    r"(?<![\w.])[-\u2212]?(?:\$?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:/\d+)?(?!\w)"
    r"|\\[dt]?frac\{\d{1,30}\}\{\d{1,30}\})"
)
_LEADING_NUMBER = re.compile(r"[^\w\s\\(-]*(-?\$?\d[\d,]*(?:\.\d+)?(?:/\d+)?%?)(?![\w^*/+])")


def extract_answer(text: str) -> str | None:
    r"""Return the final answer that a reasoning text states, or None.

    Looked for in this order, `<think>...</think>` left out: the last `\boxed{...}`, `#### ...`, "answer is ..." or
    "answer: ...", else the last number.
    """
    text = _without_thinking(text)
    for find in (_last_boxed, _after_hashes, _after_answer_is, _last_number):
        answer = find(text)
        if answer is not None and answer.strip():
            return answer.strip()
    return None


def _without_thinking(text: str) -> str:
    """Drop think parts: closed ones, one that the prompt opened, and one that was never closed."""
    kept: list[str] = []
    position = 0
    while (start := text.find("<think>", position)) >= 0:
        kept.append(text[position:start])
        end = text.find("</think>", start)
        if end < 0:
            return "".join(kept)
        position = end + len("</think>")
    kept.append(text[position:])
    return "".join(kept).rpartition("</think>")[2]


def _last_boxed(text: str) -> str | None:
    """Content of the last (of nested ones: the innermost) boxed group with balanced braces."""
    open_groups: list[int | None] = []  # start of the content of a box, None for any other brace
    best: tuple[int, int] | None = None
    for match in _BOX_OR_BRACE.finditer(text):
        token = match.group()
        if token == "{":
            open_groups.append(None)
        elif token == "}":
            start = open_groups.pop() if open_groups else None
            if start is not None and (best is None or start > best[0]):
                best = (start, match.start())
        elif token.startswith("\\boxed"):
            open_groups.append(match.end())
    return text[best[0] : best[1]] if best else None


def _after_hashes(text: str) -> str | None:
    """GSM8K's `#### 18`; a Markdown heading in the middle of the text is none, unless it is a bare number."""
    before, hashes, after = text.rpartition("####")
    if not hashes or before.endswith("#"):
        return None
    line, _, rest = after.strip().partition("\n")
    return line if not rest.strip() or _parse_number(line) is not None else None


def _after_answer_is(text: str) -> str | None:
    last = _last_match(_ANSWER_IS, text)
    if last is None:
        return None
    line = text[last.end() :].lstrip("*_ \t\r\n:").partition("\n")[0][:MAX_ANSWER_CHARS]
    phrase = _SENTENCE_END.split(line, maxsplit=1)[0].strip(" *_`")
    if len(phrase.split()) <= 4 and "=" not in phrase:
        return phrase
    phrase = phrase.rpartition("=")[2].strip()
    leading = _LEADING_NUMBER.match(phrase)
    return leading.group(1) if leading else _last_number(phrase)


def _last_number(text: str) -> str | None:
    last = _last_match(_NUMBER_IN_TEXT, text)
    return last.group() if last else None


def _last_match(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    matches = deque(pattern.finditer(text), maxlen=1)
    return matches[0] if matches else None


_CHARACTERS = str.maketrans("\u2212\u2012\u2013\uff0d\u00a0\u2009\u202f\uff05\u2044\u2215", "----   %//")
_WRAPPERS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("**", "**"), ("`", "`"), ('"', '"'))
_GROUP = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mbox|boxed)\s*\{([^{}]*)\}")
_SPACING = re.compile(r"\\[!,;: ]|\\(?:left|right|quad|qquad)(?![A-Za-z])|~")
_DEGREES = re.compile(r"\^\s*(?:\\circ|\{\s*\\circ\s*\})|\u00b0")
_SHORT_FRACTION = re.compile(r"\\[dt]?frac\s*(?:\{([^{}]*)\}|(\d))\s*(?:\{([^{}]*)\}|(\d))")
_ASSIGNED = re.compile(r"[A-Za-z]\s*=\s*(?=[^=])")
_DECIMAL = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+"
_PLAIN = re.compile(rf"([+-]?)\s*[$\u20ac\u00a3\u00a5]?\s*([+-]?)(?:{_DECIMAL})")
_RATIO = re.compile(r"([+-]?)\s*(?:(\d{1,30})\s+)?\(?([+-]?\d{1,30})\)?\s*/\s*\(?(\d{1,30})\)?")
_UNIT = re.compile(
    r"(.*[\d.)])(?:\s*[%$\u20ac\u00a3\u00a5]|\s*(?:percent|percentage|cm|km|mm|kg|lb|oz|ft|mph|hr|ml)(?:\s*\^?\{?[23]\}?)?)"
)
_UNIT_WORDS = re.compile(r"([^A-Za-z]*[\d.)])((?:\s+[A-Za-z]{2,}){1,4})")
_NOT_UNITS = re.compile(
    r"\b(?:am|pm|or|and|mod|pi|sqrt|sin|cos|tan|log|ln|base|plus|minus|times|over|choose|out|less|more|than|remainder"
    r"|half|halves|thirds?|quarters?|tenths|hundredths|dozens?|hundred|thousand|million|billion|trillion)\b",
    re.IGNORECASE,
)


def canonical_answer(answer: str) -> str:
    r"""Write an answer in a form that is equal for answers that mean the same.

    Numbers become integers or reduced fractions: `18`, `18.0`, `\$18`, `18 dollars`, `\frac{36}{2}`; a percent sign is
    a unit like any other and dropped. All else is only tidied (wrappers, spaces; case where there is no formula).
    """
    text = answer.strip()
    if len(text) > MAX_ANSWER_CHARS:
        return text
    text = _plain_text(text)
    number = _parse_number(text)
    if number is None and (unit := _UNIT.fullmatch(text)):
        number = _parse_number(unit.group(1))
    words = _UNIT_WORDS.fullmatch(text)
    if number is None and words and not _NOT_UNITS.search(words.group(2)):
        number = _parse_number(words.group(1))
    if number is not None:
        return str(number)
    if re.fullmatch(r"\([A-Za-z]\)", text):
        text = text[1:-1]
    if re.search(r"[\d\\^=+*/(){}\[\]]", text):
        return re.sub(r"\s+", "", text)
    return " ".join(text.casefold().split()) if len(text) > 1 else text


def same_answer(a: str, b: str) -> bool:
    """Tell whether two answers mean the same; in doubt they do not."""
    return canonical_answer(a) == canonical_answer(b)


def _plain_text(text: str) -> str:
    """Take LaTeX's and Markdown's dress off: wrappers, text groups, spacing, degree signs, trailing dots."""
    text = text.translate(_CHARACTERS).replace("{,}", ",")
    text = _GROUP.sub(r" \1 ", text) if "\\" in text else text
    previous = None
    while text != previous:
        previous = text
        text = text.strip().rstrip(".,;:").strip()
        for left, right in _WRAPPERS:
            if len(text) > len(left + right) and text.startswith(left) and text.endswith(right):
                text = text[len(left) : -len(right)]
    text = text.replace("\\$", "$").replace("\\%", "%")
    text = _DEGREES.sub("", _SPACING.sub("", text))
    text = _SHORT_FRACTION.sub(lambda m: f" ({m[1] or m[2] or ''})/({m[3] or m[4] or ''})", text)
    assigned = _ASSIGNED.match(text)
    return (text[assigned.end() :] if assigned else text).strip()


def _parse_number(text: str) -> Fraction | None:
    """Read a decimal, a ratio of integers or a mixed number of moderate length; None for anything else."""
    text = text.strip()
    if len(text) > 100:
        return None
    if match := _PLAIN.fullmatch(text):
        if match.group(1) and match.group(2):
            return None
        return Fraction(re.sub(r"[$\u20ac\u00a3\u00a5,\s]", "", text).removesuffix("."))
    match = _RATIO.fullmatch(text)
    if not match or int(match.group(4)) == 0:
        return None
    sign, whole, top, bottom = match.groups()
    if (whole or sign) and not top.isdigit():
        return None
    value = int(whole or 0) + Fraction(int(top), int(bottom))
    return -value if sign == "-" else value
