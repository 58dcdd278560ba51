from __future__ import annotations

from collections.abc import Iterator

import pytest
from browser import CHROMIUM, Browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real browser; what it complains of fails the module's last test."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium, or name one in ARTS_CHROMIUM")
    with Browser() as opened:
        yield opened
        assert opened.complaints == []
        assert all(url.startswith(("file:", "data:")) for url in opened.requests)
