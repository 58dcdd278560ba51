"""A probe: its file, whose file it is, and that reading given traces tells what generating them told."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from tiny_gguf import TinyModel, write_tiny_gguf

from arts_lite.engine import Engine, EngineConfig, KVType
from arts_lite.engine.gguf import read_header
from arts_lite.errors import ArtsError, VerifierError
from arts_lite.types import BranchId, EventKind, SamplingParams, StepRules
from arts_lite.verifier import Head, ProbeFormat, read_probe
from arts_lite.verifier.probe import Probe
from arts_lite.verifier.probe_format import ARCHITECTURE, PREFIX
from arts_lite.verifier.verifier import Verifier

PROMPT = list(b"2+3=")


def told(sha256: str, dim: int, **changes: Any) -> ProbeFormat:
    weight = np.random.default_rng(1).normal(0, 0.1, dim).astype(np.float32)
    made = ProbeFormat("flow", Head(weight, 0.25), sha256, estimator="expected", output="logit", metrics={"a": 1})
    return dataclasses.replace(made, **changes)


def write(path: Path, probe: ProbeFormat, **changes: Any) -> Path:
    writer = gguf.GGUFWriter(path, ARCHITECTURE)
    for key, value in {**probe.keys(), **{PREFIX + key: value for key, value in changes.items()}}.items():
        add = {str: writer.add_string, int: writer.add_uint32, float: writer.add_float64}[type(value)]
        add(key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


@pytest.fixture
def engine(tiny_model_path: Path) -> Iterator[Engine]:
    config = EngineConfig(
        threads=1, ctx_size=256, num_cells=2048, kv_type=KVType.F32, tunes_rows=False, flash_attention=False
    )
    with Engine.from_gguf(tiny_model_path, config) as engine:
        yield engine
        assert engine.stats().num_branches == 0


@pytest.fixture
def probe(engine: Engine) -> Probe:
    return Probe(engine, told(engine.model.sha256, engine.num_embd))


def generated(engine: Engine, num: int, **limits: int) -> list[BranchId]:
    """Traces of random text, run to their ends."""
    branches = [
        engine.open(
            PROMPT,
            sampling=SamplingParams(temperature=1.0, top_p=1.0),
            rules=StepRules(delimiters=("\n",)),
            seed=3,
            stream=stream,
            max_tokens=limits.get("max_tokens", 120),
        )
        for stream in range(num)
    ]
    for branch in branches:
        engine.run(branch)
    waiting = set(branches)
    while waiting:
        waiting -= {event.branch for event in engine.advance() if event.kind is EventKind.TRACE_ENDED}
    return branches


def test_a_file_says_what_was_written(tmp_path: Path) -> None:
    made = told("ab" * 32, 8, scale=2.0, offset=-1.0, log_prob_weight=0.5, proposer_name="some model")
    found = read_probe(read_header(write(tmp_path / "p.gguf", made)))
    np.testing.assert_array_equal(found.head.weight, made.head.weight)
    for name in (
        "objective",
        "estimator",
        "output",
        "scale",
        "offset",
        "log_prob_weight",
        "proposer_name",
        "proposer_sha256",
    ):
        assert getattr(found, name) == getattr(made, name)
    assert found.head.bias == 0.25
    assert found.metrics == {"a": 1}
    assert found.log_flow(0.5) == pytest.approx(np.log(0.1 + 9.9 * 0.5))  # 2 * 0.5 - 1 = 0: even odds


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"version": 2}, "format version 2"),
        ({"head.length": 3}, "head is damaged"),
        ({"head.sha256": "0" * 64}, "head is damaged"),
        ({"proposer.sha256": "abc"}, "proposer_sha256 is 'abc', but must be a SHA-256"),
        ({"output": "odds"}, "output is 'odds'"),
        ({"metrics": "[]"}, "must be a JSON object"),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    path = write(tmp_path / "p.gguf", told("ab" * 32, 8), **changes)
    with pytest.raises(VerifierError, match=why):
        read_probe(read_header(path))


def test_a_probe_of_another_file_is_refused(tmp_path: Path, engine: Engine) -> None:
    path = write(tmp_path / "p.gguf", told("ab" * 32, engine.num_embd, proposer_name="Fremdling"))
    with pytest.raises(VerifierError, match=r"Fremdling \(abababababab\.\.\.\), but the proposer is .*tiny\.gguf"):
        Probe.from_gguf(path, engine)


def test_a_model_is_no_probe_and_a_probe_no_model(tmp_path: Path, engine: Engine, tiny_model_path: Path) -> None:
    with pytest.raises(VerifierError, match=r"is no probe: it has no arts\.probe\.\* keys"):
        Probe.from_gguf(tiny_model_path, engine)
    path = write(tmp_path / "p.gguf", told(engine.model.sha256, engine.num_embd))
    for load in (Verifier.from_gguf, Engine.from_gguf):
        with pytest.raises(ArtsError, match="is a probe: it goes with its proposer"):
            load(path)


@pytest.mark.parametrize("max_tokens", [120, 17])
def test_given_traces_have_the_values_that_they_had_while_generating(
    engine: Engine, probe: Probe, max_tokens: int
) -> None:
    branches = generated(engine, 6, max_tokens=max_tokens)
    expected, traces = [], []
    for branch in branches:
        tokens = engine.tokens(branch)
        ends = [end for end in engine.boundaries(branch) if end < len(tokens)]
        cuts = [len(PROMPT), *ends, len(tokens)]
        traces.append([tokens[first:last].tolist() for first, last in pairwise(cuts)])
        expected.append([*probe.read(branch, ends), *probe.read(branch, [len(tokens) - 1])])
    for branch in branches:
        engine.close(branch)
    assert len({len(steps) for steps in traces}) > 1
    found = probe.log_flows(PROMPT, traces)
    assert [len(one) for one in found] == [len(steps) for steps in traces]
    np.testing.assert_allclose(np.concatenate(found), np.concatenate(expected), atol=1e-4)


def test_a_prefix_is_read_at_its_very_end(engine: Engine, probe: Probe) -> None:
    steps = [list(b"12\n"), list(b"34\n")]
    whole = probe.log_flows(PROMPT, [steps, [*steps, [257]]], are_complete=[False, True])
    assert whole[0][-1] == whole[1][-1]  # what an end token is drawn from is the state before it
    [shorter] = probe.log_flows(PROMPT, [steps])
    assert shorter[0] == whole[0][0]
    assert shorter[1] != whole[0][1]
    assert probe.log_flows(PROMPT, []) == []
    assert probe.log_flows(PROMPT, [[]])[0].shape == (0,)


def test_a_probe_costs_no_token_and_changes_none(make_engine: Callable[..., Engine]) -> None:
    plain = make_engine(ctx_size=256, num_cells=2048, tunes_rows=False)
    texts = [plain.text(branch) for branch in generated(plain, 4)]
    probed = make_engine(ctx_size=256, num_cells=2048, tunes_rows=False)
    Probe(probed, told(probed.model.sha256, probed.num_embd))
    assert [probed.text(branch) for branch in generated(probed, 4)] == texts
    assert probed.stats().num_tokens_decoded == plain.stats().num_tokens_decoded


def test_a_head_of_another_width_is_refused(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "narrow.gguf", TinyModel(num_heads=1))
    with (
        Engine.from_gguf(path, EngineConfig(threads=1, ctx_size=64)) as engine,
        pytest.raises(VerifierError, match=r"reads 64 numbers, but the hidden states of .* have 32"),
    ):
        Probe(engine, told(engine.model.sha256, 64))
