"""Planning the cache: it must hold one trace, should hold the tree, and may not exhaust the machine."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_gguf import TinyModel, write_tiny_gguf

from arts_lite.engine import Engine, EngineConfig, KVType, Model, capacity, log
from arts_lite.engine.capacity import kv_bytes_per_cell, plan_cache
from arts_lite.engine.gguf import read_header
from arts_lite.engine.machine import GpuDevice
from arts_lite.errors import ModelLoadError

GIB = 2**30


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretend that so many bytes are free."""

    def pretend(main: int | None = 8 * GIB, *gpus: int) -> None:
        monkeypatch.setattr(capacity, "free_memory", lambda: main)
        monkeypatch.setattr(capacity, "gpu_devices", lambda: [GpuDevice("gpu", size, size) for size in gpus])

    pretend()
    return pretend


@pytest.fixture
def plan(tiny_model_path: Path, free: Callable[..., None]) -> Callable[..., capacity.CachePlan]:
    header = read_header(tiny_model_path)

    def make(num_params: int = 10**9, **settings: object) -> capacity.CachePlan:
        return plan_cache(header, num_params, EngineConfig(**settings))  # type: ignore[arg-type]

    return make


def test_by_default_a_trace_is_as_long_as_the_training_allows_and_sixteen_fit(
    plan: Callable[..., capacity.CachePlan],
) -> None:
    chosen = plan()
    assert chosen.ctx_size == 4096
    assert chosen.num_cells == 16 * capacity.EXPECTED_TRACE_TOKENS
    assert plan(num_traces=64).num_cells == 64 * capacity.EXPECTED_TRACE_TOKENS
    assert plan(ctx_size=100).num_cells == 1792  # 16 x 100, in steps of 256


def test_the_cache_always_holds_one_whole_trace(plan: Callable[..., capacity.CachePlan]) -> None:
    for ctx_size in (2, 255, 256, 257, 1000, 4096):
        chosen = plan(ctx_size=ctx_size, num_traces=1)
        assert chosen.num_cells >= max(256, ctx_size)
        assert chosen.num_cells % 256 == 0


def test_scarce_memory_shrinks_the_default_but_never_what_was_asked_for(
    plan: Callable[..., capacity.CachePlan], free: Callable[..., None]
) -> None:
    free(5_000_000)
    with pytest.warns(RuntimeWarning, match="ctx_size is set to"):
        chosen = plan()
    assert 256 <= chosen.ctx_size < 4096
    assert chosen.num_cells == chosen.ctx_size
    with pytest.raises(ModelLoadError, match=r"GiB.*lower ctx_size"):
        plan(ctx_size=4096)
    with pytest.raises(ModelLoadError, match="GiB"):
        plan(num_cells=100_000, ctx_size=256)
    free(1000)
    with pytest.raises(ModelLoadError, match="KV cache"):
        plan()


def test_a_reproducible_engine_is_never_planned_by_what_happens_to_be_free(
    plan: Callable[..., capacity.CachePlan], free: Callable[..., None]
) -> None:
    ample = plan(reproducible=True)
    free(80_000_000)
    assert plan(reproducible=True) == ample
    free(20_000_000)
    assert plan().num_cells < ample.num_cells
    with pytest.raises(ModelLoadError, match=r"cells takes.*lower ctx_size or num_cells"):
        plan(reproducible=True)
    assert plan(reproducible=True, num_cells=4096).num_cells == 4096
    free(5_000_000)
    with pytest.raises(ModelLoadError, match="4096 cells takes"):
        plan(reproducible=True)


def test_many_questions_get_cells_for_as_many_as_fill_the_rows(
    plan: Callable[..., capacity.CachePlan], free: Callable[..., None]
) -> None:
    per_question = 8 * capacity.EXPECTED_TRACE_TOKENS
    num_open = {asked: plan(num_traces=8, num_questions=asked).num_cells / per_question for asked in (1, 2, 6, 5000)}
    assert num_open == {1: 1, 2: 2, 6: 6, 5000: 6}  # 48 rows
    assert plan(num_traces=8, num_questions=99, max_rows=20).num_cells == 3 * per_question
    assert plan(num_traces=100, num_questions=99).num_cells == plan(num_traces=100).num_cells
    assert plan(num_traces=8, num_questions=99, num_cells=8192).num_cells == 8192
    free(8 * GIB, 8 * GIB)
    assert plan(num_traces=8, num_questions=99, gpu_layers=-1).num_cells == 8 * per_question  # 64 rows


def test_further_questions_take_no_more_than_half_of_the_memory(
    plan: Callable[..., capacity.CachePlan], free: Callable[..., None]
) -> None:
    free(60_000_000)
    one, most = plan(num_traces=4), plan(num_traces=1000)
    assert one.num_cells < plan(num_traces=4, num_questions=99).num_cells <= most.num_cells / 2 + 256
    assert plan(num_traces=1000, num_questions=99) == most
    free(20_000_000)
    assert plan(num_traces=4, num_questions=99) == plan(num_traces=4)


