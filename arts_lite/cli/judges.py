"""Loading what judges an evaluation's pool: verifiers and probes, told apart by their files."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from arts_lite.engine import EngineConfig
    from arts_lite.experiments.readers import ProbeStates
    from arts_lite.experiments.scoring import PoolScorer
    from arts_lite.experiments.sdf import SdfConfig
    from arts_lite.proposer import Proposer
    from arts_lite.solver.protocols import Probe, Verifier


@dataclass(frozen=True)
class Judge:
    """A verifier or a probe, and the reader of the pool that it makes."""

    reader: PoolScorer
    verifier: Verifier | None = None
    probe: Probe | None = None

    @property
    def gives_flows(self) -> bool:
        """Whether its values are flows, and not only an order."""
        judge = self.verifier or self.probe
        return judge is not None and judge.rewards is not None


def probe_states(files: Mapping[str, Path], proposer: Proposer, config: SdfConfig) -> ProbeStates:
    """Tell the probes among named files.

    Args:
        proposer: of the pool, whose engine probes read.
        config: of the pool.

    Raises:
        ModelLoadError, VerifierError: a file is missing or damaged.
    """
    from arts_lite.engine.gguf import read_header
    from arts_lite.experiments.readers import ProbeStates
    from arts_lite.verifier.probe_format import PREFIX, read_probe

    headers = {name: read_header(path) for name, path in files.items()}
    probes = {
        name: read_probe(header)
        for name, header in headers.items()
        if any(key.startswith(PREFIX) for key in header.metadata)
    }
    return ProbeStates(proposer, probes, system=config.system)


def load_judge(
    stack: ExitStack, name: str, path: Path, proposer: Proposer, states: ProbeStates, engine: EngineConfig
) -> Judge:
    """Load a file; a verifier is closed by the stack.

    Args:
        proposer: of the pool, whose engine a probe reads.
        states: for the probes.
        engine: of a verifier.

    Raises:
        ModelLoadError, VerifierError, UnsupportedModelError: it is neither, or cannot be used.
    """
    from arts_lite.experiments.readers import ProbeReader, VerifierReader, file_settings
    from arts_lite.verifier.probe import Probe
    from arts_lite.verifier.verifier import Verifier

    if name in states.probes:
        probe = Probe.from_gguf(path, proposer.engine)
        told = file_settings(path, probe.format, sha256(path.read_bytes()).hexdigest())
        return Judge(ProbeReader(name, probe, states, told), probe=probe)
    verifier = stack.enter_context(Verifier.from_gguf(path, engine))
    told = file_settings(path, verifier.format, verifier.engine.model.sha256)
    return Judge(VerifierReader(name, verifier, told), verifier)
