"""The strategies by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from arts_lite.search.beam import BeamSearch
from arts_lite.search.dvts import DiverseVerifierTreeSearch
from arts_lite.search.flow import FlowSearch
from arts_lite.search.mcts import MonteCarloTreeSearch
from arts_lite.search.sampling import BestOfN, Vote, WeightedVote
from arts_lite.search.sdf import SparseDeepFork
from arts_lite.search.strategy import Strategy, StrategySettings

STRATEGIES: Mapping[str, Callable[[StrategySettings], Strategy]] = {
    "best-of-n": BestOfN,
    "vote": Vote,
    "weighted-vote": WeightedVote,
    "sdf": SparseDeepFork,
    "flow": FlowSearch,
    "beam": BeamSearch,
    "dvts": DiverseVerifierTreeSearch,
    "mcts": MonteCarloTreeSearch,
}
NEED_STEP_SCORES = frozenset({"flow", "beam", "dvts", "mcts"})
"""Strategies that are guided by a score of every step: they need a `StepScorer`."""


def make_strategy(name: str, settings: StrategySettings | None = None) -> Strategy:
    """Make a strategy for one question. Raises ValueError: there is none of this name."""
    if name not in STRATEGIES:
        raise ValueError(f"strategy is {name!r}, but must be one of {', '.join(STRATEGIES)}")
    return STRATEGIES[name](settings or StrategySettings())
