"""Fixtures of the whole house: tiny random models that the session writes itself, and real ones where there are any."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tiny_gguf import TinyModel, write_tiny_gguf

from arts_lite.engine import Engine, EngineConfig, Model

os.environ.setdefault("GGML_NO_BACKTRACE", "1")  # an abort should end a test, not start a debugger
GPU_LAYERS = int(os.environ.get("ARTS_TEST_GPU_LAYERS", "0"))  # -1: the same tests with all layers on the GPU


@pytest.fixture(scope="session", autouse=True)
def away_from_the_source_tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let processes that tests start find the installed package: the source tree holds no compiled extension."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("elsewhere"))
    yield
    os.chdir(before)


@pytest.fixture(scope="session")
def tiny_model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random qwen2 whose tokens are bytes."""
    return write_tiny_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture(scope="session")
def tiny_swa_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random gemma3 with a sliding window of 64 tokens."""
    return write_tiny_gguf(tmp_path_factory.mktemp("tiny") / "swa.gguf", TinyModel(architecture="gemma3"))


@pytest.fixture(scope="session")
def tiny_spm_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random llama with a SentencePiece vocabulary of bytes, whose prompts begin with BOS."""
    return write_tiny_gguf(tmp_path_factory.mktemp("tiny") / "spm.gguf", TinyModel(architecture="llama"))


@pytest.fixture(scope="session")
def tiny_model(tiny_model_path: Path) -> Iterator[Model]:
    with Model(tiny_model_path, EngineConfig(gpu_layers=GPU_LAYERS)) as model:
        yield model


@pytest.fixture
def make_engine(tiny_model: Model) -> Iterator[Callable[..., Engine]]:
    """Make engines over the tiny model from keyword arguments of EngineConfig; shut down after the test."""
    engines: list[Engine] = []

    def make(model: Model = tiny_model, **settings: object) -> Engine:
        engines.append(Engine(model, EngineConfig(**{"threads": 1, "gpu_layers": GPU_LAYERS, **settings})))  # type: ignore[arg-type]
        return engines[-1]

    yield make
    for engine in engines:
        engine.shutdown()


@pytest.fixture
def tiny_engine(make_engine: Callable[..., Engine]) -> Engine:
    """A fresh engine over the tiny model: 1024 tokens per trace, 4096 cells."""
    return make_engine(ctx_size=1024, num_cells=4096)


@pytest.fixture(scope="session")
def real_model() -> Callable[[str], Path]:
    """Path of a real model, by its name without .gguf, in the folder that ARTS_MODELS names; skips without it."""

    def find(name: str) -> Path:
        folder = os.environ.get("ARTS_MODELS")
        if not folder:
            pytest.skip("ARTS_MODELS does not name a folder of real models")
        path = Path(folder) / f"{name}.gguf"
        if not path.is_file():
            pytest.skip(f"ARTS_MODELS has no {path.name}")
        return path

    return find
