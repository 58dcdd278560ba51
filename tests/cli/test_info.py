"""`arts-lite info` on files of ours."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner
from tiny_gguf import TinyModel, write_tiny_gguf

from arts_lite.cli import main


def test_long_keys_are_shortened_for_people_and_whole_in_json(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "v.gguf", TinyModel(metadata={"arts.verifier.head.data": "ab" * 1000}))
    shown = CliRunner().invoke(main, ["info", str(path)]).output
    assert "ab... (2000 characters)" in shown
    assert max(map(len, shown.splitlines())) < 400
    row = json.loads(CliRunner().invoke(main, ["info", "--json", str(path)]).output)
    assert row["arts"]["arts.verifier.head.data"] == "ab" * 1000
