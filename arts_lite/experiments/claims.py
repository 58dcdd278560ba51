"""The claims of arXiv 2602.12846, and what a run has to say about each: reproduced, not reproduced, or undecided.

A claim is about one figure, a mean with its 95 % interval. It counts as reproduced when the whole interval lies where
it says, as not reproduced when it lies wholly on the other side, and else as undecided at this sample size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

REPRODUCED, NOT_REPRODUCED, UNDECIDED = "reproduced", "not reproduced", "undecided"
MIN_PROBLEMS = 20
"""With fewer a bootstrap's interval is too narrow: nothing is decided."""
MARGIN = 0.02
"""Accuracies within two points of each other count as the same, where a claim says that one reaches the other."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim.

    Attributes:
        name: short, unique.
        text: what is claimed, in a sentence.
        figure: name of the figure that decides.
        bound: the interval must be above it; below it with `is_below`.
        needs: figures that must be above 0, whole interval, for the claim to mean anything: figure -> what else is so.
        source: where it is claimed.
    """

    name: str
    text: str
    figure: str
    bound: float = 0.0
    is_below: bool = False
    needs: tuple[tuple[str, str], ...] = ()
    source: str = "paper"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a claim.

    Attributes:
        verdict: "reproduced", "not reproduced" or "undecided".
        why: of an undecided one: what is missing; else "".
        value, low, high: of the figure; None where there is none.
    """

    claim: Claim
    verdict: str
    why: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "name": self.claim.name,
            "text": self.claim.text,
            "source": self.claim.source,
            "figure": self.claim.figure,
            "bound": self.claim.bound,
            "side": "below" if self.claim.is_below else "above",
            "verdict": self.verdict,
            "why": self.why,
            "value": self.value,
            "low": self.low,
            "high": self.high,
        }


_RL = (("grpo/pass@1 gain", "GRPO did not clearly raise pass@1, so that it is no baseline to compare with"),)
_SET = "On the problems that the GRPO policy never solves in 16 samples (fresh samples of the frozen proposer)"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "baseline",
        "GRPO raises pass@1 (the condition under which it is a baseline at all)",
        "grpo/pass@1 gain",
        source="condition",
    ),
    Claim(
        "arts matches grpo",
        f"The frozen proposer with ARTS best-of-16 reaches the GRPO policy's pass@1 (to within {MARGIN:g})",
        "arts-sum@16 - grpo pass@1",
        -MARGIN,
        needs=_RL,
        source="abstract (74.6 against 74.7 on MATH-500)",
    ),
    Claim(
        "arts at grpo's budget",
        "ARTS best-of-16 is above the GRPO policy's majority@16: the same number of samples",
        "arts-expected@16 - grpo majority@16",
        needs=_RL,
        source="goal",
    ),
    Claim(
        "arts and log-prob at grpo's budget",
        "The same where the proposer's log-prob counts beside ARTS's flow",
        "arts-expected + log-prob@16 - grpo majority@16",
        needs=_RL,
        source="our change",
    ),
    Claim("mode rises", "GRPO raises the likelihood of mode traces", "squeeze/mode", needs=_RL, source="Fig. 1b"),
    Claim(
        "rare decays",
        "GRPO lowers the likelihood of rare correct traces",
        "squeeze/rare",
        is_below=True,
        needs=_RL,
        source="Fig. 1b",
    ),
    Claim(
        "endangered decays",
        "GRPO lowers the likelihood of endangered correct traces",
        "squeeze/endangered",
        is_below=True,
        needs=_RL,
        source="Fig. 1b",
    ),
    Claim("extinction, arts", f"{_SET} ARTS is above random choice", "extinct/arts-sum - random", source="Fig. 3"),
    Claim(
        "extinction, arts expected",
        f"{_SET} ARTS with the expected flow is above random choice",
        "extinct/arts-expected - random",
        source="goal",
    ),
    Claim(
        "extinction, arts and log-prob",
        f"{_SET} the expected flow with the proposer's log-prob is above random choice",
        "extinct/arts-expected + log-prob - random",
        source="our change",
    ),
    Claim(
        "extinction, prm",
        f"{_SET} a PRM is below random choice",
        "extinct/prm-hard - random",
        0.0,
        True,
        source="Fig. 3",
    ),
    Claim("extinction, rm", f"{_SET} an RM is below random choice", "extinct/rm - random", 0.0, True, source="Fig. 3"),
    Claim("extinction, arts over prm", f"{_SET} ARTS is above a PRM", "extinct/arts-sum - prm-hard", source="Fig. 3"),
    Claim("best of n, random", "ARTS best-of-16 is above random choice", "bon@16/arts-sum - random"),
    Claim("best of n, majority", "ARTS best-of-16 is above majority", "bon@16/arts-sum - majority"),
    Claim("best of n, rm", "ARTS best-of-16 is above the RM's", "bon@16/arts-sum - rm"),
    Claim("best of n, prm", "ARTS best-of-16 is above the PRM's (minimum over steps)", "bon@16/arts-sum - prm-hard"),
    Claim(
        "best of n, prm by its last step",
        "ARTS best-of-16 is above the PRM's where that is read as ARTS is: at the last step",
        "bon@16/arts-sum - prm-hard/last",
        source="control",
    ),
    Claim(
        "best of n, soft prm",
        "The expected flow's best-of-16 is above a soft PRM's, both read at the last step",
        "bon@16/arts-expected - prm-soft/last",
        source="control",
    ),
    Claim(
        "best of n, orm",
        "ARTS best-of-16 is above a pointwise outcome model's",
        "bon@16/arts-sum - orm",
        source="control",
    ),
    Claim(
        "best of n, log-prob",
        "ARTS best-of-16 is above the choice by the proposer's own mean log-prob",
        "bon@16/arts-sum - logprob",
        source="control",
    ),
    Claim(
        "best of n, over log-prob",
        "The expected flow with the proposer's log-prob beside it is above that log-prob alone",
        "bon@16/arts-expected + log-prob - logprob",
        source="our change",
    ),
    Claim(
        "best of n, countdown",
        "In Countdown ARTS best-of-16 is above majority",
        "countdown/arts-sum - majority",
        source="goal",
    ),
    Claim(
        "expected over sum",
        "The expected flow's best-of-16 is above the summed flow's",
        "bon@16/arts-expected - arts-sum",
        source="our change",
    ),
    Claim(
        "weighted majority",
        "Votes weighted by the expected flow are above plain majority",
        "vote@16/arts-expected - majority",
        source="goal",
    ),
    Claim(
        "weighted majority, log-prob",
        "The same where the proposer's log-prob counts beside the flow",
        "vote@16/arts-expected + log-prob - majority",
        source="our change",
    ),
    Claim(
        "depth",
        "The summed flow depends on depth more than the expected flow (size of the correlation)",
        "depth/sum - expected",
        source="analysis",
    ),
    Claim(
        "flow search, half the tokens",
        f"Flow search reaches best-of-16's accuracy (to within {MARGIN:g}) with at most half of its tokens (drawn, and "
        "read by the verifier)",
        "search/flow at half the tokens - best-of-16",
        -MARGIN,
        source="goal",
    ),
    Claim(
        "flow search, half the decoded tokens",
        "The same in tokens that are decoded: what best-of-16's traces have in common counts once",
        "search/flow at half the decoded tokens - best-of-16",
        -MARGIN,
        source="control",
    ),
    Claim(
        "flow search, early stop",
        "Flow search is above best-of-n with the same early stop at equal tokens (mean over the budgets)",
        "search/flow - best-of-n with early stop",
        source="goal",
    ),
    Claim(
        "flow search, early stop, decoded",
        "The same at equal decoded tokens",
        "search/flow - best-of-n with early stop, decoded",
        source="control",
    ),
)


def judge(figures: Mapping[str, Mapping[str, Any]], claims: Sequence[Claim] = CLAIMS) -> list[Verdict]:
    """Judge each claim by figures: name -> value, low and high (None or nan where unknown)."""
    return [_judged(claim, figures) for claim in claims]


def _judged(claim: Claim, figures: Mapping[str, Mapping[str, Any]]) -> Verdict:
    told = _interval(figures.get(claim.figure))
    if told is None:
        return Verdict(claim, UNDECIDED, "not measured in this run")
    value, low, high = told
    num_problems = (figures[claim.figure] or {}).get("num_problems") or MIN_PROBLEMS
    if num_problems < MIN_PROBLEMS:
        return Verdict(claim, UNDECIDED, f"only {num_problems} problems", value, low, high)
    for name, why in claim.needs:
        needed = _interval(figures.get(name))
        if needed is None or needed[1] <= 0:
            return Verdict(claim, UNDECIDED, why, value, low, high)
    above, below = low > claim.bound, high < claim.bound
    if not above and not below:
        return Verdict(claim, UNDECIDED, "the interval holds both", value, low, high)
    return Verdict(claim, REPRODUCED if above != claim.is_below else NOT_REPRODUCED, "", value, low, high)


def _interval(figure: Mapping[str, Any] | None) -> tuple[float, float, float] | None:
    if figure is None:
        return None
    told = [figure.get(name) for name in ("value", "low", "high")]
    if any(one is None or math.isnan(one) for one in told):
        return None
    value, low, high = (float(one) for one in told if one is not None)
    return value, low, high
