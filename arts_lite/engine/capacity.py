"""Plan the KV cache of a whole tree: how long a trace may be, how many cells, how many rows at a time."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

from arts_lite.engine.config import MAX_CPU_ROWS, MIN_CELLS, EngineConfig, KVType
from arts_lite.engine.gguf import TENSOR_TYPES, GGUFHeader
from arts_lite.engine.machine import free_memory, gpu_devices, physical_cores
from arts_lite.errors import ModelLoadError

DEFAULT_CTX_SIZE = 4096
EXPECTED_TRACE_TOKENS = 1024
"""What one trace of a question takes beyond what it shares with the others, where nobody says otherwise."""
MEMORY_SHARE = 0.7
"""How much of the free memory a cache may take; the rest is for llama.cpp's buffers and everything else."""
TINY_NUM_PARAMS = 20_000_000
CPU_ROWS, GPU_ROWS = 48, 64
_FIRST_ROWS, _FIRST_ROWS_TINY = 16, 4
_CELL_STEP = 256  # llama.cpp rounds contexts up to this


@dataclass(frozen=True, slots=True)
class CachePlan:
    """What a context is made with.

    Attributes:
        ctx_size: longest trace in tokens.
        num_cells: KV cells, a multiple of 256.
        num_bytes_per_cell: of the KV cache alone.
        max_rows: branches that one decode call advances at most.
        first_rows: branches that it advances until the loop has measured what pays.
        threads, prefill_threads: for decoding and for prompts.
    """

    ctx_size: int
    num_cells: int
    num_bytes_per_cell: int
    max_rows: int
    first_rows: int
    threads: int
    prefill_threads: int

    @property
    def num_bytes(self) -> int:
        """Of the whole KV cache."""
        return self.num_cells * self.num_bytes_per_cell


def kv_bytes_per_cell(header: GGUFHeader, kv_type: KVType, kv_type_v: KVType | None = None) -> int:
    """Bytes that one token takes in the KV cache of all layers."""
    num_layers = _int(header, "block_count", 1) - _int(header, "nextn_predict_layers", 0)
    heads = header.arch_ints("attention.head_count", num_layers) or [1] * num_layers
    kv_heads = header.arch_ints("attention.head_count_kv", num_layers) or heads
    head_size = _int(header, "embedding_length", 1) // max(1, *heads)
    key_size = _int(header, "attention.key_length", head_size)
    value_size = _int(header, "attention.value_length", head_size)
    if header.arch_value("attention.key_length_mla") is not None:
        value_size = 0  # one compressed row serves as both
    return sum(
        _row_bytes(count * key_size, kv_type) + _row_bytes(count * value_size, kv_type_v or kv_type)
        for count in kv_heads
    )


