"""Search requests on the fake engine, and what came of them."""

from __future__ import annotations

from collections.abc import Iterable

from fakes.engine import FakeEngine

from arts_lite.search import (
    Budget,
    Scorer,
    SearchLoop,
    SearchRequest,
    SearchResult,
    StrategySettings,
    make_scorer,
    make_strategy,
)
from arts_lite.search.events import QuestionFinished, SearchEvent
from arts_lite.search.strategy import Strategy
from arts_lite.types import SamplingParams, StepRules

PROMPT = b"q: "


def last_line(text: str) -> str | None:
    """The answer of the fakes' texts: what stands behind the last `=`."""
    return text.rpartition("=")[2] if "=" in text else None


def request(
    strategy: str | Strategy = "vote",
    *,
    question: int = 0,
    prompt: bytes = PROMPT,
    seed: int = 0,
    max_tokens: int = 200,
    budget: Budget | None = None,
    scorer: str | Scorer = "logprob",
    rules: StepRules | None = None,
    **settings: object,
) -> SearchRequest:
    if isinstance(strategy, str):
        strategy = make_strategy(strategy, StrategySettings(**settings))  # type: ignore[arg-type]
    return SearchRequest(
        question,
        list(prompt),
        strategy,
        make_scorer(scorer) if isinstance(scorer, str) else scorer,
        extract=last_line,
        same=lambda a, b: a.strip() == b.strip(),
        sampling=SamplingParams(temperature=1.0, top_p=1.0),
        rules=rules or StepRules(),
        seed=seed,
        max_tokens=max_tokens,
        budget=budget or Budget(),
    )


def events_of(engine: FakeEngine, requests: Iterable[SearchRequest], **options: object) -> list[SearchEvent]:
    loop = SearchLoop(engine, num_rows=engine.max_rows, clock=engine.clock, **options)  # type: ignore[arg-type]
    return list(loop.run(requests))


def results(engine: FakeEngine, requests: Iterable[SearchRequest], **options: object) -> dict[int, SearchResult]:
    """Results by question; checks that nothing stays open in the engine."""
    finished = [event for event in events_of(engine, requests, **options) if isinstance(event, QuestionFinished)]
    assert not engine.branches
    return {event.question: event.result for event in finished}


def search(engine: FakeEngine, strategy: str | Strategy = "vote", **options: object) -> SearchResult:
    """The result of one question."""
    return results(engine, [request(strategy, **options)])[0]  # type: ignore[arg-type]
