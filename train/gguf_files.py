"""GGUF in, GGUF out: a model's own file as the template of its trained successor."""

from __future__ import annotations

import ctypes
import math
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gguf
import llama_cpp.llama_cpp as llama
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arts_lite.engine import log
from arts_lite.engine.gguf import read_header
from arts_lite.errors import ModelLoadError, TrainingError
from arts_lite.train.export import EMBEDDING, FILE_TYPES, add_key
from arts_lite.train.writing import new_gguf, whole_file

Kind = gguf.GGMLQuantizationType

K_QUANTS: Mapping[str, int] = {
    "Q6_K": llama.LLAMA_FTYPE_MOSTLY_Q6_K,
    "Q5_K_M": llama.LLAMA_FTYPE_MOSTLY_Q5_K_M,
    "Q5_K_S": llama.LLAMA_FTYPE_MOSTLY_Q5_K_S,
    "Q4_K_M": llama.LLAMA_FTYPE_MOSTLY_Q4_K_M,
    "Q4_K_S": llama.LLAMA_FTYPE_MOSTLY_Q4_K_S,
}
"""Formats that llama.cpp itself must write -> llama_ftype."""

_Rows = Mapping[int, NDArray[np.float32]]
_NO_WEIGHTS: Mapping[str, Tensor] = {}
_NO_ROWS: Mapping[tuple[str, int], NDArray[np.float32]] = {}
_FLOATS = (Kind.F32, Kind.F16, Kind.BF16)
_ROWWISE = (*_FLOATS, Kind.Q8_0)  # a row of these can be written alone, and nearly exactly
_ALIGNMENT = 32  # of the data, unless a file says otherwise
_MAX_EXACT = 1 << 20  # elements of a matrix that may stay in F16 for the sake of one row
_DROPPED = ("GGUF.", "general.architecture")  # the reader's own, and what the writer writes itself


class Template:
    """An open GGUF file whose keys, tokenizer and tensors another one takes over.

    Raises:
        TrainingError: it cannot be read, or is one part of a split model.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.header = read_header(path)
            self.reader = gguf.GGUFReader(path)
        except (ModelLoadError, OSError, ValueError) as error:
            raise TrainingError(f"the base model cannot be read: {error}") from error
        if (self.header.number("split.count") or 1) > 1:
            raise TrainingError(f"{path} is one part of a split model; join the parts with llama-gguf-split --merge")
        self.architecture = self.header.architecture
        self.tensors: dict[str, gguf.ReaderTensor] = {one.name: one for one in self.reader.tensors}

    def arch_number(self, key: str) -> int:
        """Value of ``{architecture}.{key}``, a whole number for all layers. Raises TrainingError: it is none."""
        value = self.header.arch_value(key)
        if type(value) is not int:
            raise TrainingError(f"{self.path}: {self.architecture}.{key} is {value!r}, but must be a whole number")
        return value

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape, rows first."""
        return tuple(int(size) for size in reversed(self.tensors[name].shape))

    def weight(self, name: str) -> NDArray[np.float32]:
        """A copy of a tensor's values."""
        one = self.tensors[name]
        return np.array(gguf.quants.dequantize(one.data, one.tensor_type), np.float32).reshape(self.shape(name))


@dataclass(frozen=True)
class _Plan:
    """One tensor of the new file."""

    name: str
    shape: tuple[int, ...]
    kind: Any
    make: Callable[[], NDArray[Any]]

    @property
    def num_bytes(self) -> int:
        block, block_bytes = gguf.GGML_QUANT_SIZES[self.kind]
        return math.prod(self.shape) // int(block) * int(block_bytes)


