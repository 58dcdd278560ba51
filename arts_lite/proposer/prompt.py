"""From a question to prompt tokens. Special tokens are read in the template's own text, never in the user's."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from arts_lite.engine.vocab import Vocab

PLAIN_TEMPLATE = "{system}Question: {question}\nAnswer:"
"""For base models, which have no chat template."""

Render = Callable[[str, str], str]
"""(question, system) -> prompt text. Raises ValueError: the template is broken or refuses."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a prompt: the template's own text, or the user's."""

    text: str
    is_users: bool


def plain_renderer(template: str) -> Render:
    """Fill ``{question}`` and ``{system}`` into a text; all other braces stay. Raises ValueError: no ``{question}``."""
    if "{question}" not in template:
        raise ValueError(f"the prompt template {template[:80]!r} must contain {{question}}, where the question goes")

    def render(question: str, system: str) -> str:
        # in one pass: a question may hold the text "{system}"
        pieces = (part.split("{system}") for part in template.split("{question}"))
        return question.join(system.join(part) for part in pieces)

    return render


def read_template(template: str | Path) -> str:
    """Return a template's text: a text with ``{question}`` is one itself, anything else is a file's path."""
    if isinstance(template, str) and "{question}" in template:
        return template
    try:
        return Path(template).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ValueError(
            f"the prompt template {str(template)!r} cannot be read ({error}); pass a text file with {{question}} and, "
            "if you like, {system} in it"
        ) from error


def segments(render: Render, question: str, system: str) -> list[Segment]:
    """Render a prompt and say which stretches are the user's words. Raises ValueError: the question is not in it."""
    real = render(question, system)
    marks = _marks((real, question, system))
    marked = render(marks[0], marks[1] if system else "")
    if marks[0] not in marked:
        raise ValueError("the prompt template does not put the question into the prompt; check it or pass another one")
    parts = _split(marked, {marks[0]: question, marks[1]: system})
    if "".join(part.text for part in parts) == real:
        return parts
    # most templates that change the user's words strip them
    return _split(marked, {marks[0]: question.strip(), marks[1]: system.strip()})


def _marks(texts: Sequence[str]) -> list[str]:
    """Two texts that occur in none of these; letters only, so that no template treats them as markup."""
    candidates = (f"ArtsMark{number}x" for number in itertools.count())
    return list(itertools.islice((mark for mark in candidates if not any(mark in text for text in texts)), 2))


def _split(marked: str, contents: dict[str, str]) -> list[Segment]:
    parts = [Segment(marked, False)]
    for mark, content in contents.items():
        split: list[Segment] = []
        for part in parts:
            if part.is_users or mark not in part.text:
                split.append(part)
                continue
            for index, own in enumerate(part.text.split(mark)):
                split += [Segment(content, True)] * (index > 0) + [Segment(own, False)]
        parts = split
    return [part for part in parts if part.text]


def encode(parts: Sequence[Segment], vocab: Vocab) -> list[int]:
    """Tokenise a prompt, with one BOS if the model wants one."""
    tokens: list[int] = []
    for text, parse_special in _pieces(parts, vocab.special_pattern):
        tokens += vocab.tokenise(text, parse_special=parse_special)
    if vocab.adds_bos and vocab.bos is not None and tokens[:1] != [vocab.bos]:
        tokens.insert(0, vocab.bos)
    return tokens


def _pieces(parts: Sequence[Segment], pattern: re.Pattern[str] | None) -> Iterator[tuple[str, bool]]:
    """Cut a prompt where the user typed a special token's text, so that it is read as plain text.

    Everything else stays in one piece: tokenizers merge across the border of template and question.
    """
    whole = "".join(part.text for part in parts)
    ends = list(itertools.accumulate(len(part.text) for part in parts))
    users = [(end - len(part.text), end) for part, end in zip(parts, ends, strict=True) if part.is_users]
    start = 0
    for match in pattern.finditer(whole) if pattern else ():
        if any(match.start() < end and match.end() > begin for begin, end in users):
            yield whole[start : match.start()], True
            yield match.group(), False
            start = match.end()
    yield whole[start:], True
