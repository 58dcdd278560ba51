"""Many long branches on one prefix: what the engine chooses, against every fixed choice.

A tree of B branches of L tokens each on a shared prefix of P tokens is generated to its end. `engine` is the engine
with its defaults; `rows=R` is the same engine held to R rows a batch, without padding; `split` is bare llama_decode on
a cache with a stream of its own per branch (kv_unified=False), all B branches in every call, no sampling: the figure
to beat, though it cannot fork in mid-sequence.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import llama_cpp.llama_cpp as llama
import numpy as np
from harness import interleaved, median, parser, report, settings, whole_numbers
from raw import RawDecoder

from arts_lite.engine import Engine, EngineConfig, Model
from arts_lite.types import SamplingParams, StepRules

RULES = StepRules(delimiters=())


@dataclasses.dataclass(frozen=True)
class Tree:
    """B branches of L tokens on P shared ones."""

    num_branches: int
    num_tokens: int
    num_prefix: int

    @property
    def num_cells(self) -> int:
        """KV cells of the whole tree, with some to spare."""
        total = self.num_prefix + self.num_branches * self.num_tokens
        return -(-(total + 256) // 256) * 256


def unified_rate(model: Model, config: EngineConfig, tree: Tree, seed: int) -> float:
    """Tokens per second of the engine. Ends are banned, so that every branch has its full length."""
    ends = [token for token in range(model.vocab.num_tokens) if model.vocab.is_end(token)]
    sampling = SamplingParams(temperature=0.8, banned_tokens=tuple(ends))
    prefix = np.random.default_rng(seed).integers(40, min(20000, model.vocab.num_tokens), tree.num_prefix)
    with Engine(model, config) as engine:
        head = engine.open(prefix.astype(np.int32), sampling=sampling, rules=RULES, seed=seed, stream=0, max_tokens=1)
        engine.run(head)
        engine.advance()
        pool = np.random.default_rng(seed + 1).choice(np.arange(40, 250), tree.num_branches, replace=False)
        start = time.perf_counter()
        for stream, token in enumerate(pool):
            prompt = np.append(prefix, token).astype(np.int32)
            branch = engine.open(
                prompt, sampling=sampling, rules=RULES, seed=seed, stream=stream, max_tokens=tree.num_tokens
            )
            engine.run(branch)
        num_ended = 0
        while events := engine.advance():
            for event in events:
                if event.branch is not None and event.reason is not None:
                    num_ended += 1
                    engine.close(event.branch)  # as a search does with a trace that it will not fork again
        seconds = time.perf_counter() - start
        assert num_ended == tree.num_branches
        return tree.num_branches * tree.num_tokens / seconds


def split_rate(model: Model, threads: int, tree: Tree) -> float:
    """Tokens per second of llama_decode alone with one stream per branch."""
    params = llama.llama_context_default_params()
    per_stream = -(-(tree.num_prefix + tree.num_tokens + 1) // 256) * 256
    params.n_ctx = per_stream * tree.num_branches
    params.n_batch = params.n_ubatch = 512
    params.n_seq_max = tree.num_branches
    params.kv_unified = False
    params.n_threads = params.n_threads_batch = threads
    context = llama.llama_init_from_model(model.retain(), params)
    try:
        raw = RawDecoder(context)
        tokens = np.random.default_rng(0).integers(40, 250, tree.num_prefix).tolist()
        raw.prefill(tokens)
        for sequence in range(1, tree.num_branches):
            raw.fork(sequence, -1)  # whole streams only
        start = time.perf_counter()
        for i in range(tree.num_tokens):
            raw.step([50 + i % 100] * tree.num_branches, tree.num_prefix + i, list(range(tree.num_branches)))
        return tree.num_branches * tree.num_tokens / (time.perf_counter() - start)
    finally:
        llama.llama_free(context)
        model.release()


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--branches", type=whole_numbers, default=[64])
    options.add_argument("--tokens", type=whole_numbers, default=[256])
    options.add_argument("--prefix", type=int, default=128)
    options.add_argument("--rows", type=whole_numbers, default=[8, 16, 32, 48, 63])
    options.add_argument("--no-split", action="store_true")
    chosen = options.parse_args()
    if chosen.quick:
        chosen.branches, chosen.tokens, chosen.rows, chosen.repeats = [16], [16], [8, 16], 1
    rows: list[dict[str, Any]] = []
    base = EngineConfig(threads=chosen.threads, gpu_layers=chosen.gpu_layers)
    with Model(chosen.model, base) as model:
        for num_branches in chosen.branches:
            for num_tokens in chosen.tokens:
                tree = Tree(num_branches, num_tokens, chosen.prefix)
                config = dataclasses.replace(base, ctx_size=chosen.prefix + num_tokens + 2, num_cells=tree.num_cells)
                with Engine(model, config) as engine:
                    threads = engine.plan.threads
                measures = {"engine": lambda c=config, t=tree: unified_rate(model, c, t, 1)}
                for fixed in chosen.rows:
                    held = dataclasses.replace(config, max_rows=fixed, tunes_rows=False)
                    measures[f"rows={fixed}"] = lambda c=held, t=tree: unified_rate(model, c, t, 1)
                if not chosen.no_split:
                    measures["split"] = lambda t=tree, n=threads: split_rate(model, n, t)
                rates = {name: median(values) for name, values in interleaved(chosen.repeats, measures).items()}
                best = max(rate for name, rate in rates.items() if name.startswith("rows="))
                rows.append(
                    {"branches": num_branches, "tokens": num_tokens, **rates, "engine_to_best": rates["engine"] / best}
                )
    used = settings(
        chosen.model, threads=threads, gpu_layers=chosen.gpu_layers, prefix=chosen.prefix, repeats=chosen.repeats
    )
    report("layout (tokens per second)", used, rows, chosen.json)


if __name__ == "__main__":
    main()
