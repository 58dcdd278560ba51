"""Scorers of an evaluation's pool that come from files: verifiers, and probes of the proposer's own hidden states."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from arts_lite.experiments.pool import PoolProblem
from arts_lite.experiments.scoring import Reading, check_name
from arts_lite.solver.protocols import Verifier
from arts_lite.tree.tree import ENDED

if TYPE_CHECKING:
    from arts_lite.proposer import Proposer
    from arts_lite.verifier.probe import Probe
    from arts_lite.verifier.probe_format import ProbeFormat


class Told(Protocol):
    """What a file says of itself that an evaluation keeps."""

    @property
    def objective(self) -> str: ...  # noqa: D102
    @property
    def estimator(self) -> str: ...  # noqa: D102
    @property
    def output(self) -> str: ...  # noqa: D102
    @property
    def reward_correct(self) -> float: ...  # noqa: D102
    @property
    def reward_wrong(self) -> float: ...  # noqa: D102


class VerifierReader:
    """Implements `PoolScorer` by a verifier.

    Args:
        settings: of its file, see docs/eval-format.md.
    """

    def __init__(self, name: str, verifier: Verifier, settings: Mapping[str, Any]) -> None:
        self.name = check_name(name)
        self.settings = {**settings, "aggregation": verifier.aggregation, "log_prob_weight": verifier.log_prob_weight}
        self._verifier = verifier

    def read(self, problem: PoolProblem) -> Reading:
        """Read the traces as text, as while they are generated."""
        origin = problem.tree.origin
        tree = self._verifier.tree(origin.question, tuple(origin.rules.get("delimiters", ())))
        try:
            tree.log_flows([[]])
            num_question_tokens = num_read(tree)
            values = [[float(one) for one in own] for own in tree.log_flows(problem.steps)]
            return Reading(values, num_read(tree), num_question_tokens)
        finally:
            tree.close()


class ProbeStates:
    """A proposer's hidden states at the ends of a pool's steps, read once for all probes that ask.

    Args:
        probes: those that will ask, by name. Of their values, not of states, is kept what was not asked for yet.
        system: prompt with which the pool was sampled.
    """

    def __init__(self, proposer: Proposer, probes: Mapping[str, ProbeFormat], *, system: str | None = None) -> None:
        self.probes = dict(probes)
        self._proposer = proposer
        self._system = system
        self._values: dict[str, dict[str, list[list[float]]]] = {}

    def log_flows(self, name: str, problem: PoolProblem) -> list[list[float]]:
        """One probe's log-flows after each step of each trace, which are read as tokens, as while generating."""
        known = self._values.setdefault(problem.id, {})
        if name not in known:
            known.update(self._read(problem))
        return known.pop(name)

    def _read(self, problem: PoolProblem) -> dict[str, list[list[float]]]:
        from arts_lite.verifier.probe import read_step_states  # binds the native library

        tree = problem.tree
        prompt = self._proposer.encode_prompt(tree.origin.question, self._system)
        traces = [[tree.tokens(node).tolist() for node in path] for path in problem.paths]
        complete = [end.state == ENDED for end in tree.ends]
        states = read_step_states(self._proposer.engine, prompt, traces, are_complete=complete)
        return {
            name: [[float(one) for one in probe.log_flow(probe.head(own))] for own in states]
            for name, probe in self.probes.items()
        }


class ProbeReader:
    """Implements `PoolScorer` by a probe: no token is read that generating has not read."""

    def __init__(self, name: str, probe: Probe, states: ProbeStates, settings: Mapping[str, Any]) -> None:
        self.name = check_name(name)
        self.settings = {**settings, "aggregation": probe.aggregation, "log_prob_weight": probe.log_prob_weight}
        self._states = states

    def read(self, problem: PoolProblem) -> Reading:
        """Read the traces of one problem."""
        return Reading(self._states.log_flows(self.name, problem))


def num_read(tree: object) -> int:
    """Tokens that a verifier's mirror has read; 0 of one that does not count."""
    return int(getattr(tree, "num_tokens", 0))


def file_settings(path: Path, told: Told, sha256: str) -> dict[str, Any]:
    """Say what makes a scorer's file what it is."""
    return {
        "file": path.name,
        "sha256": sha256,
        "objective": told.objective,
        "estimator": told.estimator,
        "output": told.output,
        "rewards": {"correct": told.reward_correct, "wrong": told.reward_wrong},
    }


def named_files(values: tuple[str, ...]) -> dict[str, Path]:
    """Read NAME=FILE, or a bare FILE, whose name is its stem. Raises ValueError: a name twice, or no name."""
    found: dict[str, Path] = {}
    for value in values:
        name, equals, file = value.partition("=")
        path = Path(file if equals else value)
        name = check_name(name if equals else path.stem)
        if name in found:
            raise ValueError(f"two verifiers are called {name!r}; say --verifier NAME=FILE with different names")
        found[name] = path
    return found
