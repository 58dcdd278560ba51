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
PREFIXES = (b"a\n", b"b\n")
NUM_BELOW = 2  # tokens between those prefixes and a leaf
RULES = StepRules(delimiters=("\n",))


def sampling_of(engine: Engine) -> SamplingParams:
    return SamplingParams(
        temperature=3.0,  # the random model is sure of itself
        top_p=1.0,
        banned_tokens=tuple(token for token in range(engine.model.vocab.num_tokens) if token not in LETTERS),
        logit_bias={ord("\n"): -1.0},
    )


def test_the_leaves_below_a_node_are_drawn_as_the_proposer_draws_them(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(ctx_size=64, num_cells=4096, reproducible=True)  # lest chance strikes once in a thousand runs
    main, forked = drawn_by_sdf(engine)
    for prefix in PREFIXES:
        direct = drawn_directly(engine, prefix, 1500)
        assert min(main[prefix].total(), forked[prefix].total()) > 200
        assert len(direct) == 9
        for sample in (main[prefix], forked[prefix]):
            assert chi_square(sample, direct) < 30  # 8 degrees of freedom: exceeded by chance once in 5,000


def drawn_by_sdf(engine: Engine) -> tuple[dict[bytes, Counter[bytes]], dict[bytes, Counter[bytes]]]:
    """What stands between the prefixes and the leaves, of main traces and of forks that begin there."""
    main, forked = ({prefix: Counter[bytes]() for prefix in PREFIXES} for _ in range(2))
    requests = (
        SearchRequest(
            number,
            PROMPT,
            make_strategy("sdf", StrategySettings(n=40, fork_prob=1.0)),
            make_scorer("logprob"),
            extract=lambda text: text,
            same=str.__eq__,
            sampling=sampling_of(engine),
            rules=RULES,
            seed=number,
            max_tokens=len(PREFIXES[0]) + NUM_BELOW,
        )
        for number in range(80)
    )
    for event in SearchLoop(engine, num_rows=16).run(requests):
        if isinstance(event, QuestionFinished):
            for branch in event.result.tree.branches:
                generated = bytes(branch.tokens.tolist())
                prefix, below = generated[: len(PREFIXES[0])], generated[len(PREFIXES[0]) :]
                if prefix in PREFIXES and branch.parent is None:
                    main[prefix][below] += 1
                elif prefix in PREFIXES and branch.start == len(PROMPT) + len(prefix):
                    forked[prefix][below] += 1
    return main, forked


def drawn_directly(engine: Engine, prefix: bytes, count: int) -> Counter[bytes]:
    """What the proposer writes after the prefix, without any search."""
    found: Counter[bytes] = Counter()
    prompt = [*PROMPT, *prefix]
    sampling = sampling_of(engine)
    branches = [
        engine.open(prompt, sampling=sampling, rules=RULES, seed=10**6, stream=stream, max_tokens=NUM_BELOW)
        for stream in range(count)
    ]
    for branch in branches:
        engine.run(branch)
    while engine.advance():
        pass
    for branch in branches:
        found[bytes(engine.tokens(branch)[len(prompt) :].tolist())] += 1
        engine.close(branch)
    return found


def chi_square(a: Counter[bytes], b: Counter[bytes]) -> float:
    """Pearson's statistic of two samples over their common outcomes."""
    total = 0.0
    for outcome in a.keys() | b.keys():
        both = a[outcome] + b[outcome]
        for sample in (a, b):
            expected = both * sample.total() / (a.total() + b.total())
            total += (sample[outcome] - expected) ** 2 / expected
    return total


def test_tokens_decoded_are_those_of_the_tree_s_distinct_prefixes(make_engine: Callable[..., Engine]) -> None:
    """Each prefix once, whoever shares it, and mostly once if it is drawn again later: the likeliest draws are kept.

    Where a later draw was not kept, a token is decoded again and the path below is another one. In a cache with room
    for all that is rare; what a small one decodes again is counted apart, too.
    """
    num_exact = 0
    for num_cells in (4096, 256):
        engine = make_engine(ctx_size=256, num_cells=num_cells, reproducible=True)
        for seed in range(12):
            before = engine.stats()
            distinct, num_repeated = decoded_prefixes(engine, seed)
            after = engine.stats()
            num_decoded = after.num_tokens_decoded - before.num_tokens_decoded
            assert len(distinct) <= num_decoded <= len(distinct) + num_repeated
            num_exact += num_repeated == 0
        assert (engine.stats().num_tokens_redecoded > 20) == (num_cells == 256)
    assert num_exact >= 4


def decoded_prefixes(engine: Engine, seed: int) -> tuple[set[tuple[int, ...]], int]:
    """Search once: what had to be decoded for its tokens, and how many tokens of forks others held too."""
    request = SearchRequest(
        0,
        PROMPT,
        make_strategy("sdf", StrategySettings(n=6, fork_prob=0.5)),
        make_scorer("logprob"),
        extract=lambda text: text,
        same=str.__eq__,
        sampling=SamplingParams(temperature=1.0, top_p=1.0),
        rules=StepRules(delimiters=("e", "\n")),
        seed=seed,
        max_tokens=40,
    )
    (result,) = (event.result for event in SearchLoop(engine).run([request]) if isinstance(event, QuestionFinished))
    distinct: set[tuple[int, ...]] = set()
    num_repeated = 0
    for branch in result.tree.branches:
        tokens = tuple(branch.tokens.tolist())
        begin = 0 if branch.parent is None else branch.start - len(PROMPT) + 1  # at a fork the candidates are known
        own = {tokens[:length] for length in range(begin, len(tokens))}  # nothing is drawn after the last token
        num_repeated += 0 if branch.parent is None else len(own & distinct)
        distinct |= own
    return distinct, num_repeated
