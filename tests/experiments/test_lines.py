from __future__ import annotations

from pathlib import Path

import pytest

from arts_lite.experiments.lines import LinesError, LineWriter, read_lines, write_whole


def test_lines_are_read_as_they_were_written_and_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "a" / "lines.jsonl"
    for number in range(3):
        with LineWriter(path) as writer:
            writer.write({"number": number, "text": "\u2028 \ud800"})
    assert [line["number"] for line in read_lines(path)] == [0, 1, 2]
    assert next(read_lines(path))["text"] == "\u2028 \ud800"
    assert list(read_lines(tmp_path / "none.jsonl")) == []


@pytest.mark.parametrize("torn", [b'{"numb', b'{"number": 1}'])
def test_a_torn_last_line_is_skipped_and_cut_off(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"number": 0}\n' + torn)
    assert [line["number"] for line in read_lines(path)] == [0]
    with pytest.warns(UserWarning, match="cut off"), LineWriter(path) as writer:
        writer.write({"number": 2})
    assert [line["number"] for line in read_lines(path)] == [0, 2]


def test_a_damaged_line_and_a_second_writer_are_told(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"number": 0}\nnonsense\n{"number": 2}\n')
    with pytest.raises(LinesError, match="line 2"):
        list(read_lines(path))
    with LineWriter(path), pytest.raises(LinesError, match="another process"):
        LineWriter(path)


def test_a_number_that_json_does_not_know_is_never_written(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    with LineWriter(path) as writer, pytest.raises(ValueError, match="JSON compliant"):
        writer.write({"value": float("nan")})
    assert path.read_bytes() == b""


def test_a_whole_file_replaces_the_old_one_and_leaves_no_draft(tmp_path: Path) -> None:
    for text in ("one", "two"):
        write_whole(tmp_path / "a.json", text)
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    with pytest.raises(LinesError, match="cannot be written"):
        write_whole(tmp_path / "none" / "a.json", "x")
