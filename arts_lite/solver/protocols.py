"""What a solver needs of a proposer. Implemented by `arts_lite.proposer.Proposer` and by the tests' fake proposer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from arts_lite.search import Engine
from arts_lite.types import BranchId, SamplingParams, StepRules


class EngineStats(Protocol):
    """The counters that a solver looks at; there may be more."""

    @property
    def num_rows_max(self) -> int:
        """How many branches one decode call advances at most."""
        ...

    @property
    def num_cells_capacity(self) -> int:
        """KV cells of all branches together."""
        ...


class CountingEngine(Engine, Protocol):
    """An engine that tells its counters, and whether it repeats itself."""

    @property
    def is_reproducible(self) -> bool:
        """Whether traces are a function of the calls since the engine held no branch, to the last bit."""
        ...

    @property
    def conditions(self) -> Mapping[str, Any]:
        """What has to be equal for that, JSON-ready; empty where it is not reproducible."""
        ...

    def stats(self) -> EngineStats:
        """Counters since the engine was made."""
        ...


class Described(Protocol):
    """A description of a model file."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        ...


class JudgedTree(Protocol):
    """A verifier's mirror of one question's tree."""

    def log_flows(self, traces: Sequence[Sequence[str]]) -> Sequence[NDArray[np.float64]]:
        """Read traces, given by their steps' texts: per trace float64[num_steps], the log-flow after each step."""
        ...

    def close(self) -> None:
        """Let go of the cache. Idempotent."""
        ...


class Verifier(Protocol):
    """Judges prefixes. Implemented by `arts_lite.verifier.Verifier`."""

    @property
    def info(self) -> Described:
        """What the model is."""
        ...

    @property
    def aggregation(self) -> str:
        """How a trace's steps make one score, unless the user says otherwise: last, min, mean or product."""
        ...

    @property
    def rewards(self) -> tuple[float, float] | None:
        """Flows of a wrong and of a right leaf; None: its values are no flows, only their order counts."""
        ...

    @property
    def log_prob_weight(self) -> float:
        """What a nat of a trace's log-prob under the proposer adds to its log-flow, >= 0."""
        ...

    def tree(self, question: str, delimiters: Sequence[str] = ()) -> JudgedTree:
        """Begin a mirror of one question's tree.

        Raises:
            ValueError, ContextOverflowError: the question gives no token, or leaves no room for a step.
        """
        ...

    def close(self) -> None:
        """Let go of the model. Idempotent."""
        ...


class Probe(Protocol):
    """Judges prefixes by the proposer's own hidden states. Implemented by `arts_lite.verifier.probe.Probe`."""

    @property
    def info(self) -> Described:
        """What its file is."""
        ...

    @property
    def aggregation(self) -> str:
        """See `Verifier`."""
        ...

    @property
    def rewards(self) -> tuple[float, float] | None:
        """See `Verifier`."""
        ...

    @property
    def log_prob_weight(self) -> float:
        """See `Verifier`."""
        ...

    def read(self, branch: BranchId, positions: Sequence[int]) -> NDArray[np.float64]:
        """Log-flows of a branch of the proposer's engine at positions in [1, length]; nan where none was read."""
        ...


class Proposer(Protocol):
    """Makes prompts, and owns the engine that answers them."""

    @property
    def engine(self) -> CountingEngine:
        """Where traces are written."""
        ...

    @property
    def default_sampling(self) -> SamplingParams:
        """How tokens are drawn unless the user says otherwise."""
        ...

    @property
    def default_rules(self) -> StepRules:
        """Where steps and traces end unless the user says otherwise."""
        ...

    @property
    def tasks(self) -> tuple[str, ...]:
        """The only kinds of problems that it was made for, read in their plain forms; none: any question."""
        ...

    @property
    def info(self) -> Described:
        """What the model is."""
        ...

    def encode_prompt(self, question: str, system: str | None = None) -> list[int]:
        """Turn a question into tokens. Raises ValueError: blank; ContextOverflowError: no room for an answer."""
        ...

    def close(self) -> None:
        """Let go of the model. Idempotent."""
        ...
