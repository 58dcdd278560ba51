"""A loaded GGUF: owner of one llama_model."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import threading
import warnings
import weakref
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import llama_cpp.llama_cpp as llama

from arts_lite.engine import log
from arts_lite.engine.config import DEFAULT_CONFIG, EngineConfig
from arts_lite.engine.gguf import GGUFHeader, Scalar
from arts_lite.engine.hub import resolve
from arts_lite.engine.machine import free_memory, gpu_devices
from arts_lite.engine.preflight import check_model_file, split_paths
from arts_lite.engine.vocab import Vocab
from arts_lite.errors import ModelLoadError, UnsupportedModelError

_LOAD_MODES = {(False, False): 0, (True, False): -1, (False, True): 2, (True, True): 3}  # (mmap, mlock)
_backend = threading.Lock()
_is_backend_ready = False


class _Handle:
    """A llama_model pointer that is freed when it is closed and its last context is gone, whichever comes later."""

    def __init__(self, pointer: int) -> None:
        self.pointer: int | None = pointer
        self._lock = threading.Lock()
        self._num_users = 0
        self._is_closed = False

    def retain(self) -> int:
        with self._lock:
            if self._is_closed or self.pointer is None:
                raise ValueError("the model is closed; load it again")
            self._num_users += 1
            return self.pointer

    def release(self) -> None:
        with self._lock:
            self._num_users -= 1
            self._free_if_unused()

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            self._free_if_unused()

    def _free_if_unused(self) -> None:
        if self._is_closed and self._num_users == 0 and self.pointer is not None:
            llama.llama_model_free(self.pointer)
            self.pointer = None


class Model:
    """Weights and vocabulary of one GGUF file, shared by any number of engines.

    Attributes:
        path: the file (the first one of a split model).
        metadata: the file's scalar keys, ``arts.*`` included.
        num_params, num_bytes: of the weights.
        ctx_train: longest context that the model was trained for.
        num_layers, num_heads, num_kv_heads, dim, sliding_window (0: none): the shape.
        description: llama.cpp's one line, e.g. "qwen2 1.5B Q4_K - Medium".
        chat_template: the file's own, or None.
    """

    def __init__(self, path: str | os.PathLike[str], config: EngineConfig = DEFAULT_CONFIG) -> None:
        """Load a GGUF file, or ``hf:OWNER/REPO[:FILE]``.

        Raises:
            ModelLoadError: the file is missing, damaged, of an unknown kind, or does not fit into memory.
            UnsupportedModelError: it loads, but cannot be forked or does not generate text.
        """
        self.path = resolve(path)
        header = check_model_file(self.path)
        check_memory(header, config)
        self._handle = _Handle(_load(self.path, config))
        self._finalizer = weakref.finalize(self, self._handle.close)
        try:
            self._read(header)
        except BaseException:
            self.close()
            raise

    def _read(self, header: GGUFHeader) -> None:
        pointer = self._handle.pointer
        reason = _why_unsupported(pointer)
        if reason:
            raise UnsupportedModelError(
                f"{self.path} cannot be searched with: it {reason}. Use a decoder-only transformer"
            )
        self.header = header
        self.architecture = header.architecture
        self.metadata: Mapping[str, Scalar] = {
            key: value for key, value in header.metadata.items() if not isinstance(value, list)
        }
        self.num_params: int = llama.llama_model_n_params(pointer)
        self.num_bytes: int = llama.llama_model_size(pointer)
        self.ctx_train: int = llama.llama_model_n_ctx_train(pointer)
        self.num_layers: int = llama.llama_model_n_layer(pointer)
        self.num_heads: int = llama.llama_model_n_head(pointer)
        self.num_kv_heads: int = llama.llama_model_n_head_kv(pointer)
        self.dim: int = llama.llama_model_n_embd(pointer)
        self.sliding_window: int = llama.llama_model_n_swa(pointer)
        self.vocab = Vocab(llama.llama_model_get_vocab(pointer), header)
        buffer = ctypes.create_string_buffer(256)
        llama.llama_model_desc(pointer, buffer, len(buffer))
        self.description = buffer.value.decode("utf-8", "replace")
        template = llama.llama_model_chat_template(pointer, None)
        self.chat_template: str | None = template.decode("utf-8", "replace") if template else None

    @property
    def name(self) -> str:
        """What the file calls itself, else its file name."""
        name = self.metadata.get("general.name")
        return name if isinstance(name, str) and name else self.path.stem

    @functools.cached_property
    def sha256(self) -> str:
        """Digest of the file (of all parts in order, where it is split). Read on first use; takes seconds per GB."""
        digest = hashlib.sha256()
        for path in split_paths(self.header):
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        return digest.hexdigest()

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return not self._finalizer.alive

    def retain(self) -> int:
        """Return the llama_model pointer and keep it alive until `release`. Raises ValueError: the model is closed."""
        return self._handle.retain()

    def release(self) -> None:
        """Give one `retain` back."""
        self._handle.release()

    def close(self) -> None:
        """Free the model as soon as no engine uses it any more. Idempotent."""
        self._finalizer()

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Model({str(self.path)!r})"


def check_memory(header: GGUFHeader, config: EngineConfig) -> None:
    """Raise ModelLoadError if the weights cannot fit: reading them would end in the system killing the process."""
    if config.use_mmap and not config.use_mlock:
        return
    free = free_memory()
    if free is not None and header.file_size > free and config.gpu_layers == 0:
        raise ModelLoadError(
            f"{header.path} has {header.file_size / 2**30:.1f} GiB, but only {free / 2**30:.1f} GiB are free; "
            "leave use_mmap on and use_mlock off, or take a smaller quantisation"
        )


def _load(path: Path, config: EngineConfig) -> int:
    _prepare_backend()
    params = llama.llama_model_default_params()
    params.n_gpu_layers = config.gpu_layers
    params.split_mode = config.split_mode.llama_value
    params.main_gpu = config.main_gpu
    params.load_mode = _LOAD_MODES[config.use_mmap, config.use_mlock]
    shares = _tensor_split(config)
    if shares is not None:
        params.tensor_split = shares
    if config.gpu_layers != 0 and not gpu_devices():
        warnings.warn(
            f"gpu_layers is {config.gpu_layers}, but this llama-cpp-python sees no GPU; everything runs on the CPU",
            RuntimeWarning,
            stacklevel=4,
        )
    with log.captured(config.verbose) as lines:
        pointer = llama.llama_model_load_from_file(os.fsencode(path), params)
        why = log.reason(lines)
    if not pointer:
        raise ModelLoadError(f"llama.cpp cannot load {path}: {why}")
    return int(pointer)


def _prepare_backend() -> None:
    global _is_backend_ready
    with _backend:
        if not _is_backend_ready:
            log.acquire()
            llama.llama_backend_init()
            log.release()
            _is_backend_ready = True


def _tensor_split(config: EngineConfig) -> ctypes.Array[ctypes.c_float] | None:
    if not config.tensor_split:
        return None
    num_devices = llama.llama_max_devices()
    if len(config.tensor_split) > num_devices:
        raise ValueError(f"tensor_split has {len(config.tensor_split)} shares, but at most {num_devices} are possible")
    shares: ctypes.Array[ctypes.c_float] = (ctypes.c_float * num_devices)(*config.tensor_split)
    return shares


def _why_unsupported(pointer: int | None) -> str | None:
    """Ask llama.cpp itself: it knows architectures that `preflight` has never heard of."""
    if llama.llama_model_is_recurrent(pointer):
        return "is recurrent: its memory cannot be forked at an earlier position"
    if llama.llama_model_is_hybrid(pointer):
        return "is a hybrid of attention and recurrence: its memory cannot be forked at an earlier position"
    if llama.llama_model_is_diffusion(pointer):
        return "is a diffusion model: it does not generate token by token"
    if llama.llama_model_has_encoder(pointer):
        return "has an encoder: a search needs a decoder-only model"
    if not llama.llama_model_has_decoder(pointer):
        return "has no decoder: it does not generate text"
    return None
