"""A probe at work: a head on the proposer's own hidden states, read at rows that are decoded anyway."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arts_lite.engine import Engine
from arts_lite.engine.forced import TokenTree, read_states, read_values, token_trie
from arts_lite.engine.gguf import read_header
from arts_lite.types import BranchId
from arts_lite.verifier.output import aggregation_of, rewards_of
from arts_lite.verifier.probe_format import ProbeFormat, check_proposer, read_probe


class Probe:
    """Log-flows of a proposer's prefixes for a dot product each. It owns nothing: the engine is the proposer's.

    Attributes:
        engine: the proposer's; branches opened from now on are read at each step and at their end.
        format: what the file says of itself.
        path: of the file, or "".
    """

    def __init__(self, engine: Engine, probe: ProbeFormat, path: str = "") -> None:
        """Set the head of an engine without branches. Raises VerifierError: the probe is another file's."""
        check_proposer(probe, engine.model.path, engine.model.sha256, engine.num_embd)
        self.engine = engine
        self.format = probe
        self.path = path
        engine.set_head(probe.head.weight, probe.head.bias)

    @classmethod
    def from_gguf(cls, path: str | os.PathLike[str], engine: Engine) -> Probe:
        """Load a probe's file for a proposer's engine.

        Raises:
            ModelLoadError: it is missing or no GGUF.
            VerifierError: it is no probe, a damaged one, or belongs to another proposer.
        """
        return cls(engine, read_probe(read_header(path)), os.fspath(path))

    @property
    def aggregation(self) -> str:
        """What suits the objective: "min" for a process reward model, else "last"."""
        return aggregation_of(self.format)

    @property
    def rewards(self) -> tuple[float, float] | None:
        """Flows of a wrong and of a right leaf; None: its values are no flows, only their order counts."""
        return rewards_of(self.format)

    @property
    def log_prob_weight(self) -> float:
        """What a nat of a trace's log-prob under the proposer adds to its log-flow, >= 0."""
        return self.format.log_prob_weight

    @property
    def info(self) -> ProbeInfo:
        """What the file is."""
        return ProbeInfo(self)

    def read(self, branch: BranchId, positions: Sequence[int]) -> NDArray[np.float64]:
        """Log-flows of a branch's prefixes at positions in [1, length]; nan where none was read (or not yet)."""
        return self.format.log_flow(self.engine.values(branch, positions))

    def log_flows(
        self,
        prompt: Sequence[int],
        traces: Sequence[Sequence[Sequence[int]]],
        *,
        are_complete: bool | Sequence[bool] = True,
    ) -> list[NDArray[np.float64]]:
        """Read traces of one prompt, in one batch: per trace float64[num_steps], the log-flow after each step.

        They are what `read` tells while such traces are generated. No other branch of the engine may be running.

        Args:
            prompt: the proposer's own prompt tokens.
            traces: the tokens of each step, as generated.
            are_complete: whether a trace is whole: its last token (an end token, or the last one before a limit) was
                then drawn but never decoded, so that its end is read before it.

        Raises:
            ContextOverflowError: a trace is longer than the context.
            ValueError: a token that there is not.
        """
        tree, paths = _trie(prompt, traces, are_complete)
        [values] = read_values(self.engine, [tree])
        return [self.format.log_flow(values[path]) for path in paths]


def read_step_states(
    engine: Engine,
    prompt: Sequence[int],
    traces: Sequence[Sequence[Sequence[int]]],
    *,
    are_complete: bool | Sequence[bool] = True,
) -> list[NDArray[np.float32]]:
    """Read what probes are heads on, as `Probe.log_flows` does: per trace float32[num_steps, num_embd]."""
    tree, paths = _trie(prompt, traces, are_complete)
    [states] = read_states(engine, [tree])
    return [states[path] for path in paths]


class ProbeInfo:
    """What a probe's file is."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        told = self._probe.format
        return {
            "path": self._probe.path,
            "objective": told.objective,
            "estimator": told.estimator,
            "output": told.output,
            "proposer_sha256": told.proposer_sha256,
        }


def _trie(
    prompt: Sequence[int], traces: Sequence[Sequence[Sequence[int]]], are_complete: bool | Sequence[bool]
) -> tuple[TokenTree, list[list[int]]]:
    complete = [are_complete] * len(traces) if isinstance(are_complete, bool) else list(are_complete)
    read = [as_read(steps, is_complete=one) for steps, one in zip(traces, complete, strict=True)]
    return token_trie(prompt, read)


def as_read(steps: Sequence[Sequence[int]], *, is_complete: bool) -> list[Sequence[int]]:
    """Cut off what generating does not decode: the last token of a complete trace."""
    if not is_complete or not steps or not len(steps[-1]):
        return list(steps)
    return [*steps[:-1], steps[-1][:-1]]
