"""How a model is loaded and how its context is laid out."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, TypeAlias

NUM_SEQUENCES = 256
"""Sequence ids that llama.cpp has."""
MAX_CPU_ROWS = 63
"""From 64 rows in a decode call on, llama.cpp's flash attention on the CPU walks over every cell of the cache."""
MIN_CELLS = 256
"""llama.cpp rounds contexts up to this many cells, and needs as many as it has sequences."""

Adapter: TypeAlias = "str | Path | tuple[str | Path, float]"


class KVType(str, Enum):
    """Number format of the KV cache."""

    F32 = "f32"
    F16 = "f16"
    BF16 = "bf16"
    Q8_0 = "q8_0"
    Q5_1 = "q5_1"
    Q5_0 = "q5_0"
    Q4_1 = "q4_1"
    Q4_0 = "q4_0"
    IQ4_NL = "iq4_nl"

    @property
    def ggml_type(self) -> int:
        """The format's number in ggml."""
        return {"f32": 0, "f16": 1, "bf16": 30, "q8_0": 8, "q5_1": 7, "q5_0": 6, "q4_1": 3, "q4_0": 2, "iq4_nl": 20}[
            self.value
        ]


class SplitMode(str, Enum):
    """How a model is spread over several GPUs."""

    NONE = "none"
    LAYER = "layer"
    ROW = "row"
    TENSOR = "tensor"

    @property
    def llama_value(self) -> int:
        """The mode's number in llama.cpp."""
        return list(SplitMode).index(self)


@dataclass(frozen=True)
class EngineConfig:
    """Settings of one engine. Everything has a default that is derived from the model and the machine.

    Attributes:
        ctx_size: longest trace in tokens, prompt included; default: what the model was trained for, at most 4096.
        num_cells: KV cells for all branches together; default: planned from the next two and the free memory.
        num_traces: how many traces of one question are expected to be alive at a time; a hint for `num_cells`.
        num_questions: how many questions are expected to be asked at once; a hint for `num_cells`: they are planned for
            as many as fill a decode call. A reproducible engine searches one at a time.
        gpu_layers: layers to offload; -1 offloads all.
        threads: for decoding; default: the physical cores that this process may use, 1 below 20 M parameters.
        prefill_threads: for prompts; default: `threads`.
        kv_type, kv_type_v: format of the cache's keys (and values, unless `kv_type_v` says otherwise).
        flash_attention: None lets llama.cpp use it wherever it can.
        offload_kv: keep the KV cache on the GPU.
        split_mode, main_gpu, tensor_split: how several GPUs share the model; shares are relative.
        lora: adapter files, each alone or as (file, scale).
        use_mmap, use_mlock: map the file instead of reading it; lock it into memory.
        max_rows: branches that one decode call advances; default by backend and model. On the CPU with flash attention
            at most 63.
        max_prefill_rows: prompt tokens in one decode call, >= 256.
        tunes_rows: let the loop measure which batch sizes are fast, and run fewer branches or pad a batch accordingly.
        num_sequences: sequence ids, 2 to 256.
        reproducible: make what is generated a function of the calls since the engine held no branch, to the last bit:
            nothing is timed (`tunes_rows` is off), nothing planned by what memory happens to be free, and an engine
            without branches begins anew. Solvers then search one question at a time. Holds on one machine, with one
            build of llama.cpp and one number of threads (docs/python.md).
        verbose: let llama.cpp's log through.

    Raises:
        ValueError, TypeError: a value is outside its range or of another type.
    """

    ctx_size: int | None = None
    num_cells: int | None = None
    num_traces: int = 16
    num_questions: int = 1
    gpu_layers: int = 0
    threads: int | None = None
    prefill_threads: int | None = None
    kv_type: KVType = KVType.F16
    kv_type_v: KVType | None = None
    flash_attention: bool | None = None
    offload_kv: bool = True
    split_mode: SplitMode = SplitMode.LAYER
    main_gpu: int = 0
    tensor_split: Sequence[float] = ()
    lora: Sequence[Adapter] = ()
    use_mmap: bool = True
    use_mlock: bool = False
    max_rows: int | None = None
    max_prefill_rows: int = 512
    tunes_rows: bool = True
    num_sequences: int = NUM_SEQUENCES
    reproducible: bool = False
    verbose: bool = False

    def __post_init__(self) -> None:
        self._coerce()
        _whole("ctx_size", self.ctx_size, 2, 2**31 - 1)
        _whole("num_cells", self.num_cells, 1, 2**31 - 1)
        _whole("num_traces", self.num_traces, 1, 2**31 - 1)
        _whole("num_questions", self.num_questions, 1, 2**31 - 1)
        _whole("gpu_layers", self.gpu_layers, -1, 2**31 - 1)
        _whole("threads", self.threads, 1, 1024)
        _whole("prefill_threads", self.prefill_threads, 1, 1024)
        _whole("main_gpu", self.main_gpu, 0, 1024)
        _whole("max_rows", self.max_rows, 1, 4096)
        _whole("num_sequences", self.num_sequences, 2, NUM_SEQUENCES)
        _whole("max_prefill_rows", self.max_prefill_rows, MIN_CELLS, 65536)
        if any(not 0 <= share < math.inf for share in self.tensor_split):
            raise ValueError(f"tensor_split is {self.tensor_split!r}, but shares must be finite and >= 0")
        if self.flash_attention is False and (self.kv_type_v or self.kv_type).value.startswith(("q", "iq")):
            raise ValueError(
                f"kv_type {(self.kv_type_v or self.kv_type).value!r} needs flash attention; leave flash_attention at "
                "None or take f16"
            )

    def _coerce(self) -> None:
        """Accept the plain values that a command line or a JSON file brings."""
        coerced: dict[str, Any] = {
            "kv_type": _choice(KVType, "kv_type", self.kv_type),
            "kv_type_v": None if self.kv_type_v is None else _choice(KVType, "kv_type_v", self.kv_type_v),
            "split_mode": _choice(SplitMode, "split_mode", self.split_mode),
            "tensor_split": tuple(self.tensor_split),
            "lora": tuple([self.lora] if isinstance(self.lora, (str, os.PathLike)) else self.lora),
        }
        for name, value in coerced.items():
            object.__setattr__(self, name, value)


def _choice(kind: Any, name: str, value: object) -> Any:
    try:
        return kind(value)
    except ValueError:
        raise ValueError(f"{name} is {value!r}, but must be one of {', '.join(item.value for item in kind)}") from None


def _whole(name: str, value: object, low: int, high: int) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is {value!r}, but must be a whole number")
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}, but must be between {low} and {high}")


DEFAULT_CONFIG = EngineConfig()
