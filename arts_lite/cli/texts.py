"""Texts that come in from a user, and texts of a model that go out to a terminal."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from arts_lite.cli.commands import Failure

_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\"}


def read_questions(question: str | None, file: str | None) -> list[str]:
    """Return the questions that the command line names: the argument, or the lines of stdin or a file.

    Raises:
        UsageError: none was named, or both ways were used.
        Failure: a file that cannot be read, is no UTF-8 or holds no question.
    """
    if (question is None) == (file is None):
        raise click.UsageError("give one of: a QUESTION, '-' to read questions from stdin, or --file FILE.")
    if question is not None and question != "-":
        if not question.strip():
            raise click.UsageError("the QUESTION is empty; ask something.")
        return [question]
    where = "stdin" if file in (None, "-") else str(file)
    try:
        content = sys.stdin.buffer.read() if where == "stdin" else Path(where).read_bytes()
    except OSError as error:
        raise Failure(f"{where} cannot be read: {error.strerror or error}; check the path.") from error
    lines = _decode(content, where).splitlines(keepends=False) if content else []
    questions = [line.strip() for line in lines if line.strip()]
    if not questions:
        raise Failure(f"{where} holds no question; write one a line.")
    return questions


def _decode(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8-sig").replace("\u2028", " ").replace("\u2029", " ").replace("\x85", " ")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Failure(f"{where}, line {line}, is no valid UTF-8 ({error.reason}); convert the file to UTF-8.") from None


def valid_text(_ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Refuse an argument whose bytes were no valid UTF-8 (Python hands them on as lone surrogates)."""
    if value is not None:
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise click.BadParameter(f"it is no valid Unicode at character {error.start}.", param=parameter) from None
    return value


def unescaped(_ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    r"""Read `\n`, `\t`, `\r` and `\\` in delimiters as people write them in a shell."""
    for value in values:
        valid_text(_ctx, parameter, value)
    return tuple(re.sub(r"\\([ntr\\])", lambda match: _ESCAPES[match[1]], value) for value in values)


def printable(text: str) -> str:
    """Replace what could steer a terminal: control characters other than newline and tab, and direction marks."""
    return _UNSAFE.sub("\ufffd", text)


def one_line(text: str) -> str:
    """Make a text safe to print as a line."""
    return " ".join(printable(text).split())
