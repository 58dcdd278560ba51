"""Trees worth a picture."""

from __future__ import annotations

from zlib import crc32

import numpy as np

from arts_lite.tree import Origin, Trace, TraceEnd, Tree, tree_of

RIGHT = TraceEnd(answer="42", correct=True, reward=10.0, score=2.0, reason="end_of_text")
WRONG = TraceEnd(answer="7", correct=False, reward=0.1, score=-1.0, reason="end_of_text")
PRUNED = TraceEnd("pruned", "pruned", "its flow fell below 0.05")
PARKED = TraceEnd("cut", "budget_tokens", "parked")
CUT = TraceEnd("cut", "budget_tokens", answer="4")


def trace(
    texts: list[str], end: TraceEnd, *, parent: int | None = None, num_shared: int = 0, log_flow: float | None = None
) -> Trace:
    """A trace with one token per step, a check sum of its text; forks share their first steps."""
    tokens = np.array([crc32(text.encode()) >> 1 for text in texts], np.int32)
    steps = tuple(range(1, len(texts) + 1))
    log_pf = -np.arange(1.0, len(texts) + 1) / 4
    flow = None if log_flow is None else log_flow + np.arange(len(texts)) / 10
    return Trace(tokens, steps, tuple(texts), log_pf, log_pf * 0.8, parent, num_shared, end, flow)


def family(question: str = "What is 6 times 7?", **origin: object) -> Tree:
    """Six traces of every kind: 0 right, 1 a wrong fork, 2 pruned, 3 parked, 4 cut, 5 right without a value."""
    traces = [
        trace(["start", "add", "right"], RIGHT, log_flow=1.0),
        trace(["start", "subtract", "wrong"], WRONG, parent=0, num_shared=1, log_flow=0.5),
        trace(["guess", "and prune"], PRUNED, log_flow=-2.0),
        trace(["guess", "and park"], PARKED, parent=2, num_shared=1, log_flow=-1.0),
        trace(["rush"], CUT, log_flow=0.0),
        trace(["ponder", "right"], RIGHT),
    ]
    told: dict[str, object] = {"answer": "42", "problem": {"id": "p1", "answer": "42"}, "stopped_by": "budget_tokens"}
    return tree_of(traces, Origin(question, **{**told, **origin}))  # type: ignore[arg-type]


def broad(num_main: int, num_forks: int, num_steps: int) -> Tree:
    """A tree of num_main * (num_steps + num_forks * (num_steps - 1)) nodes, and the root."""
    traces = []
    for main in range(num_main):
        texts = [f"trace {main}, step {step}" for step in range(num_steps)]
        traces.append(_numbered(texts, None, main))
        parent = len(traces) - 1
        for fork in range(num_forks):
            forked = [texts[0], *(f"{text}, fork {fork}" for text in texts[1:])]
            traces.append(_numbered(forked, parent, main))
    return tree_of(traces, Origin("a question about many things", answer="42"))


def _numbered(texts: list[str], parent: int | None, seed: int) -> Trace:
    rng = np.random.default_rng([seed, len(texts), sum(map(len, texts))])
    tokens = np.array([crc32(text.encode()) >> 1 for text in texts], np.int32)
    flow = rng.normal(size=len(texts)).cumsum()
    end = RIGHT if flow[-1] > 0 else WRONG
    log_pf = -rng.gamma(2, 1, len(texts))
    shared = 0 if parent is None else 1
    return Trace(tokens, tuple(range(1, len(texts) + 1)), tuple(texts), log_pf, log_pf, parent, shared, end, flow)
