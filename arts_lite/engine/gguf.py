"""Read a GGUF file's header without llama.cpp: metadata, tensors' shapes, and whether all its bytes are there."""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from arts_lite.errors import ModelLoadError

Scalar: TypeAlias = "int | float | bool | str"
Value: TypeAlias = "Scalar | list[int] | list[float] | list[bool] | list[bytes]"

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MAX_DIMS, _MAX_NAME = 4, 64
_UNREAD_ARRAYS = frozenset({"tokenizer.ggml.merges"})  # long, and nobody here looks at them
_TOKENIZER = "tokenizer.ggml."

# ggml_type -> (name, elements per block, bytes per block): facts of the file format.
TENSOR_TYPES: Mapping[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 40), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor's entry in the header."""

    name: str
    shape: tuple[int, ...]
    type_id: int
    offset: int

    @property
    def num_elements(self) -> int:
        """Product of the shape."""
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def type_name(self) -> str:
        """What ggml calls the number format."""
        return TENSOR_TYPES[self.type_id][0] if self.type_id in TENSOR_TYPES else f"type {self.type_id}"

    @property
    def num_bytes(self) -> int | None:
        """Size of the data; None for a number format that is not known here."""
        if self.type_id not in TENSOR_TYPES:
            return None
        _, block, block_bytes = TENSOR_TYPES[self.type_id]
        return self.num_elements // block * block_bytes


@dataclass(frozen=True, slots=True)
class GGUFHeader:
    """What stands in front of a GGUF's weights.

    Attributes:
        tokenizer_sha256: of all `tokenizer.ggml.*` keys, merges included: SHA-256 over their entries as they stand in
            the file (length of the key, key, type, value), in the order of their names. "" for a file without any.
    """

    path: Path
    metadata: Mapping[str, Value]
    tensors: tuple[TensorInfo, ...]
    file_size: int
    tokenizer_sha256: str

    @property
    def architecture(self) -> str:
        """``general.architecture``, or ''."""
        return self.text("general.architecture") or ""

    def text(self, key: str) -> str | None:
        """A key's value if it is a text."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else None

    def number(self, key: str) -> float | None:
        """A key's value if it is a number."""
        value = self.metadata.get(key)
        return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None

    def arch_value(self, key: str) -> Value | None:
        """Value of ``{architecture}.{key}``."""
        return self.metadata.get(f"{self.architecture}.{key}")

    def arch_ints(self, key: str, num_layers: int) -> list[int] | None:
        """A whole number per layer, whether the file gives one for all or an array; None if neither."""
        value = self.arch_value(key)
        if isinstance(value, bool) or value is None:
            return None
        if isinstance(value, int):
            return [value] * num_layers
        if isinstance(value, list) and len(value) >= num_layers and all(type(item) is int for item in value):
            return [int(item) for item in value[:num_layers]]
        return None


