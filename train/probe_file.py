"""A probe's file: keys, and no weights."""

from __future__ import annotations

from pathlib import Path

from arts_lite.engine.gguf import read_header
from arts_lite.train.export import add_key
from arts_lite.train.rundir import replacing
from arts_lite.train.writing import new_gguf
from arts_lite.verifier.probe_format import ARCHITECTURE, ProbeFormat, read_probe


def write_probe(path: Path, probe: ProbeFormat) -> ProbeFormat:
    """Write a probe, atomically; returns it as it stands in the file.

    Raises:
        TrainingError: the file cannot be written.
        VerifierError: what was written cannot be read back.
    """
    with replacing(path) as whole:
        with new_gguf(whole, ARCHITECTURE) as writer:
            for key, value in {"general.name": f"probe of {probe.proposer_name}", **probe.keys()}.items():
                add_key(writer, key, value)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
        return read_probe(read_header(whole))
