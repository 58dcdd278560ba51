"""The trainers' tests need torch, which an installation for inference lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest


class _WithoutTorch(pytest.Module):
    def collect(self) -> list[pytest.Item]:
        pytest.skip("torch is not installed: pip install 'arts-lite[train]'", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    if find_spec("torch") is None:
        return _WithoutTorch.from_parent(parent, path=module_path)
    return None


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Two threads of torch beside any other busy process are ten times slower than one."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def full_disk() -> Callable[[int], AbstractContextManager[None]]:
    """Let no file of this process grow beyond so many bytes; writing further fails as it does on a full disk."""

    @contextmanager
    def limited(num_bytes: int) -> Iterator[None]:
        resource = pytest.importorskip("resource")
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited
