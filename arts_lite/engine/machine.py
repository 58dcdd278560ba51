"""What this machine has: cores and free memory, in main memory and on GPUs."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from arts_lite.engine.abi import library_function

_GPU_KINDS = (1, 2)  # ggml's device types GPU and IGPU


@dataclass(frozen=True)
class GpuDevice:
    """One GPU as ggml sees it. Sizes in bytes."""

    name: str
    free: int
    total: int


def physical_cores() -> int:
    """Count the physical cores that this process may use, >= 1."""
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    cores = set()
    for cpu in allowed:
        try:
            cores.add(Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text())
        except OSError:
            cores.add(str(cpu))
    count = len(cores)
    if sys.platform == "win32":
        count = max(1, count // 2)  # no cheap way to ask; two threads per core are the rule there
    quota = _cpu_quota()
    return max(1, min(count, quota) if quota else count)


def _cpu_quota() -> int | None:
    """Cores that a container's limit allows, rounded up."""
    try:
        limit, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return None if limit == "max" else -(-int(limit) // int(period))
    except (OSError, ValueError):
        return None


def free_memory() -> int | None:
    """Bytes of main memory that can be taken without swapping; None if this system does not tell."""
    free = [amount for amount in (_available(), *_container_free()) if amount is not None]
    return min(free) if free else None


def _available() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    if sys.platform == "win32":
        return _windows_available()
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2  # macOS tells the total only
    except (ValueError, OSError, AttributeError):
        return None


def _container_free() -> Iterator[int]:
    for folder, limit, used in (
        ("/sys/fs/cgroup", "memory.max", "memory.current"),
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        try:
            most = int((Path(folder) / limit).read_text())
            statistics = dict(line.split() for line in (Path(folder) / "memory.stat").read_text().splitlines())
            reclaimable = int(statistics.get("inactive_file", statistics.get("total_inactive_file", 0)))
            yield max(0, most - int((Path(folder) / used).read_text()) + reclaimable)
        except (OSError, ValueError):
            continue


def _windows_available() -> int | None:
    class _Status(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ulong), ("load", ctypes.c_ulong)] + [
            (name, ctypes.c_ulonglong)
            for name in ("total", "available", "total_page", "page", "total_virtual", "virtual", "extended")
        ]

    status = _Status(length=ctypes.sizeof(_Status))
    if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):  # type: ignore[attr-defined]
        return None
    return int(status.available)


def gpu_devices() -> list[GpuDevice]:
    """GPUs that the loaded llama.cpp can use, with their memory at this moment."""
    names = ("count", "get", "type", "memory", "name")
    count, get, kind, memory, name = (library_function(f"ggml_backend_dev_{item}") for item in names)
    if None in (count, get, kind, memory, name):
        return []
    count.restype = ctypes.c_size_t
    get.restype = ctypes.c_void_p
    kind.restype = ctypes.c_int
    memory.restype = None
    name.restype = ctypes.c_char_p
    devices = []
    for index in range(count()):
        device = ctypes.c_void_p(get(ctypes.c_size_t(index)))
        if kind(device) in _GPU_KINDS:
            free, total = ctypes.c_size_t(), ctypes.c_size_t()
            memory(device, ctypes.byref(free), ctypes.byref(total))
            devices.append(GpuDevice((name(device) or b"").decode("utf-8", "replace"), free.value, total.value))
    return devices
