"""Our own reader of GGUF headers."""

from __future__ import annotations

from pathlib import Path

import gguf
import pytest
from tiny_gguf import NUM_TOKENS, TinyModel, write_tiny_gguf

from arts_lite.engine.gguf import TENSOR_TYPES, read_header
from arts_lite.errors import ModelLoadError


def test_the_header_holds_what_was_written(tiny_model_path: Path) -> None:
    header = read_header(tiny_model_path)
    assert header.architecture == "qwen2"
    assert header.text("general.name") == "tiny random qwen2"
    assert header.number("qwen2.context_length") == 4096
    assert header.arch_value("attention.head_count") == 2
    assert header.arch_ints("attention.head_count", 2) == [2, 2]
    assert header.arch_ints("not.there", 2) is None
    tokens = header.metadata["tokenizer.ggml.tokens"]
    assert isinstance(tokens, list)
    assert len(tokens) == NUM_TOKENS
    reference = {tensor.name: tensor for tensor in gguf.GGUFReader(tiny_model_path).tensors}
    assert {tensor.name for tensor in header.tensors} == set(reference)
    for tensor in header.tensors:
        assert tensor.shape == tuple(reference[tensor.name].shape)
        assert tensor.num_bytes == reference[tensor.name].n_bytes


def test_every_number_format_has_the_size_that_the_gguf_package_says() -> None:
    known = {int(kind): size for kind, size in gguf.GGML_QUANT_SIZES.items()}
    for kind, (name, block, num_bytes) in TENSOR_TYPES.items():
        if kind in known:
            assert known[kind] == (block, num_bytes), name
            assert gguf.GGMLQuantizationType(kind).name == name
    assert {kind for kind in known if kind < 40} <= set(TENSOR_TYPES)


def test_metadata_of_every_type_is_read(tmp_path: Path) -> None:
    values = {"x.bool": True, "x.int": 7, "x.float": 0.5, "x.text": "é", "x.ints": [1, 2], "x.texts": ["a", "b"]}
    header = read_header(write_tiny_gguf(tmp_path / "m.gguf", TinyModel(metadata=values)))
    assert {key: header.metadata[key] for key in values} == {**values, "x.texts": [b"a", b"b"]}
    assert header.text("x.int") is None
    assert header.number("x.bool") is None


def test_a_missing_file_a_directory_and_an_empty_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="does not exist"):
        read_header(tmp_path / "none.gguf")
    with pytest.raises(ModelLoadError, match="is a directory"):
        read_header(tmp_path)
    (tmp_path / "empty.gguf").touch()
    with pytest.raises(ModelLoadError, match="is empty"):
        read_header(tmp_path / "empty.gguf")
    with pytest.raises(ModelLoadError):
        read_header("nul\0byte.gguf")
    with pytest.raises(ModelLoadError):
        read_header("x" * 5000)


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (b"GG", "not a GGUF"),
        (b"hello, world", "not a GGUF"),
        (b"<!DOCTYPE html>", "web page"),
        (b'{"error": "not found"}', "web page or JSON"),
        (b"PK\x03\x04" + b"\0" * 40, "PyTorch"),
        (b"lmgg" + b"\0" * 40, "old GGML"),
        (b"GGUF", "cut short"),
        (b"GGUF\x01\0\0\0" + b"\0" * 16, "version is 1"),
        (b"GGUF\x09\0\0\0" + b"\0" * 16, "version is 9"),
        (b"GGUF\0\0\0\x03" + b"\0" * 16, "byte order"),
        (b"GGUF\x03\0\0\0" + b"\xff" * 16, "more than the file can hold"),
    ],
)
def test_a_file_that_is_no_gguf_says_what_it_may_be(tmp_path: Path, content: bytes, hint: str) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelLoadError, match=hint):
        read_header(path)


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = write_tiny_gguf(tmp_path / "m.gguf", TinyModel(num_layers=1, head_dim=16, ff_dim=32)).read_bytes()
    path = tmp_path / "cut.gguf"
    for end in [*range(1, 400, 7), *range(400, len(whole) - 64, 997)]:
        path.write_bytes(whole[:end])
        with pytest.raises(ModelLoadError):
            read_header(path)
