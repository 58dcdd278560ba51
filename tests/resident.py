"""How much memory this process holds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def resident_bytes() -> int:
    """Resident set size; skips the test where it cannot be told, or tells nothing of leaks."""
    if "ARTS_SANITIZE" in os.environ:
        pytest.skip("sanitizers keep freed memory in quarantine: what is resident says nothing")
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        pytest.skip("this system has no /proc to read the memory in use from")
    return pages * os.sysconf("SC_PAGE_SIZE")
