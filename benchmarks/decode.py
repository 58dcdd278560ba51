"""Our decode loop, with sampling and bookkeeping, against bare llama_decode calls of the same shape.

B branches continue one prompt; each diverges at its first token. `ratio` is ours to bare (both in tokens per second,
medians of interleaved repeats in one process); `outside_share`, less noisy, is the part of the loop's own time that is
not spent inside llama_decode.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from harness import PROMPT, interleaved, median, parser, report, settings, whole_numbers
from raw import RawDecoder

from arts_lite.engine import Engine, EngineConfig
from arts_lite.types import SamplingParams, StepRules

SAMPLING = SamplingParams(temperature=0.6, top_p=0.95)
RULES = StepRules()


class Shape:
    """B branches that diverge right after the prompt, num_tokens more each."""

    def __init__(self, engine: Engine, num_branches: int, num_tokens: int) -> None:
        self.engine = engine
        self.raw = RawDecoder(engine.context_address)
        self.num_branches = num_branches
        self.num_tokens = num_tokens
        self.prompt = engine.model.vocab.tokenise(PROMPT)
        # one token of their own each, drawn from the prompt's: what follows is ordinary text, and no two are equal
        pool = np.random.default_rng(0).choice(np.arange(40, 200), size=num_branches, replace=False)
        self.prompts = [[*self.prompt, int(token)] for token in pool]
        self.outside = list[float]()
        self.seed = 0

    def ours(self) -> float:
        """Tokens per second of the engine's loop."""
        engine = self.engine
        self.seed += 1
        sampling, rules = SAMPLING, RULES
        head = engine.open(self.prompt, sampling=sampling, rules=rules, seed=0, stream=0, max_tokens=1)
        engine.run(head)
        engine.advance()  # the prompt is in the cache now
        before, start = engine.stats(), time.perf_counter()
        branches = [
            engine.open(tokens, sampling=sampling, rules=rules, seed=self.seed, stream=i, max_tokens=self.num_tokens)
            for i, tokens in enumerate(self.prompts)
        ]
        for branch in branches:
            engine.run(branch)
        while engine.advance():
            pass
        seconds, after = time.perf_counter() - start, engine.stats()
        for branch in [head, *branches]:
            engine.close(branch)
        decode_s = after.decode_s - before.decode_s
        self.outside.append(1 - decode_s / (after.advance_s - before.advance_s))
        return (after.num_tokens_decoded - before.num_tokens_decoded) / seconds

    def bare(self) -> float:
        """Tokens per second of llama_decode alone."""
        raw, tokens = self.raw, [prompt[-1] for prompt in self.prompts]
        raw.clear()
        raw.prefill(self.prompt)
        sequences = list(range(self.num_branches))
        for sequence in sequences[1:]:
            raw.fork(sequence, len(self.prompt))
        start = time.perf_counter()
        for i in range(self.num_tokens):
            raw.step(tokens, len(self.prompt) + i, sequences)
        seconds = time.perf_counter() - start
        raw.clear()
        return self.num_branches * self.num_tokens / seconds


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--branches", type=whole_numbers, default=[1, 8, 16, 32, 64])
    options.add_argument("--tokens", type=int, default=24, help="per branch and repeat")
    chosen = options.parse_args()
    if chosen.quick:
        chosen.branches, chosen.tokens, chosen.repeats = chosen.branches[:3], 8, 2
    rows: list[dict[str, Any]] = []
    config = EngineConfig(
        threads=chosen.threads, gpu_layers=chosen.gpu_layers, ctx_size=1024, num_cells=16384, tunes_rows=False
    )
    with Engine.from_gguf(chosen.model, config) as engine:
        for num_branches in chosen.branches:
            shape = Shape(engine, num_branches, chosen.tokens)
            shape.ours()
            shape.bare()
            shape.outside.clear()
            results = interleaved(chosen.repeats, {"ours": shape.ours, "bare": shape.bare})
            ratios = [ours / bare for ours, bare in zip(results["ours"], results["bare"], strict=True)]
            rows.append(
                {
                    "branches": num_branches,
                    "tokens_per_s": median(results["ours"]),
                    "raw_tokens_per_s": median(results["bare"]),
                    "ratio": median(ratios),
                    "outside_share": median(shape.outside),
                }
            )
        print(flush=True)
        config_used = settings(
            chosen.model,
            threads=engine.plan.threads,
            gpu_layers=chosen.gpu_layers,
            max_rows=engine.plan.max_rows,
            tokens_per_branch=chosen.tokens,
            prompt_tokens=len(shape.prompt),
            repeats=chosen.repeats,
            sampling="temperature 0.6, top-p 0.95",
        )
    report("decode", config_used, rows, chosen.json)


if __name__ == "__main__":
    main()
