"""What the documents show runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def snippets() -> list[tuple[str, str]]:
    found = []
    for name in ("README.md", "docs/python.md"):
        blocks = re.findall(
            r"^```python\n(.*?)^```", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
        )
        found += [(f"{name} {index}", block) for index, block in enumerate(blocks)]
    return found


@pytest.mark.parametrize("code", [code for _, code in snippets()], ids=[name for name, _ in snippets()])
def test_a_documented_snippet_runs(
    code: str, tiny_model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "MODEL.gguf" in code
    exec(compile(code.replace("MODEL.gguf", str(tiny_model_path)), "snippet", "exec"), {"__name__": "__main__"})


def test_the_documents_link_to_files_that_exist() -> None:
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"
