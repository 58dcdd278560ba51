from __future__ import annotations

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arts_lite.cli.texts import one_line, printable, unescaped

PARAMETER = click.Option(["--step-delimiter"])
CONTEXT = click.Context(click.Command("test"))


@pytest.mark.parametrize(
    ("given", "meant"),
    [(r"\n\n", "\n\n"), (r"\\n", r"\n"), (r"a\tb\r", "a\tb\r"), (r"\x", r"\x"), ("Step:", "Step:"), ("\n", "\n")],
)
def test_delimiters_are_written_as_in_a_shell(given: str, meant: str) -> None:
    assert unescaped(CONTEXT, PARAMETER, (given,)) == (meant,)


@given(st.text())
def test_a_printed_line_is_one_line_without_controls(text: str) -> None:
    line = one_line(text)
    assert len(line.splitlines()) <= 1
    assert line == "".join(char for char in line if char >= " " and not "\x7f" <= char <= "\x9f")


def test_harmless_text_is_printed_as_it_is() -> None:
    text = "3 × 4 = 12\n\tdas heißt: zwölf 🦆"
    assert printable(text) == text
