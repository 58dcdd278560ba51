"""One document, written twice."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

from arts_lite.report.document import Block, Heading, Link, Paragraph, Picture, Table, markdown, page


def blocks(folder: Path) -> list[Block]:
    picture = folder / "plots" / "a.svg"
    picture.parent.mkdir()
    picture.write_text("<svg/>")
    return [
        Heading("Title <1>", 1),
        Paragraph("a & b"),
        Table(["x", "y"], [["1|2", "reproduced"]]),
        Picture(picture, "what it shows"),
        Link("plots/b.html", "more"),
    ]


def test_markdown_has_headings_tables_and_links(tmp_path: Path) -> None:
    assert markdown(blocks(tmp_path), tmp_path).split("\n\n") == [
        "# Title <1>",
        "a & b",
        "| x | y |\n| --- | --- |\n| 1\\|2 | reproduced |",
        "![what it shows](plots/a.svg)",
        "[more](plots/b.html)\n",
    ]


def test_a_page_is_whole_and_escaped(tmp_path: Path) -> None:
    class Seen(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.tags: list[str] = []
            self.texts: list[str] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.tags.append(tag)
            if tag == "img":
                assert str(dict(attrs)["src"]).startswith("data:image/svg+xml;base64,")

        def handle_data(self, data: str) -> None:
            self.texts.append(data)

    text = page(blocks(tmp_path))
    seen = Seen()
    seen.feed(text)
    assert seen.tags.count("h1") == seen.tags.count("img") == 1
    assert seen.tags.count("td") == 2
    assert 'href="plots/b.html"' in text
    assert {"Title <1>", "a & b", "1|2", "reproduced"} <= set(seen.texts)
    assert "http" not in text