def rewrite(
    template: Template,
    path: Path,
    metadata: Mapping[str, Any],
    *,
    weights: Mapping[str, Tensor] = _NO_WEIGHTS,
    rows: Mapping[tuple[str, int], NDArray[np.float32]] = _NO_ROWS,
    file_type: str = "Q8_0",
    keep_unchanged: bool = True,
) -> None:
    """Write a template with other weights and more keys, atomically.

    Args:
        metadata: keys to add or replace; None removes one, and those that begin with it if it ends with a dot.
        weights: by GGUF names, in GGUF's layout. Those that are equal to the template's count as unchanged.
        rows: (tensor, row) -> float32 [columns], written last.
        file_type: "F32", "F16" or "Q8_0", for matrices that changed and for unchanged ones that are wider.
        keep_unchanged: False: matrices that the template holds quantised are converted too.

    Raises:
        ValueError: no such format.
        TrainingError: a weight does not fit the template, or the file cannot be written.
    """
    if file_type not in FILE_TYPES:
        raise ValueError(f"file_type is {file_type!r}, but must be one of {', '.join(FILE_TYPES)}")
    _check_shapes(template, weights, rows)
    plans = []
    for name in template.tensors:
        own_rows = {row: values for (owner, row), values in rows.items() if owner == name}
        plans.append(_plan(template, name, weights.get(name), own_rows, FILE_TYPES[file_type][1], keep_unchanged))
    with new_gguf(path, template.architecture) as writer:
        _copy_keys(template, writer, {**_file_type_key(plans), **metadata})
        for plan in plans:
            writer.add_tensor_info(plan.name, plan.shape, np.dtype(np.float32), plan.num_bytes, plan.kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for plan in plans:  # one at a time: a model need not fit into memory twice
            writer.write_tensor_data(plan.make())


def quantise(source: Path, path: Path, file_type: str, *, exact: str | None = None) -> None:
    """Let llama.cpp write a K-quant of an unquantised GGUF, atomically; all keys are kept.

    Args:
        exact: a matrix (token_embd.weight or output.weight) that is to be nearly exact whatever the format says: Q8_0,
            or F16 if it is small.

    Raises:
        ValueError: no such format.
        TrainingError: llama.cpp refuses, or the file cannot be written.
    """
    if file_type not in K_QUANTS:
        raise ValueError(f"file_type is {file_type!r}, but must be one of {', '.join(K_QUANTS)}")
    header = read_header(source)
    if header.metadata.get(gguf.Keys.General.ALIGNMENT, _ALIGNMENT) != _ALIGNMENT:
        raise TrainingError(
            f"{source} is aligned to other than {_ALIGNMENT} bytes, which llama.cpp's quantiser ignores"
        )
    params = llama.llama_model_quantize_default_params()
    params.ftype = K_QUANTS[file_type]
    params.nthread = os.cpu_count() or 1
    if exact is not None:
        [size] = [one.num_elements for one in header.tensors if one.name == exact]
        kind = int(Kind.F16 if size <= _MAX_EXACT else Kind.Q8_0)
        params.output_tensor_type = kind  # a tied embedding counts as the output layer
        if exact == EMBEDDING:
            params.token_embedding_type = kind
    with whole_file(path) as temporary, log.captured() as lines:
        failed = llama.llama_model_quantize(os.fsencode(source), os.fsencode(temporary), ctypes.byref(params))
        if failed:
            raise TrainingError(f"llama.cpp cannot quantise {source} to {file_type}: {log.reason(lines)}")


def _check_shapes(
    template: Template, weights: Mapping[str, Tensor], rows: Mapping[tuple[str, int], NDArray[np.float32]]
) -> None:
    for name in [*weights, *(name for name, _ in rows)]:
        if name not in template.tensors:
            raise TrainingError(f"{template.path} has no tensor {name}: the trained model is not of this base")
    for name, weight in weights.items():
        if tuple(weight.shape) != template.shape(name):
            raise TrainingError(
                f"tensor {name} is of the shape {tuple(weight.shape)}, but {template.path} has {template.shape(name)}: "
                "the trained model is not of this base"
            )
        if not torch.isfinite(weight).all():
            raise TrainingError(f"tensor {name} holds numbers that are not finite; export an earlier checkpoint")
    for (name, row), values in rows.items():
        height, width = template.shape(name)
        if not 0 <= row < height or values.shape != (width,):
            raise TrainingError(f"row {row} of {name} is of the shape {values.shape}, but it is {height} x {width}")


def _plan(
    template: Template,
    name: str,
    weight: Tensor | None,
    rows: _Rows,
    wanted: Any,
    keep_unchanged: bool,
) -> _Plan:
    own, shape = template.tensors[name].tensor_type, template.shape(name)
    kind = _kind(name, shape, wanted, has_rows=bool(rows))
    if weight is not None and _is_same(template.weight(name), weight):
        weight = None
    is_kept = _width(own) <= _width(kind) if own in _FLOATS else keep_unchanged
    if rows:
        is_kept &= own in _ROWWISE and _width(own) >= _width(kind)
    if weight is None and is_kept:
        return _Plan(name, shape, own, partial(_kept, template, name, rows))
    return _Plan(name, shape, kind, partial(_converted, template, name, weight, rows, kind))


def _kept(template: Template, name: str, rows: _Rows) -> NDArray[Any]:
    tensor = template.tensors[name]
    data: NDArray[Any] = np.array(tensor.data) if rows else tensor.data
    for row, values in rows.items():
        data[row] = gguf.quants.quantize(values[None], tensor.tensor_type)[0]
    return data


def _converted(template: Template, name: str, weight: Tensor | None, rows: _Rows, kind: Any) -> NDArray[Any]:
    values = template.weight(name) if weight is None else weight.detach().float().cpu().numpy()
    values = np.array(values, np.float32, order="C") if rows else np.ascontiguousarray(values, np.float32)
    for row, own in rows.items():
        values[row] = own
    data: NDArray[Any] = gguf.quants.quantize(values, kind)
    return data


def _width(kind: Any) -> float:
    """Bytes per number."""
    block, num_bytes = gguf.GGML_QUANT_SIZES[kind]
    return float(num_bytes / block)


def _is_same(old: NDArray[np.float32], new: Tensor) -> bool:
    """Whether a weight is what loading the template in the weight's own precision gives."""
    return bool(torch.equal(torch.from_numpy(old).to(new.dtype), new.detach().cpu()))


def _kind(name: str, shape: tuple[int, ...], wanted: Any, *, has_rows: bool) -> Any:
    """How a tensor is stored: vectors, norms and routers in F32, what does not divide into blocks in F16."""
    if len(shape) == 1 or "_norm." in name or "ffn_gate_inp" in name:
        return Kind.F32
    is_small = has_rows and math.prod(shape) <= _MAX_EXACT
    if wanted == Kind.Q8_0 and (is_small or shape[-1] % gguf.GGML_QUANT_SIZES[Kind.Q8_0][0]):
        return Kind.F16
    return wanted


def _file_type_key(plans: list[_Plan]) -> dict[str, int]:
    """general.file_type by what most weights are stored as; the template's own where it has no number here."""
    sizes: Counter[Any] = Counter()
    for plan in plans:
        sizes[plan.kind] += math.prod(plan.shape)
    [(kind, _)] = sizes.most_common(1)
    numbers = [number for number, stored_as in FILE_TYPES.values() if stored_as == kind]
    return {"general.file_type": numbers[0]} if numbers else {}


def _copy_keys(template: Template, writer: gguf.GGUFWriter, metadata: Mapping[str, Any]) -> None:
    removed = tuple(key for key in metadata if key.endswith("."))
    for field in template.reader.fields.values():
        if field.name.startswith((*_DROPPED, *removed)) or field.name in metadata:
            continue
        kind = field.types[0]
        value = field.contents()
        writer.add_key_value(field.name, value, kind, field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)
        if field.name == gguf.Keys.General.ALIGNMENT:
            writer.data_alignment = value
    for key, value in metadata.items():
        if value is not None:
            add_key(writer, key, value)
