"""From the record of a search to the tree that is kept in files and shown in pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arts_lite.search import Branch, SearchResult
from arts_lite.tree import Origin, Trace, TraceEnd, Tree, step_sums, tree_of


def tree_of_search(
    question: str, result: SearchResult, *, settings: Mapping[str, Any], versions: Mapping[str, str]
) -> Tree:
    """Build the tree of all branches, unfinished ones included; identical steps at one node become one node."""
    record = result.tree
    kept_apart = ("proposer", "verifier", "sampling", "rules")
    origin = Origin(
        question,
        num_prompt_tokens=record.num_prompt_tokens,
        model={"name": "", "sha256": None, **settings["proposer"]},
        verifier=None if settings.get("verifier") is None else {"name": "", "sha256": None, **settings["verifier"]},
        sampling=settings["sampling"],
        rules=settings["rules"],
        settings={name: value for name, value in settings.items() if name not in kept_apart},
        seed=record.seed,
        stopped_by=result.stopped_by.value,
        answer=result.decision.answer,
        versions=versions,
    )
    return tree_of([_trace(branch, record.num_prompt_tokens) for branch in record.branches], origin)


def _trace(branch: Branch, num_prompt_tokens: int) -> Trace:
    ends = [step.end - num_prompt_tokens for step in branch.steps]
    texts = [step.text for step in branch.steps]
    num_tokens = len(branch.tokens)
    if num_tokens > (ends[-1] if ends else 0):  # forked in the middle of a step, and never run
        ends.append(num_tokens)
        texts.append(branch.text.removeprefix("".join(texts)))
    end = TraceEnd(
        state=branch.state.value,
        reason=None if branch.reason is None else branch.reason.value,
        why=branch.why,
        answer=branch.answer,
        score=branch.score,
    )
    return Trace(
        branch.tokens,
        tuple(ends),
        tuple(texts),
        step_sums(branch.log_probs, ends),
        step_sums(branch.sampling_log_probs, ends),
        branch.parent,
        0 if branch.parent is None else branch.start - num_prompt_tokens,
        end,
        _log_flow(branch, len(ends)),
    )


def _log_flow(branch: Branch, num_steps: int) -> NDArray[np.float64]:
    """What a step scorer said of each step, nan where it was not asked: float64[num_steps]."""
    values = np.full(num_steps, np.nan)
    known = branch.step_scores[:num_steps]
    values[: len(known)] = known
    return values