def read_header(path: str | os.PathLike[str]) -> GGUFHeader:
    """Read and check a GGUF's header.

    Raises:
        ModelLoadError: no such file, not a regular file, not a GGUF, damaged or cut short.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise ModelLoadError(f"{path} is a directory; name the .gguf file in it")
        if not path.exists():
            raise ModelLoadError(f"{path} does not exist; check the path (relative paths start at {Path.cwd()})")
        if not path.is_file():
            raise ModelLoadError(f"{path} is not a regular file; a model must be one, because it is mapped into memory")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                raise ModelLoadError(f"{path} is empty; download it again")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _Parser(path, data, size).parse()
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"{path} cannot be read: {error}") from error


class _Parser:
    def __init__(self, path: Path, data: mmap.mmap, size: int) -> None:
        self._path = path
        self._data = data
        self._size = size
        self._position = 0

    def parse(self) -> GGUFHeader:
        self._check_magic()
        num_tensors, num_keys = self._number("Q"), self._number("Q")
        # a key takes at least 13 bytes and a tensor 24: huge counts are damage, not work to be done
        if num_tensors > self._size // 24 or num_keys > self._size // 13:
            self._fail(f"its header announces {num_tensors} tensors and {num_keys} keys, more than the file can hold")
        metadata: dict[str, Value] = {}
        entries: dict[str, slice] = {}
        for _ in range(num_keys):
            start = self._position
            key = self._string().decode("utf-8", "replace")
            if not key or key in metadata:
                self._fail(f"the metadata key {key!r} is empty or appears twice")
            metadata[key] = self._value(self._number("I"), key)
            entries[key] = slice(start, self._position)
        tensors = tuple(self._tensor() for _ in range(num_tensors))
        self._check_data(tensors, metadata)
        return GGUFHeader(self._path, metadata, tensors, self._size, self._tokenizer_sha256(entries))

    def _tokenizer_sha256(self, entries: Mapping[str, slice]) -> str:
        keys = sorted(key for key in entries if key.startswith(_TOKENIZER))
        digest = hashlib.sha256()
        for key in keys:
            digest.update(self._data[entries[key]])
        return digest.hexdigest() if keys else ""

    def _check_magic(self) -> None:
        magic = bytes(self._data[:4])
        if magic != b"GGUF":
            hint = ""
            if magic in (b"lmgg", b"tjgg", b"fmgg"):
                hint = "; it is in llama.cpp's old GGML format: convert it to GGUF"
            elif magic[:2] == b"PK" or magic[1:] == b'"__'[: len(magic) - 1]:
                hint = "; it looks like a PyTorch or safetensors file: convert it to GGUF first"
            elif magic.lstrip()[:1] in (b"<", b"{"):
                hint = "; it looks like a web page or JSON: was the download an error message?"
            raise ModelLoadError(f"{self._path} is not a GGUF file: it begins with {magic!r}, not b'GGUF'{hint}")
        self._position = 4
        version = self._number("I")
        if version & 0xFFFF == 0:
            self._fail("it is written for the other byte order")
        if version not in (2, 3):
            self._fail(f"its GGUF version is {version}, but versions 2 and 3 are supported")

    def _fail(self, what: str) -> None:
        raise ModelLoadError(f"{self._path} is damaged or cannot be used: {what}. Download it again or convert it anew")

    def _take(self, count: int) -> int:
        """Step over `count` bytes; returns where they start."""
        start = self._position
        if count > self._size - start:
            self._fail(f"it ends within its header (at byte {self._size}): the file is cut short")
        self._position = start + count
        return start

    def _number(self, code: str) -> int:
        return int(struct.unpack_from("<" + code, self._data, self._take(struct.calcsize("<" + code)))[0])

    def _string(self) -> bytes:
        length = self._number("Q")
        start = self._take(length)
        return bytes(self._data[start : start + length])

    def _value(self, kind: int, key: str) -> Value:
        if kind == _STRING:
            return self._string().decode("utf-8", "replace")
        if kind == _ARRAY:
            return self._array(key)
        if kind not in _SCALARS:
            self._fail(f"the metadata key {key!r} has the unknown type {kind}")
        code = "<" + _SCALARS[kind]
        value: Scalar = struct.unpack_from(code, self._data, self._take(struct.calcsize(code)))[0]
        return value

    def _array(self, key: str) -> Value:
        kind, count = self._number("I"), self._number("Q")
        if kind == _STRING:
            return self._strings(count, keep=key not in _UNREAD_ARRAYS)
        if kind not in _SCALARS:
            self._fail(f"the metadata array {key!r} has the unknown element type {kind}")
        code = _SCALARS[kind]
        start = self._take(count * struct.calcsize("<" + code))
        return list(struct.unpack_from(f"<{count}{code}", self._data, start))

    def _strings(self, count: int, keep: bool) -> list[bytes]:
        if count > self._size // 8:
            self._fail(f"an array announces {count} texts, more than the file can hold")
        data, position, end = self._data, self._position, self._size
        unpack = struct.Struct("<Q").unpack_from
        texts: list[bytes] = []
        for _ in range(count):
            if position + 8 > end:
                self._fail("it ends within its header: the file is cut short")
            (length,) = unpack(data, position)
            position += 8
            if length > end - position:
                self._fail("it ends within its header: the file is cut short")
            if keep:
                texts.append(data[position : position + length])
            position += length
        self._position = position
        return texts

    def _tensor(self) -> TensorInfo:
        name = self._string()
        num_dims = self._number("I")
        if len(name) >= _MAX_NAME or num_dims > _MAX_DIMS:
            self._fail(f"the tensor {name[:_MAX_NAME]!r} has a name or a shape that is too long")
        shape = tuple(self._number("Q") for _ in range(num_dims))
        info = TensorInfo(name.decode("utf-8", "replace"), shape, self._number("I"), self._number("Q"))
        if info.num_elements == 0 or info.num_elements >= 1 << 62:
            self._fail(f"the tensor {info.name!r} has the impossible shape {shape}")
        return info

    def _check_data(self, tensors: tuple[TensorInfo, ...], metadata: Mapping[str, Value]) -> None:
        alignment = metadata.get("general.alignment", 32)
        if type(alignment) is not int or alignment <= 0 or alignment & (alignment - 1):
            self._fail(f"general.alignment is {alignment!r}, but must be a power of two")
            return
        start = -(-self._position // alignment) * alignment
        for tensor in tensors:
            needed = start + tensor.offset + (tensor.num_bytes or 0)
            if needed > self._size:
                self._fail(
                    f"the tensor {tensor.name!r} ends at byte {needed}, but the file has only {self._size} bytes: "
                    "it is cut short"
                )