def _row_bytes(num_elements: int, kv_type: KVType) -> int:
    _, block, block_bytes = TENSOR_TYPES[kv_type.ggml_type]
    return -(-num_elements // block) * block_bytes


def _int(header: GGUFHeader, key: str, default: int) -> int:
    value = header.arch_value(key)
    return value if type(value) is int else default


def plan_cache(header: GGUFHeader, num_params: int, config: EngineConfig, *, pins_cells: bool = False) -> CachePlan:
    """Plan one context. Warns where it must shrink a default or a trace may outgrow the model's training.

    `pins_cells`: branches take two sequence ids each, as those of sliding-window models do.

    Raises:
        ValueError: `ctx_size` is beyond what llama.cpp can address, or larger than `num_cells`.
        ModelLoadError: the cache that was asked for does not fit into the free memory; one that is planned for a
            reproducible engine neither, since it may not depend on what is free.
    """
    per_cell = kv_bytes_per_cell(header, config.kv_type, config.kv_type_v)
    ctx_train = _int(header, "context_length", DEFAULT_CTX_SIZE)
    affordable = affordable_cells(header, config, per_cell)
    ctx_size = _ctx_size(config, ctx_train, affordable, per_cell)
    num_cells = _num_cells(config, ctx_size, affordable, per_cell)
    is_tiny = num_params < TINY_NUM_PARAMS
    threads = config.threads or (1 if is_tiny else physical_cores())
    # On a CPU attention walks over all cells, which weighs most where the rest of a model is small: few branches at a
    # time keep few cells alive. Larger models have kernels that work in tiles of 16 rows.
    first_rows = _FIRST_ROWS_TINY if is_tiny and config.gpu_layers == 0 else _FIRST_ROWS
    return CachePlan(
        ctx_size=ctx_size,
        num_cells=num_cells,
        num_bytes_per_cell=per_cell,
        max_rows=min(choose_max_rows(config), config.num_sequences // (2 if pins_cells else 1)),
        first_rows=first_rows,
        threads=threads,
        prefill_threads=config.prefill_threads or threads,
    )


def plan_cells(header: GGUFHeader, config: EngineConfig) -> tuple[int, int, int]:
    """What `plan_cache` would want with memory without end: (ctx_size, num_cells, bytes per cell). Warns of nothing."""
    per_cell = kv_bytes_per_cell(header, config.kv_type, config.kv_type_v)
    default = min(_int(header, "context_length", DEFAULT_CTX_SIZE), DEFAULT_CTX_SIZE)
    ctx_size = config.ctx_size or min(default, config.num_cells or default)
    return ctx_size, _num_cells(config, ctx_size, 2**31 - _CELL_STEP, per_cell), per_cell


def _ctx_size(config: EngineConfig, ctx_train: int, affordable: int, per_cell: int) -> int:
    if config.ctx_size is None:
        wanted = min(ctx_train, DEFAULT_CTX_SIZE, config.num_cells or DEFAULT_CTX_SIZE)
        if affordable < MIN_CELLS:
            raise ModelLoadError(_too_large(MIN_CELLS, per_cell, affordable))
        if wanted > affordable and config.reproducible:
            raise ModelLoadError(_too_large(wanted, per_cell, affordable))
        if wanted > affordable:
            warnings.warn(
                f"ctx_size is set to {affordable}, because the KV cache for {wanted} tokens does not fit into the free "
                "memory; a quantised kv_type (q8_0) takes half",
                RuntimeWarning,
                stacklevel=4,
            )
        return min(wanted, affordable)
    if config.num_cells is not None and config.ctx_size > config.num_cells:
        raise ValueError(
            f"ctx_size is {config.ctx_size}, but num_cells is only {config.num_cells}: a single trace must fit; raise "
            "num_cells or lower ctx_size"
        )
    if config.ctx_size > affordable:
        raise ModelLoadError(_too_large(config.ctx_size, per_cell, affordable))
    if config.ctx_size > ctx_train:
        warnings.warn(
            f"ctx_size is {config.ctx_size}, but the model was trained for {ctx_train} tokens; longer traces are noise",
            RuntimeWarning,
            stacklevel=4,
        )
    return config.ctx_size


def _num_cells(config: EngineConfig, ctx_size: int, affordable: int, per_cell: int) -> int:
    if config.num_cells is not None:
        if config.num_cells > affordable:
            raise ModelLoadError(_too_large(config.num_cells, per_cell, affordable))
        return _rounded(config.num_cells)
    of_one = config.num_traces * min(ctx_size, EXPECTED_TRACE_TOKENS)
    if config.reproducible and of_one > affordable:
        raise ModelLoadError(_too_large(of_one, per_cell, affordable))
    # Further questions may take half of the memory: a verifier may be loaded next.
    expected = max(of_one, min(_num_open(config) * of_one, affordable // 2))
    return _rounded(min(max(ctx_size, expected), max(ctx_size, affordable)))


def _num_open(config: EngineConfig) -> int:
    """Questions that a search has open at once: as many as fill the rows of a decode call."""
    return 1 if config.reproducible else min(config.num_questions, -(-_most_rows(config) // config.num_traces))


def _rounded(num_cells: int) -> int:
    return max(MIN_CELLS, -(-num_cells // _CELL_STEP) * _CELL_STEP)


def _too_large(num_cells: int, per_cell: int, affordable: int) -> str:
    return (
        f"a KV cache of {num_cells} cells takes {num_cells * per_cell / 2**30:.2f} GiB, but the free memory holds "
        f"about {affordable} cells; lower ctx_size or num_cells, or take a quantised kv_type (q8_0 halves the bytes)"
    )


def affordable_cells(header: GGUFHeader, config: EngineConfig, per_cell: int) -> int:
    """How many cells fit into `MEMORY_SHARE` of what is free, beside llama.cpp's own buffers. Call after loading."""
    vocab_size = len(tokens) if isinstance(tokens := header.metadata.get("tokenizer.ggml.tokens"), list) else 0
    fixed = 2 * 4 * vocab_size * config.num_sequences  # logits, in the graph and in the output buffer
    # the attention mask of one prefill call: a half-precision row per cell, twice with a sliding window
    beside = 4 * config.max_prefill_rows
    share = offloaded_share(header, config)
    limits = []
    if share < 1:
        # mapped weights count as free memory, but decoding needs them there
        mapped = header.file_size * (1 - share) if config.use_mmap else 0
        free = free_memory()
        if free is not None:
            limits.append((MEMORY_SHARE * free - mapped - fixed) / (per_cell * (1 - share) + beside))
    if share > 0:
        free_gpu = sum(device.free for device in gpu_devices())
        limits.append((MEMORY_SHARE * free_gpu - fixed) / (per_cell * share + beside))
    most = 2**31 - _CELL_STEP
    return max(0, int(min([*limits, most]))) // _CELL_STEP * _CELL_STEP


def offloaded_share(header: GGUFHeader, config: EngineConfig) -> float:
    """Share of the layers whose KV cache lies on a GPU, in [0, 1]."""
    if config.gpu_layers == 0 or not config.offload_kv or not gpu_devices():
        return 0.0
    num_layers = _int(header, "block_count", 1)
    return 1.0 if config.gpu_layers < 0 else min(1.0, config.gpu_layers / num_layers)


def choose_max_rows(config: EngineConfig) -> int:
    """Choose how many branches one decode call advances: 64 on a GPU, 48 on a CPU.

    48 on the CPU: rows come in tiles of 16, of 16, 32, 48 and 63 rows, 48 cost least each (benchmarks/RESULTS.md).


    On the CPU more than 63 rows switch llama.cpp's flash attention to a kernel that walks over every cell of the cache,
    whoever owns it: measured 2.5 times slower at 64 rows of 128 tokens. A larger value is cut, with a warning.
    """
    rows = _most_rows(config)
    if not _is_on_gpu(config) and rows > MAX_CPU_ROWS and config.flash_attention is not False:
        warnings.warn(
            f"max_rows is {rows}, but is cut to {MAX_CPU_ROWS}: more rows make flash attention on the CPU slower",
            RuntimeWarning,
            stacklevel=5,
        )
        rows = MAX_CPU_ROWS
    return rows


def _most_rows(config: EngineConfig) -> int:
    return config.max_rows or (GPU_ROWS if _is_on_gpu(config) else CPU_ROWS)


def _is_on_gpu(config: EngineConfig) -> bool:
    return config.gpu_layers != 0 and bool(gpu_devices())
