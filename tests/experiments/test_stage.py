"""How long stages take by the clock."""

from __future__ import annotations

import pytest

from arts_lite.experiments.stage import Stage, expected_minutes


def stages() -> list[Stage]:
    return [
        Stage("trees", (), minutes=2),
        Stage("a", (), ("trees",), minutes=3),
        Stage("b", (), ("trees",), minutes=5),
        Stage("end", (), ("a", "b"), minutes=1),
    ]


def test_one_after_another_they_take_the_sum() -> None:
    assert expected_minutes(stages(), 1) == pytest.approx(11)


def test_side_by_side_what_waits_counts_and_each_takes_longer_for_its_share_of_the_cores() -> None:
    on_a_share = expected_minutes([Stage("one", (), minutes=1)], 2)
    assert 1 < on_a_share < 2
    assert expected_minutes(stages(), 2) == pytest.approx((2 + 5 + 1) * on_a_share)
    company = [*stages(), Stage("other", (), minutes=4)]  # b waits for it
    assert expected_minutes(company, 2) == pytest.approx((4 + 5 + 1) * on_a_share)


def test_what_is_done_is_not_waited_for() -> None:
    assert expected_minutes(stages()[2:], 1) == pytest.approx(6)
    assert expected_minutes([], 2) == 0
