"""llama.cpp's log: silent by default, its errors kept, everyone else's callback given back."""

from __future__ import annotations

import collections
import ctypes
from pathlib import Path

import llama_cpp.llama_cpp as llama
import pytest
from tiny_gguf import TinyModel, write_tiny_gguf

from arts_lite.engine import Engine, EngineConfig, Model, log
from arts_lite.errors import ModelLoadError


def installed() -> int | None:
    callback, user_data = llama.llama_log_callback(), ctypes.c_void_p()
    llama.llama_log_get(ctypes.byref(callback), ctypes.byref(user_data))
    return ctypes.cast(callback, ctypes.c_void_p).value


def test_loading_is_silent(tiny_model_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with Engine.from_gguf(tiny_model_path, EngineConfig(threads=1, ctx_size=64)):
        pass
    assert capfd.readouterr() == ("", "")


def test_verbose_lets_the_log_through(tiny_model_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with Engine.from_gguf(tiny_model_path, EngineConfig(threads=1, ctx_size=64, verbose=True)):
        pass
    assert "llama_model_loader" in capfd.readouterr().err


def test_a_failed_load_is_silent_too(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelLoadError, match="unknown model architecture"):
        Model(write_tiny_gguf(tmp_path / "m.gguf", TinyModel(architecture="nosuch")))
    assert capfd.readouterr() == ("", "")


def test_the_callback_of_others_comes_back(tiny_model: Model) -> None:
    @llama.llama_log_callback  # type: ignore[untyped-decorator]
    def mine(_level: int, _text: bytes, _data: object) -> None:
        pass

    before, data = llama.llama_log_callback(), ctypes.c_void_p()
    llama.llama_log_get(ctypes.byref(before), ctypes.byref(data))
    llama.llama_log_set(mine, None)
    try:
        theirs = installed()
        first = Engine(tiny_model, EngineConfig(threads=1, ctx_size=64, num_cells=256))
        second = Engine(tiny_model, EngineConfig(threads=1, ctx_size=64, num_cells=256))
        assert installed() != theirs
        first.shutdown()
        assert installed() != theirs
        second.shutdown()
        assert installed() == theirs
    finally:
        llama.llama_log_set(before, data)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], "llama.cpp gave no reason"),
        (["f: failed to load model\n"], "failed to load model"),
        (["load: bad thing\n", "f: failed to load model\n"], "bad thing"),
        (["load: two ", "parts\n"], "two parts"),
        (["no prefix here: text\n"], "no prefix here: text"),
    ],
)
def test_the_reason_is_the_most_telling_line(lines: list[str], expected: str) -> None:
    assert log.reason(collections.deque(lines)) == expected
