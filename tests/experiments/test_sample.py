"""What SDF draws below a node is a sample of the proposer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from arts_lite.engine import Engine
from arts_lite.search import SearchLoop, SearchRequest, StrategySettings, make_scorer, make_strategy
from arts_lite.search.events import QuestionFinished
from arts_lite.types import SamplingParams, StepRules

LETTERS = {ord(char) for char in "ab\n"}
PROMPT = list(b"q")


def test_forks_below_a_node_draw_as_main_traces_do(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(ctx_size=64, num_cells=4096)
    num_tokens = engine.model.vocab.num_tokens
    sampling = SamplingParams(
        temperature=3.0,  # the random model is sure of itself
        top_p=1.0,
        banned_tokens=tuple(token for token in range(num_tokens) if token not in LETTERS),
        logit_bias={ord("\n"): -1.0},
    )
    drawn: dict[tuple[bool, bytes], Counter[bytes]] = {}
    requests = (
        SearchRequest(
            number,
            PROMPT,
            make_strategy("sdf", StrategySettings(n=40, fork_prob=1.0)),
            make_scorer("logprob"),
            extract=lambda text: text,
            same=str.__eq__,
            sampling=sampling,
            rules=StepRules(delimiters=("\n",)),
            seed=number,
            max_tokens=6,
        )
        for number in range(60)
    )
    for event in SearchLoop(engine, num_rows=16).run(requests):
        if isinstance(event, QuestionFinished):
            for branch in event.result.tree.branches:
                generated = bytes(branch.tokens.tolist())
                begin = 0 if branch.parent is None else branch.start - len(PROMPT)
                for prefix in (b"a\n", b"b\n"):
                    if generated.startswith(prefix) and (branch.parent is None or begin == len(prefix)):
                        row = drawn.setdefault((branch.parent is None, prefix), Counter())
                        row[generated[len(prefix) : len(prefix) + 2]] += 1
    for prefix in (b"a\n", b"b\n"):
        main, forked = drawn[True, prefix], drawn[False, prefix]
        assert min(main.total(), forked.total()) > 200
        assert chi_square(main, forked) < 30  # 8 degrees of freedom: exceeded by chance once in 5,000


def chi_square(a: Counter[bytes], b: Counter[bytes]) -> float:
    """Pearson's statistic of two samples over their common outcomes."""
    total = 0.0
    for outcome in a.keys() | b.keys():
        both = a[outcome] + b[outcome]
        for sample in (a, b):
            expected = both * sample.total() / (a.total() + b.total())
            total += (sample[outcome] - expected) ** 2 / expected
    return total
