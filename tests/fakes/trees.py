"""Hypothesis strategies for traces."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from arts_lite.tree import Origin, Trace, TraceEnd

TEXT = st.text(max_size=6)
SCORES = st.none() | st.floats(-1e6, 1e6)
ENDS = st.builds(
    TraceEnd,
    state=st.sampled_from(["ended", "cut", "pruned"]),
    reason=st.none() | st.sampled_from(["end_of_text", "max_tokens"]),
    why=TEXT,
    answer=st.none() | TEXT,
    correct=st.none() | st.booleans(),
    reward=st.none() | st.floats(0.1, 10),
    score=SCORES,
)
ORIGINS = st.builds(
    Origin,
    question=TEXT,
    problem=st.none() | st.dictionaries(TEXT, SCORES, max_size=2),
    num_prompt_tokens=st.integers(0, 1000),
    seed=st.integers(0, 2**63 - 1),
    rewards=st.none() | st.just({"correct": 10.0, "wrong": 0.1}),
    stopped_by=st.none() | st.just("complete"),
    answer=st.none() | TEXT,
)


def step_log_pf(tokens: tuple[int, ...]) -> float:
    """A log-prob that is a function of the prefix, as a model's is."""
    return -sum((place + 1) * (token + 0.5) for place, token in enumerate(tokens)) / 7


def step_log_flow(tokens: tuple[int, ...]) -> float:
    """A log-flow that is a function of the prefix; of some it is not known."""
    return float("nan") if sum(tokens) % 3 == 1 else len(tokens) - sum(tokens) / 3


@st.composite
def trace_lists(draw: st.DrawFn, max_traces: int = 6) -> list[Trace]:
    """Main traces and forks over few tokens, so that prefixes coincide; steps end after every token 0."""
    traces: list[Trace] = []
    for index in range(draw(st.integers(0, max_traces))):
        parent = draw(st.none() | st.integers(0, index - 1)) if index else None
        shared = 0 if parent is None else draw(st.integers(0, len(traces[parent].tokens)))
        prefix = [] if parent is None else traces[parent].tokens[:shared].tolist()
        tokens = (*prefix, *draw(st.lists(st.integers(0, 2), max_size=6)))
        cuts = [place + 1 for place, token in enumerate(tokens) if token == 0]
        step_ends = tuple(cuts if not tokens or tokens[-1] == 0 else [*cuts, len(tokens)])
        starts = (0, *step_ends)[: len(step_ends)]
        log_pf = np.array([step_log_pf(tokens[:end]) for end in step_ends], np.float64)
        texts = tuple(str(tokens[start:end]) for start, end in zip(starts, step_ends, strict=True))
        end = draw(ENDS)
        flow = np.array([step_log_flow(tokens[:end]) for end in step_ends], np.float64)
        traces.append(
            Trace(np.array(tokens, np.int32), step_ends, texts, log_pf, log_pf * 2, parent, shared, end, flow)
        )
    return traces


def small_trace(**end: object) -> Trace:
    """Two steps of two tokens."""
    log_pf = np.array([-1.0, -2.0])
    ending = TraceEnd(**end)  # type: ignore[arg-type]
    return Trace(np.array([1, 0, 2, 0], np.int32), (2, 4), ("one\n\n", "two"), log_pf, log_pf / 2, end=ending)
