"""Verdicts over made-up figures."""

from __future__ import annotations

import math

import pytest

from arts_lite.experiments.claims import CLAIMS, MARGIN, NOT_REPRODUCED, REPRODUCED, UNDECIDED, Claim, judge


def figure(value: float, low: float, high: float) -> dict[str, float]:
    return {"value": value, "low": low, "high": high}


def verdict(claim: Claim, **figures: dict[str, float]) -> tuple[str, str]:
    [told] = judge(figures, [claim])
    return told.verdict, told.why


@pytest.mark.parametrize(
    ("low", "high", "above", "below"),
    [
        (0.01, 0.05, REPRODUCED, NOT_REPRODUCED),
        (-0.05, -0.01, NOT_REPRODUCED, REPRODUCED),
        (-0.01, 0.05, UNDECIDED, UNDECIDED),
        (0.0, 0.05, UNDECIDED, UNDECIDED),  # "clear of zero"
        (-0.05, 0.0, UNDECIDED, UNDECIDED),
    ],
)
def test_the_whole_interval_decides(low: float, high: float, above: str, below: str) -> None:
    x = figure((low + high) / 2, low, high)
    assert verdict(Claim("a", "", "x"), x=x)[0] == above
    assert verdict(Claim("a", "", "x", is_below=True), x=x)[0] == below


def test_a_margin_moves_the_bound() -> None:
    x = figure(-0.01, -0.015, 0.0)
    assert verdict(Claim("a", "", "x", -MARGIN), x=x)[0] == REPRODUCED
    assert verdict(Claim("a", "", "x", -0.012), x=x)[0] == UNDECIDED


def test_a_claim_whose_condition_fails_is_undecided_and_says_why() -> None:
    claim = Claim("a", "", "x", needs=(("gain", "no baseline"),))
    good = figure(0.1, 0.05, 0.2)
    assert verdict(claim, x=good, gain=good)[0] == REPRODUCED
    assert verdict(claim, x=good, gain=figure(0.1, 0.0, 0.2)) == (UNDECIDED, "no baseline")
    assert verdict(claim, x=good) == (UNDECIDED, "no baseline")


def test_what_was_not_measured_is_undecided() -> None:
    claim = Claim("a", "", "x")
    assert verdict(claim) == (UNDECIDED, "not measured in this run")
    assert verdict(claim, x=figure(0.5, math.nan, math.nan))[0] == UNDECIDED


def test_a_few_problems_decide_nothing() -> None:
    x = {**figure(0.5, 0.5, 0.5), "num_problems": 3}
    assert verdict(Claim("a", "", "x"), x=x) == (UNDECIDED, "only 3 problems")
    assert verdict(Claim("a", "", "x"), x={**x, "num_problems": 30})[0] == REPRODUCED


def test_every_claim_gets_a_verdict_and_plain_data() -> None:
    names = {name for claim in CLAIMS for name in (claim.figure, *(need for need, _ in claim.needs))}
    high = judge({name: figure(0.5, 0.4, 0.6) for name in names})
    low = judge({name: figure(-0.5, -0.6, -0.4) for name in names})
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS) == len(high)
    for one in high:
        assert one.verdict == (NOT_REPRODUCED if one.claim.is_below else REPRODUCED)
        assert one.to_dict()["value"] == 0.5
    for one in low:
        if one.claim.needs:  # RL did not learn
            assert one.verdict == UNDECIDED
        else:
            assert one.verdict == (REPRODUCED if one.claim.is_below else NOT_REPRODUCED)
