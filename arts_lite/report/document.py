"""A short document of headings, paragraphs, tables and pictures, as Markdown and as a self-contained page."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222;
  background: #fff; }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }
th, td { border-bottom: 1px solid #ccc; padding: .25rem .7rem .25rem 0; text-align: left; vertical-align: top; }
th { border-bottom: 2px solid #888; }
td.verdict { font-weight: bold; white-space: nowrap; }
img { max-width: 100%; }
"""
_STRONG = {"reproduced", "not reproduced", "undecided"}


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading of level 1 to 3."""

    text: str
    level: int = 2


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph."""

    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table: a head and rows of texts."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture in a file, SVG or PNG; in the page it is embedded."""

    path: Path
    text: str


@dataclass(frozen=True, slots=True)
class Link:
    """A line that leads to another file, relative to the document's folder."""

    path: str
    text: str


Block = Heading | Paragraph | Table | Picture | Link


def markdown(blocks: Sequence[Block], folder: Path) -> str:
    """Write as Markdown; pictures are linked, relative to the folder that it will lie in."""
    parts = []
    for block in blocks:
        if isinstance(block, Heading):
            parts.append(f"{'#' * block.level} {block.text}")
        elif isinstance(block, Paragraph):
            parts.append(block.text)
        elif isinstance(block, Picture):
            parts.append(f"![{block.text}]({block.path.relative_to(folder).as_posix()})")
        elif isinstance(block, Link):
            parts.append(f"[{block.text}]({block.path})")
        else:
            lines = [block.head, ["---"] * len(block.head), *block.rows]
            parts.append(
                "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
            )
    return "\n\n".join(parts) + "\n"


def page(blocks: Sequence[Block]) -> str:
    """Write as one page of HTML that needs no other file."""
    title = next((block.text for block in blocks if isinstance(block, Heading)), "")
    body = "\n".join(_html(block) for block in blocks)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _html(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{escape(block.text)}</h{block.level}>"
    if isinstance(block, Paragraph):
        return f"<p>{escape(block.text)}</p>"
    if isinstance(block, Picture):
        kind = "svg+xml" if block.path.suffix == ".svg" else "png"
        data = b64encode(block.path.read_bytes()).decode("ascii")
        return f'<p><img alt="{escape(block.text)}" src="data:image/{kind};base64,{data}"></p>'
    if isinstance(block, Link):
        return f'<p><a href="{escape(block.path)}">{escape(block.text)}</a></p>'
    head = "".join(f"<th>{escape(cell)}</th>" for cell in block.head)
    rows = "\n".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in block.rows)
    return f"<table>\n<tr>{head}</tr>\n{rows}\n</table>"


def _cell(text: str) -> str:
    mark = ' class="verdict"' if text in _STRONG else ""
    return f"<td{mark}>{escape(text)}</td>"
