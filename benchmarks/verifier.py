"""What values cost: a verifier's time, and a probe's, per step beside the time that generating the step takes.

B branches continue one prompt, step by step. `verifier`: after each event the steps that ended are read at once, as a
search does it (`as_they_come`), or all branches wait for one another and are read in one batch (`together`). Steps pass
as text, in the verifier's own tokens; its values do not matter, so that any GGUF serves, with a random head. `ratio` is
its time to that of generating. `probe`: the same generation with and without a head on the proposer; `ratio` is the
time that it adds. The same tokens are drawn in all runs. Goals: 0.25 for a verifier of a fifth of the proposer's size,
0.01 for a probe.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from harness import PROMPT, interleaved, median, parser, report, settings, whole_numbers

from arts_lite.engine import Engine, EngineConfig
from arts_lite.proposer import embedded_proposer
from arts_lite.types import BranchId, EventKind, SamplingParams, StepRules
from arts_lite.verifier import Head, InputRules, ProbeFormat, VerifierFormat
from arts_lite.verifier.probe import Probe
from arts_lite.verifier.verifier import Verifier

EMBEDDED_PROMPT = "(48+7)*(13-5)-(6+29)*3+(81-17)*2\n"
SAMPLING = SamplingParams(temperature=1.0, top_p=1.0)
Times = dict[str, float]


class Bench:
    """One proposer's engine; every run draws the same tokens."""

    def __init__(self, engine: Engine, num_branches: int, num_tokens: int, delimiter: str, prompt: str) -> None:
        self.engine = engine
        self.num_branches = num_branches
        self.num_tokens = num_tokens
        self.rules = StepRules(delimiters=(delimiter,))
        self.delimiter = delimiter
        self.prompt = engine.model.vocab.tokenise(prompt)

    def run(self, read: Callable[[list[list[str]]], object] | None, *, together: bool = False) -> Times:
        """Generate; `read` is given the steps so far of the branches whose steps have just ended."""
        engine, times = self.engine, {"generate_s": 0.0, "read_s": 0.0, "steps": 0.0, "tokens": 0.0}
        head = self._open(-1, max_tokens=1)
        engine.run(head)
        engine.advance()  # the prompt is in the cache now
        branches = [self._open(number, max_tokens=self.num_tokens) for number in range(self.num_branches)]
        before = engine.stats().num_tokens_decoded
        for branch in branches:
            engine.run(branch, pause_on_step=True)
        running, waiting, steps = set(branches), set[BranchId](), {branch: list[str]() for branch in branches}
        while running:
            start = time.perf_counter()
            events = engine.advance()
            times["generate_s"] += time.perf_counter() - start
            ended = [event for event in events if event.branch in running]
            for event in ended:
                assert event.branch is not None
                steps[event.branch] = self._steps(event.branch)
                times["steps"] += 1
                if event.kind is EventKind.TRACE_ENDED:
                    running.discard(event.branch)
            waiting |= {event.branch for event in ended if event.branch is not None}
            if not waiting or (together and running - waiting):
                continue
            if read is not None:
                start = time.perf_counter()
                read([steps[branch] for branch in sorted(waiting)])
                times["read_s"] += time.perf_counter() - start
            for branch in waiting & running:
                engine.run(branch, pause_on_step=True)
            waiting = set()
        times["tokens"] = float(engine.stats().num_tokens_decoded - before)
        for branch in [head, *branches]:
            engine.close(branch)
        return times

    def _open(self, stream: int, *, max_tokens: int) -> BranchId:
        return self.engine.open(
            self.prompt, sampling=SAMPLING, rules=self.rules, seed=1, stream=stream + 1, max_tokens=max_tokens
        )

    def _steps(self, branch: BranchId) -> list[str]:
        engine = self.engine
        ends = [len(self.prompt), *engine.boundaries(branch)]
        if ends[-1] < engine.num_tokens(branch):
            ends.append(engine.num_tokens(branch))
        texts = [engine.text(branch, first, last) for first, last in pairwise(ends)]
        return [text.decode("utf-8", "replace") for text in texts]


def random_head(engine: Engine) -> Head:
    return Head(np.random.default_rng(0).normal(0, 0.02, engine.num_embd).astype(np.float32), 0.0)


