"""The page as a text: it is whole, asks for nothing, and no text of a model is anything but text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from fakes.pictured import family
from hypothesis import given
from hypothesis import strategies as st

from arts_lite.errors import ReportError
from arts_lite.report import tree_page, write_tree_page
from arts_lite.report.html import json_in_html
from arts_lite.tree import TreeWriter


def data_of(page: str) -> Any:
    return json.loads(page.split('<script type="application/json" id="data">')[1].split("</script>")[0])


def test_the_page_holds_the_tree_and_needs_no_network() -> None:
    page = tree_page([family()])
    tree = data_of(page)["trees"][0]
    assert tree["nodes"]["text"][1:4] == ["start", "add", "right"]
    assert tree["nodes"]["log_flow"][:2] == [None, 1.0]
    assert tree["traces"]["why"][2] == "its flow fell below 0.05"
    assert (tree["gold"], tree["answer"]) == ("42", "42")
    assert not re.search(r"https?://|@import|\bsrc=|<link", page)
    assert not re.search(r"@(SCRIPT|STYLE|DATA)", page)


def test_only_the_pages_own_script_and_style_may_run() -> None:
    page = tree_page([family()])
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)
    for name, tag in (("script-src", "<script>"), ("style-src", "<style>")):
        [content] = re.findall(rf"{tag}(.*?)</{tag[1:]}", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{name} 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_no_script_asks_for_html() -> None:
    page = tree_page([family()])
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", page)


@given(st.text() | st.sampled_from(["</script>", "<!--<script>", "@DATA@", "\u2028", "\ud800", "\\u003c"]))
def test_json_in_a_script_element_is_plain_ascii_without_a_way_out(text: str) -> None:
    embedded = json_in_html([text])
    assert json.loads(embedded) == [text]
    assert embedded.isascii()
    assert not set("<>&") & set(embedded)


def test_a_text_that_names_a_place_of_the_template_is_left_alone() -> None:
    page = tree_page([family("@SCRIPT@ @DATA@ @STYLE@")])
    assert data_of(page)["trees"][0]["question"] == "@SCRIPT@ @DATA@ @STYLE@"


def test_a_page_without_a_tree_is_refused() -> None:
    with pytest.raises(ValueError, match="trees is empty"):
        tree_page([])


def test_a_page_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write_tree_page(path, [family()])
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [one.name for one in tmp_path.iterdir()] == ["page.html"]
    with pytest.raises(ReportError, match="cannot be written"):
        write_tree_page(tmp_path / "none" / "page.html", [family()])


def test_the_documented_snippets_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with TreeWriter("trees.jsonl.gz") as writer:
        writer.write(family())
    document = Path(__file__).parents[2] / "docs" / "report.md"
    snippets = re.findall(r"^```python\n(.*?)^```", document.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    for snippet in snippets:
        exec(compile(snippet, "snippet", "exec"), {})
    assert {path.name for path in tmp_path.iterdir()} == {"trees.jsonl.gz", "page.html", "accuracy.svg", "accuracy.png"}
