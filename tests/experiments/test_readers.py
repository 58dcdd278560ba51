"""Probes read a pool's hidden states once, all of them together."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from arts_lite.engine import EngineConfig, KVType
from arts_lite.experiments.pool import PoolProblem, read_pool
from arts_lite.experiments.readers import ProbeStates
from arts_lite.experiments.sdf import SdfConfig, SdfRun
from arts_lite.proposer import Proposer, embedded_proposer
from arts_lite.tasks import make_task
from arts_lite.tree.tree import ENDED
from arts_lite.verifier import Head, ProbeFormat
from arts_lite.verifier.probe import Probe

CONFIG = EngineConfig(threads=1, kv_type=KVType.F32, tunes_rows=False, flash_attention=False)


def made(proposer: Proposer, seed: int) -> ProbeFormat:
    weight = np.random.default_rng(seed).normal(0, 0.1, proposer.engine.num_embd).astype(np.float32)
    return ProbeFormat("orm", Head(weight, 0.25), proposer.engine.model.sha256, output="logit")


def sampled(proposer: Proposer, folder: Path) -> list[PoolProblem]:
    task = make_task("countdown")
    assert task.generate is not None
    problems = list(islice(task.generate(0, "test"), 2))
    config = SdfConfig(num_traces=3, fork_prob=0, max_fork_depth=0, max_tokens=40)  # some traces are cut by the limit
    list(SdfRun(proposer, task, problems, folder, config, kind="eval").run())
    return read_pool(folder)


def test_each_probe_is_told_what_it_would_have_read_itself_for_one_reading_of_the_tokens(tmp_path: Path) -> None:
    with Proposer.from_gguf(embedded_proposer(), config=CONFIG) as proposer:
        pool = sampled(proposer, tmp_path)
        probes = {name: made(proposer, seed) for seed, name in enumerate(("flow", "orm"))}
        states = ProbeStates(proposer, probes)
        before = proposer.engine.stats()
        told = {name: [states.log_flows(name, problem) for problem in pool] for name in probes}
        num_read = proposer.engine.stats().num_tokens_prefilled - before.num_tokens_prefilled
        most = sum(one.tree.origin.num_prompt_tokens + one.num_distinct_tokens(one.num_samples) for one in pool)
        assert 0 < num_read <= most
        for name, probe in probes.items():
            own = Probe(proposer.engine, probe)
            for problem, values in zip(pool, told[name], strict=True):
                prompt = proposer.encode_prompt(problem.tree.origin.question)
                traces = [[problem.tree.tokens(node).tolist() for node in path] for path in problem.paths]
                complete = [end.state == ENDED for end in problem.tree.ends]
                read = own.log_flows(prompt, traces, are_complete=complete)
                assert [len(one) for one in values] == [len(steps) for steps in problem.steps]
                for mine, engines in zip(values, read, strict=True):
                    assert mine == pytest.approx(engines.tolist(), abs=1e-3)


def test_a_probe_that_asks_again_is_told_the_same(tmp_path: Path) -> None:
    with Proposer.from_gguf(embedded_proposer(), config=CONFIG) as proposer:
        problem = sampled(proposer, tmp_path)[0]
        states = ProbeStates(proposer, {"one": made(proposer, 0)})
        first = states.log_flows("one", problem)
        for mine, again in zip(first, states.log_flows("one", problem), strict=True):
            assert mine == pytest.approx(again, abs=1e-3)
