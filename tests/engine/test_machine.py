from __future__ import annotations

import os
from pathlib import Path

import pytest

from arts_lite.engine import machine


def test_cores_and_memory_are_plausible() -> None:
    assert 1 <= machine.physical_cores() <= (os.cpu_count() or 1)
    free = machine.free_memory()
    assert free is None or 2**20 < free < 2**50


def test_a_container_s_limits_count(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "/proc/meminfo": "MemTotal: 100 kB\nMemAvailable:  4000000 kB\n",
        "/sys/fs/cgroup/memory.max": "1000000000\n",
        "/sys/fs/cgroup/memory.current": "900000000\n",
        "/sys/fs/cgroup/memory.stat": "anon 5\ninactive_file 300000000\n",
        "/sys/fs/cgroup/cpu.max": "150000 100000\n",
    }

    def read(path: Path, *_: object, **__: object) -> str:
        try:
            return files[str(path)]
        except KeyError:
            raise FileNotFoundError(str(path)) from None

    monkeypatch.setattr(Path, "read_text", read)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert machine.free_memory() == 400_000_000
    assert machine.physical_cores() == 2
    files["/sys/fs/cgroup/memory.max"] = "max\n"
    files["/sys/fs/cgroup/cpu.max"] = "max 100000\n"
    assert machine.free_memory() == 4_000_000 * 1024
    assert machine.physical_cores() == 8


def test_two_threads_of_one_core_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Path, "read_text", lambda path: f"{int(path.parts[5][3:]) % 2}" if "cpu" in path.parts[-3] else ""
    )
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    monkeypatch.setattr(machine, "_cpu_quota", lambda: None)
    assert machine.physical_cores() == 2


def test_a_build_without_device_functions_has_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "library_function", lambda _name: None)
    assert machine.gpu_devices() == []


def test_devices_are_asked_of_ggml() -> None:
    for device in machine.gpu_devices():
        assert 0 <= device.free <= device.total
        assert device.name
