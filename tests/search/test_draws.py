from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from arts_lite.search.draws import coin, uniform

keys = st.lists(st.integers(0, 2**40), max_size=5)


@given(st.integers(0, 2**60), keys)
def test_a_draw_is_a_function_of_its_key_and_lies_in_the_unit_interval(seed: int, key: list[int]) -> None:
    assert uniform(seed, *key) == uniform(seed, *key)
    assert 0 <= uniform(seed, *key) < 1


def test_draws_are_the_same_on_every_machine() -> None:
    assert [round(uniform(0, 1, n), 6) for n in range(3)] == [0.621887, 0.930953, 0.534028]


def test_draws_of_neighbouring_keys_look_independent() -> None:
    values = [uniform(seed, path, position) for seed in range(10) for path in range(10) for position in range(100)]
    assert abs(sum(values) / len(values) - 0.5) < 0.012  # 4 standard errors of 10,000 draws
    rises = sum(a < b for a, b in itertools.pairwise(values))
    assert abs(rises / len(values) - 0.5) < 0.02


def test_a_coin_of_probability_zero_or_one_is_certain() -> None:
    assert not any(coin(0.0, 0, n) for n in range(1000))
    assert all(coin(1.0, 0, n) for n in range(1000))
