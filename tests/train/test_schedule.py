from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arts_lite.train.schedule import warmup_then_linear


@pytest.mark.parametrize(("done", "factor"), [(0.0, 0.0), (0.05, 0.5), (0.1, 1.0), (0.55, 0.5), (1.0, 0.0), (1.2, 0.0)])
def test_the_rate_rises_and_then_falls(done: float, factor: float) -> None:
    assert warmup_then_linear(done, warmup=0.1) == pytest.approx(factor)


def test_without_warmup_it_only_falls() -> None:
    assert warmup_then_linear(0.0, warmup=0.0) == 1.0


@given(st.floats(0, 1), st.floats(0, 0.99))
def test_it_stays_between_nothing_and_the_peak(done: float, warmup: float) -> None:
    assert 0 <= warmup_then_linear(done, warmup=warmup) <= 1