def verifier_over(path: Path, config: EngineConfig, delimiter: str) -> Verifier:
    """Any model as a verifier, with a random head."""
    engine = Engine.from_gguf(path, config)
    return Verifier(engine, VerifierFormat("flow", InputRules("{question}\n\n", delimiter), random_head(engine)))


def verifier_row(bench: Bench, verifier: Verifier, *, together: bool, repeats: int) -> dict[str, Any]:
    def measure() -> Times:
        with verifier.tree(PROMPT, (bench.delimiter,)) as tree:
            tree.log_flows([[]])  # the question is read before the first step, while the proposer reads it, too
            return bench.run(tree.log_flows, together=together)

    measure()
    found = [measure() for _ in range(repeats)]
    own, other = bench.engine.model.num_params, verifier.engine.model.num_params
    return {
        "what": verifier.engine.model.path.name,
        "mode": "together" if together else "as_they_come",
        "size": other / own,
        **common(found),
        "value_ms_per_step": median(1000 * one["read_s"] / one["steps"] for one in found),
        "ratio": median(one["read_s"] / one["generate_s"] for one in found),
    }


def probe_row(bench: Bench, *, together: bool, repeats: int) -> dict[str, Any]:
    engine = bench.engine
    told = ProbeFormat("flow", random_head(engine), engine.model.sha256)
    kept: list[Times] = []

    def probed() -> float:
        Probe(engine, told)
        kept.append(bench.run(None, together=together))
        engine.remove_head()
        return kept[-1]["generate_s"]

    def plain() -> float:
        return bench.run(None, together=together)["generate_s"]

    probed()
    plain()
    kept.clear()
    results = interleaved(repeats, {"probe": probed, "plain": plain})
    added = [one / other - 1 for one, other in zip(results["probe"], results["plain"], strict=True)]
    gaps = [one - other for one, other in zip(results["probe"], results["plain"], strict=True)]
    return {
        "what": "probe",
        "mode": "together" if together else "as_they_come",
        "size": 0.0,
        **common(kept),
        "value_ms_per_step": 1000 * median(gaps) / median(one["steps"] for one in kept),
        "ratio": median(added),
    }


def common(found: list[Times]) -> dict[str, Any]:
    return {
        "steps": int(found[0]["steps"]),
        "tokens_per_step": found[0]["tokens"] / found[0]["steps"],
        "generate_ms_per_step": median(1000 * one["generate_s"] / one["steps"] for one in found),
    }


def main() -> None:
    options = parser(__doc__ or "", needs_model=False)
    options.add_argument(
        "--verifier", type=Path, action="append", default=[], help="GGUF, repeatable; default: --model"
    )
    options.add_argument("--branches", type=whole_numbers, default=[16])
    options.add_argument("--tokens", type=int, default=96, help="per branch")
    options.add_argument("--delimiter", default="\\n\\n", help=r"\n is a newline")
    chosen = options.parse_args()
    if chosen.quick:
        chosen.branches, chosen.tokens, chosen.repeats = [4], 64, 2
    path = chosen.model or embedded_proposer()
    delimiter = chosen.delimiter.replace("\\n", "\n") if chosen.model else "\n"
    prompt = PROMPT if chosen.model else EMBEDDED_PROMPT
    config = EngineConfig(
        threads=chosen.threads, gpu_layers=chosen.gpu_layers, ctx_size=512, num_cells=8192, tunes_rows=False
    )
    rows: list[dict[str, Any]] = []
    with Engine.from_gguf(path, config) as engine:
        for num_branches in chosen.branches:
            bench = Bench(engine, num_branches, chosen.tokens, delimiter, prompt)
            modes = (False, True)
            own = [probe_row(bench, together=together, repeats=chosen.repeats) for together in modes]
            for file in chosen.verifier or [path]:
                with verifier_over(file, config, delimiter) as verifier:
                    own += [
                        verifier_row(bench, verifier, together=together, repeats=chosen.repeats) for together in modes
                    ]
            rows += [{"branches": num_branches, **row} for row in own]
        used = settings(
            path,
            threads=engine.plan.threads,
            gpu_layers=chosen.gpu_layers,
            tokens_per_branch=chosen.tokens,
            prompt_tokens=len(bench.prompt),
            repeats=chosen.repeats,
            delimiter=repr(delimiter),
            sampling="temperature 1, top-p 1",
        )
    report("verifier", used, rows, chosen.json)


if __name__ == "__main__":
    main()