def test_a_reproducible_engine_is_planned_for_one_question_however_many_are_asked(
    plan: Callable[..., capacity.CachePlan],
) -> None:
    assert plan(reproducible=True, num_questions=99) == plan(reproducible=True)


def test_absurd_sizes_are_refused_before_they_are_allocated(plan: Callable[..., capacity.CachePlan]) -> None:
    with pytest.raises(ModelLoadError, match="lower ctx_size"):
        plan(ctx_size=2**31 - 1)
    with pytest.raises(ModelLoadError, match="lower ctx_size"):
        plan(num_cells=2**31 - 1)


def test_a_trace_beyond_the_training_is_a_warning(plan: Callable[..., capacity.CachePlan]) -> None:
    with pytest.warns(RuntimeWarning, match="trained for 4096"):
        assert plan(ctx_size=5000).ctx_size == 5000


def test_a_trace_longer_than_the_cache_is_refused(plan: Callable[..., capacity.CachePlan]) -> None:
    with pytest.raises(ValueError, match="a single trace must fit"):
        plan(ctx_size=1000, num_cells=512)


def test_an_unknown_amount_of_memory_limits_nothing(
    plan: Callable[..., capacity.CachePlan], free: Callable[..., None]
) -> None:
    free(None)
    assert plan(num_traces=1000).num_cells == 1000 * capacity.EXPECTED_TRACE_TOKENS


def test_a_gpu_s_memory_counts_when_the_cache_lies_there(
    plan: Callable[..., capacity.CachePlan], free: Callable[..., None]
) -> None:
    free(8 * GIB, 5_000_000)
    assert plan(gpu_layers=0).num_cells == 16384
    with pytest.warns(RuntimeWarning, match="ctx_size is set to"):
        assert plan(gpu_layers=-1).num_cells < 4096
    assert plan(gpu_layers=-1, offload_kv=False).num_cells == 16384


def test_rows_suit_the_backend(plan: Callable[..., capacity.CachePlan], free: Callable[..., None]) -> None:
    assert plan().max_rows == capacity.CPU_ROWS <= 63
    assert plan(max_rows=5).max_rows == 5
    assert plan(num_sequences=4).max_rows == 4
    with pytest.warns(RuntimeWarning, match="cut to 63"):
        assert plan(max_rows=100).max_rows == 63
    assert plan(max_rows=100, flash_attention=False).max_rows == 100
    free(8 * GIB, 8 * GIB)
    assert plan(gpu_layers=-1).max_rows == capacity.GPU_ROWS >= 64
    assert plan(gpu_layers=-1, max_rows=200).max_rows == 200


def test_tiny_models_get_one_thread(plan: Callable[..., capacity.CachePlan], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "physical_cores", lambda: 6)
    assert plan(num_params=1_000_000).threads == 1
    assert plan(num_params=10**9).threads == 6
    assert plan(num_params=10**9, threads=3).prefill_threads == 3
    assert plan(num_params=10**9, threads=3, prefill_threads=5).prefill_threads == 5


@pytest.mark.parametrize("kv_type", list(KVType))
def test_the_bytes_per_cell_are_those_that_llama_cpp_allocates(tiny_model_path: Path, kv_type: KVType) -> None:
    config = EngineConfig(threads=1, ctx_size=256, num_cells=1024, kv_type=kv_type, verbose=True)
    lines: list[str] = []
    with log_lines(lines), Model(tiny_model_path) as model, Engine(model, config) as engine:
        predicted = engine.plan.num_bytes
    text = "".join(lines)
    (size,) = re.findall(r"KV buffer size = +([\d.]+) MiB", text)
    assert float(size) == pytest.approx(predicted / 2**20, abs=0.006)


def test_layers_with_different_numbers_of_heads_are_added_up(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "m.gguf", TinyModel(metadata={"qwen2.attention.head_count_kv": [1, 2]}))
    assert kv_bytes_per_cell(read_header(path), KVType.F16) == 3 * 2 * 32 * 2


def log_lines(lines: list[str]):  # type: ignore[no-untyped-def]
    """Stand in for llama-cpp-python's own log callback, and collect what passes through."""
    import contextlib

    import llama_cpp.llama_cpp as llama

    @contextlib.contextmanager
    def collect():  # type: ignore[no-untyped-def]
        @llama.llama_log_callback
        def receive(level: int, text: bytes, _data: object) -> None:
            lines.append(text.decode())

        with log.captured():
            previous = log._previous
            log._previous = (receive, None)
            try:
                yield
            finally:
                log._previous = previous

    return collect()


def test_nothing_is_warned_of_in_the_ordinary_case(plan: Callable[..., capacity.CachePlan]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plan()
