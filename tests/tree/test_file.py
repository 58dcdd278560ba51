"""Trace files: appended whole, read back, mended after a crash."""

from __future__ import annotations

import gzip
import json
import warnings
from pathlib import Path

import pytest
import zstandard
from fakes.trees import small_trace

from arts_lite.errors import TraceFormatError
from arts_lite.tree import Origin, Tree, TreeWriter, read_trees, tree_of

SUFFIXES = [".jsonl", ".jsonl.gz", ".jsonl.zst"]


def make_tree(question: str) -> Tree:
    return tree_of([small_trace()], Origin(question))


def write(path: Path, *questions: str) -> None:
    with TreeWriter(path) as writer:
        for question in questions:
            writer.write(make_tree(question))


def questions_in(path: Path) -> list[str]:
    return [tree.origin.question for tree in read_trees(path)]


def unpacked(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix == ".gz":
        return gzip.decompress(data)
    if path.suffix == ".zst":
        return zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).read()
    return data


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_trees_are_appended_and_read_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"trees{suffix}"
    write(path, "one", "two\n\u2028 lines")
    write(path, "three", "lone \ud800 surrogate")
    assert questions_in(path) == ["one", "two\n\u2028 lines", "three", "lone \ud800 surrogate"]
    lines = unpacked(path).split(b"\n")
    assert len(lines) == 5
    assert json.loads(lines[0])["question"] == "one"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_writer_killed_at_any_byte_loses_at_most_its_last_line(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"trees{suffix}"
    write(path, "one")
    start = path.stat().st_size
    write(path, "two")
    data = path.read_bytes()
    for cut in range(start + 1, len(data), 7):
        path.write_bytes(data[:cut])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = questions_in(path)
            write(path, "three")
        assert found in (["one"], ["one", "two"])
        assert questions_in(path) == [*found, "three"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_torn_first_line_leaves_an_empty_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"trees{suffix}"
    write(path, "one")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.warns(UserWarning, match="incomplete"):
        write(path, "two")
    assert questions_in(path) == ["two"]


def test_a_torn_last_line_is_told_to_readers_and_writers(tmp_path: Path) -> None:
    path = tmp_path / "trees.jsonl"
    write(path, "one", "two")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.warns(UserWarning, match="line 2 is incomplete"):
        assert questions_in(path) == ["one"]
    with pytest.warns(UserWarning, match="has been cut off"):
        TreeWriter(path).close()
    assert questions_in(path) == ["one"]


def test_a_last_line_that_lacks_only_its_newline_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "trees.jsonl"
    write(path, "one")
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    write(path, "two")
    assert questions_in(path) == ["one", "two"]


def test_a_file_that_somebody_packed_whole_can_be_read_and_appended_to(tmp_path: Path) -> None:
    plain, packed = tmp_path / "trees.jsonl", tmp_path / "trees.jsonl.gz"
    write(plain, "one", "two")
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    write(packed, "three")
    assert questions_in(packed) == ["one", "two", "three"]
    torn = gzip.compress(plain.read_bytes())[:-4]  # only the check sum is missing
    packed.write_bytes(torn)
    write(packed, "three")
    assert questions_in(packed) == ["one", "two", "three"]


def test_a_large_file_is_read_piece_by_piece(tmp_path: Path) -> None:
    path = tmp_path / "trees.jsonl.gz"
    tree = make_tree("x" * 700_000)
    with TreeWriter(path) as writer:
        for _ in range(4):
            writer.write(tree)
    assert [len(question) for question in questions_in(path)] == [700_000] * 4


def test_a_damaged_line_is_named_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "trees.jsonl"
    write(path, "one", "two", "three")
    lines = path.read_bytes().split(b"\n")
    lines[1] = lines[1][:50]
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(TraceFormatError, match=r"trees\.jsonl, line 2: it is no JSON .*delete the line"):
        questions_in(path)


@pytest.mark.parametrize("line", [b"[" * 100_000, b'{"schema": "arts-lite.tree", "version": 9}', b"\xff\xfe", b"3"])
def test_a_strange_line_is_refused(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "trees.jsonl"
    path.write_bytes(line + b"\n")
    with pytest.raises(TraceFormatError, match="line 1"):
        questions_in(path)


def test_damage_inside_a_packed_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trees.jsonl.gz"
    write(path, "one", "two")
    data = bytearray(path.read_bytes())
    data[30:60] = bytes(30)
    path.write_bytes(data)
    with pytest.raises(TraceFormatError, match="damaged"):
        questions_in(path)
    with pytest.raises(TraceFormatError, match="damaged"):
        TreeWriter(path)


@pytest.mark.parametrize(
    "content", [b"# My notes\n", b"a", b'{"schema": "other"}\n', b'[{"schema": "arts-lite.tree"}]']
)
def test_a_file_that_is_no_trace_file_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_bytes(content)
    with pytest.raises(TraceFormatError, match="no trace file"):
        TreeWriter(path)
    assert path.read_bytes() == content


def test_places_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceFormatError, match="cannot be written"):
        TreeWriter(tmp_path)
    with pytest.raises(TraceFormatError, match="cannot be written"):
        TreeWriter(tmp_path / "missing" / "trees.jsonl")
    with pytest.raises(TraceFormatError, match="cannot be read"):
        questions_in(tmp_path / "missing.jsonl")


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trees.jsonl"
    with TreeWriter(path), pytest.raises(TraceFormatError, match="another process"):
        TreeWriter(path)
    write(path, "one")
    assert questions_in(path) == ["one"]


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "trees.jsonl"
    write(path, "one")

    class FullDisk:
        def __init__(self, file: object) -> None:
            self._file = file
            self._room = 10

        def __getattr__(self, name: str) -> object:
            return getattr(self._file, name)

        def write(self, data: bytes) -> int:
            if self._room == 0:
                raise OSError(28, "No space left on device")
            written = self._file.write(data[: self._room])  # type: ignore[attr-defined]
            self._room = 0
            return int(written)

    with TreeWriter(path) as writer:
        monkeypatch.setattr(writer, "_file", FullDisk(writer._file))
        with pytest.raises(TraceFormatError, match="No space left"):
            writer.write(make_tree("two"))
    assert questions_in(path) == ["one"]
