"""A trained verifier as one GGUF file: weights, head, and the keys that say what it is."""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from arts_lite.engine.gguf import read_header
from arts_lite.train.byte_vocab import tokenizer_keys
from arts_lite.train.export import EMBEDDING, FILE_TYPES, add_key, write_gguf
from arts_lite.train.gguf_files import K_QUANTS, Template, quantise, rewrite
from arts_lite.train.hf_weights import gguf_weights
from arts_lite.train.rundir import replacing
from arts_lite.train.transformer import Transformer
from arts_lite.train.writing import new_gguf
from arts_lite.verifier.format import PREFIX, VerifierFormat, read_verifier, unused_token

VERIFIER_FILE_TYPES = (*FILE_TYPES, *K_QUANTS)
_Write = Callable[[Path, str, bool], None]
"""(path, format, whether that format is the file's last) -> None."""
_NO_STATE: Mapping[str, Tensor] = {}
_NO_METADATA: Mapping[str, Any] = {}
_SQUASHED = ("final_logit_softcapping", "logit_scale")  # there, a logit is not the plain product any more


def write_verifier(
    path: Path,
    model: Transformer,
    verifier: VerifierFormat,
    *,
    file_type: str = "F16",
    metadata: Mapping[str, Any] = _NO_METADATA,
) -> VerifierFormat:
    """Write a tiny verifier, atomically; returns the format as it stands in the file.

    Args:
        verifier: its slot and tokenizer_sha256 are filled in.
        file_type: one of `VERIFIER_FILE_TYPES`.
        metadata: more keys (general.*).

    Raises:
        ValueError: no such format, or the head is not of the model's width.
        TrainingError: the file cannot be written.
        VerifierError: what was written cannot be read back.
    """
    _check_head(verifier, model.shape.dim)
    keys = tokenizer_keys()
    filled = dataclasses.replace(verifier, slot=unused_token(keys), tokenizer_sha256=tokenizer_sha256(keys))
    rows = {} if filled.slot is None else {filled.slot: filled.head.weight}

    def write(to: Path, as_type: str, _is_last: bool) -> None:
        write_gguf(to, model, {**metadata, **filled.keys()}, file_type=as_type, token_rows=rows)

    return _write(path, file_type, write, exact=EMBEDDING if rows else None)


def write_verifier_from(
    template_path: Path,
    path: Path,
    verifier: VerifierFormat,
    *,
    state: Mapping[str, Tensor] = _NO_STATE,
    file_type: str = "Q8_0",
    metadata: Mapping[str, Any] = _NO_METADATA,
) -> VerifierFormat:
    """Write a verifier with its base's GGUF as template, atomically; returns the format as it stands in the file.

    Args:
        template_path: keys, tokenizer, chat template and unchanged tensors are taken over from it.
        verifier: its slot and tokenizer_sha256 are filled in; its base too, by the template, where it names none.
        state: Hugging Face state dict of the language model, whole or in part, LoRA merged.
        file_type: one of `VERIFIER_FILE_TYPES`, for matrices that changed and for unchanged ones that are wider; a
            K-quant is for all of them.
        metadata: more keys (general.*); None removes one.

    Raises:
        ValueError: no such format, or the head is not of the model's width.
        TrainingError: the template cannot be used or exported, a weight does not fit, the file cannot be written.
        VerifierError: what was written cannot be read back.
    """
    template = Template(template_path)
    header = template.header
    _check_head(verifier, template.arch_number("embedding_length"))
    has_plain_logits = not any(header.arch_value(key) for key in _SQUASHED)
    slot = unused_token(header.metadata) if has_plain_logits else None
    filled = dataclasses.replace(
        verifier,
        slot=slot,
        tokenizer_sha256=header.tokenizer_sha256,
        base_name=verifier.base_name or header.text("general.name") or template_path.stem,
        base_sha256=verifier.base_sha256 or ("" if verifier.base_name else _file_sha256(template_path)),
    )
    output = "output.weight" if "output.weight" in template.tensors else EMBEDDING
    rows: Mapping[tuple[str, int], NDArray[np.float32]] = {} if slot is None else {(output, slot): filled.head.weight}
    weights = gguf_weights(template, state) if state else {}
    keys = {PREFIX: None, **metadata, **filled.keys()}

    def write(to: Path, as_type: str, is_last: bool) -> None:
        # llama.cpp's quantiser knows no other alignment than the usual one
        more = keys if is_last else {**keys, gguf.Keys.General.ALIGNMENT: None}
        rewrite(template, to, more, weights=weights, rows=rows, file_type=as_type, keep_unchanged=is_last)

    return _write(path, file_type, write, exact=output if rows else None)


def replace_head(template_path: Path, path: Path, verifier: VerifierFormat) -> VerifierFormat:
    """Write a verifier's file with another head and other `arts.*` keys, atomically; all else keeps its bytes.

    Args:
        template_path: may be `path`.
        verifier: its slot and tokenizer_sha256 are the file's.

    Raises:
        TrainingError: the file cannot be used or written.
        VerifierError: what was written cannot be read back.
    """
    template = Template(template_path)
    _check_head(verifier, template.arch_number("embedding_length"))
    output = "output.weight" if "output.weight" in template.tensors else EMBEDDING
    kind = template.tensors[output].tensor_type.name
    rows: Mapping[tuple[str, int], NDArray[np.float32]] = {}
    file_type = "F32"  # nothing is wider, so that everything stays as it is
    if verifier.slot is not None:
        rows, file_type = {(output, verifier.slot): verifier.head.weight}, kind if kind in FILE_TYPES else "Q8_0"
    with replacing(path) as whole:
        rewrite(template, whole, {PREFIX: None, **verifier.keys()}, rows=rows, file_type=file_type)
        return read_verifier(read_header(whole))


def tokenizer_sha256(keys: Mapping[str, Any]) -> str:
    """Compute what `GGUFHeader.tokenizer_sha256` of a file with these keys is, by writing one."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "keys.gguf"
        with new_gguf(path, "none") as writer:
            for key, value in keys.items():
                add_key(writer, key, value)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
        return read_header(path).tokenizer_sha256


def _write(path: Path, file_type: str, write: _Write, *, exact: str | None) -> VerifierFormat:
    if file_type not in VERIFIER_FILE_TYPES:
        raise ValueError(f"file_type is {file_type!r}, but must be one of {', '.join(VERIFIER_FILE_TYPES)}")
    with replacing(path) as whole:
        if file_type in K_QUANTS:
            unquantised = whole.with_name(whole.name + ".f16")
            try:
                write(unquantised, "F16", False)
                quantise(unquantised, whole, file_type, exact=exact)
            finally:
                unquantised.unlink(missing_ok=True)
        else:
            write(whole, file_type, True)
        # what cannot be read back never takes the place of what can
        return read_verifier(read_header(whole))


def _file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _check_head(verifier: VerifierFormat, dim: int) -> None:
    num = len(verifier.head.weight)
    if num != dim:
        raise ValueError(f"the head reads {num} numbers, but the model's hidden states have {dim}")
