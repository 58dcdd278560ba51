"""Strategies over the event loop of an engine. Pure Python: knows no model, no file and no task."""

from __future__ import annotations

from arts_lite.search.ballot import Candidate, Decision
from arts_lite.search.budget import Budget
from arts_lite.search.checked import Checked
from arts_lite.search.events import SearchEvent, SearchResult
from arts_lite.search.live import SearchRequest
from arts_lite.search.loop import SearchLoop
from arts_lite.search.protocols import Engine
from arts_lite.search.record import Branch, BranchState, SearchTree, Step
from arts_lite.search.scorers import (
    AGGREGATIONS,
    SCORERS,
    Scorer,
    StepScorer,
    make_scorer,
)
from arts_lite.search.stopping import FlowRange
from arts_lite.search.strategies import NEED_STEP_SCORES, STRATEGIES, make_strategy
from arts_lite.search.strategy import Strategy, StrategySettings

__all__ = [
    "AGGREGATIONS",
    "Branch",
    "BranchState",
    "Budget",
    "Candidate",
    "Checked",
    "Decision",
    "Engine",
    "FlowRange",
    "NEED_STEP_SCORES",
    "SCORERS",
    "STRATEGIES",
    "Scorer",
    "SearchEvent",
    "SearchLoop",
    "SearchRequest",
    "SearchResult",
    "SearchTree",
    "Step",
    "StepScorer",
    "Strategy",
    "StrategySettings",
    "make_scorer",
    "make_strategy",
]
