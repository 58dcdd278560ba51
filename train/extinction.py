"""The extinction probe: what tuning does to correct traces that the base model wrote (figure 1b of arXiv 2602.12846).

A bank of base-sampled traces is fixed before the tuning begins. Each problem's correct traces are binned by their share
of the probability that the base gives to all of them:

    share(i) = P_base(i) / sum of P_base(j) over the problem's distinct correct traces in the bank

mode: share >= 0.3; rare: 0.03 <= share < 0.3; endangered: share < 0.03. Shares are taken within a problem, since
absolute log-likelihoods say more about a trace's length and a problem's difficulty. The thresholds are the geometric
means between the rates 0.9, 0.09 and 0.01 of the arithmetic styles, rounded. Correct traces that nobody sampled count
for nothing, so a share is an upper bound of the true one. Wrong traces of the same problems are the control.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from arts_lite.errors import TrainingError
from arts_lite.tasks import Problem
from arts_lite.tasks.arithmetic import check_arithmetic
from arts_lite.train.rundir import write_atomically
from arts_lite.tree import Tree

BINS = ("mode", "rare", "endangered")
WRONG = "wrong"
"""The control's bin."""
MODE_SHARE, RARE_SHARE = 0.3, 0.03
_NUM_RESAMPLES = 2000
_MAX_LOGITS = 64_000_000  # of one batch; float32


@dataclass(frozen=True, slots=True)
class BankTrace:
    """One trace of the bank.

    Attributes:
        problem: its id.
        prompt, tokens: of the question, and of what was written (its end token included).
        is_correct: by the task's grader.
        style: of an arithmetic trace: a style's name or "mixed"; else "".
        log_prob: natural log of the trace's probability under the base.
        bin: "mode", "rare", "endangered" or "wrong".
    """

    problem: str
    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    is_correct: bool
    style: str = ""
    log_prob: float = 0.0
    bin: str = ""


def bank_of(
    trees: Iterable[Tree], encode: Callable[[str], Sequence[int]], *, max_traces: int = 2000
) -> list[BankTrace]:
    """Collect distinct complete traces of problems that have at least two distinct correct ones.

    Of a problem's wrong traces as many are taken as it has correct ones, in the order in which they were drawn.

    Args:
        encode: turns the question that a tree keeps into prompt tokens.
        max_traces: problems are taken while their traces fit.

    Raises:
        TrainingError: a prompt has another length than the tree's own, or no problem is left.
    """
    bank: list[BankTrace] = []
    for tree in trees:
        correct, wrong = _graded_leaves(tree)
        taken = [*correct, *wrong[: len(correct)]]
        if len(correct) < 2 or len(bank) + len(taken) > max_traces:
            continue
        prompt = tuple(encode(tree.origin.question))
        if len(prompt) != tree.origin.num_prompt_tokens:
            raise TrainingError(
                f"the prompt of {tree.origin.question[:60]!r} has {len(prompt)} tokens here, but "
                f"{tree.origin.num_prompt_tokens} in the tree; grow the bank's trees with the same model and prompts"
            )
        bank += [_bank_trace(tree, node, prompt, node in correct) for node in taken]
    if not bank:
        raise TrainingError(
            "no problem of the bank's trees has two different correct traces; grow trees of easier or more problems"
        )
    return bank


def bins_of(
    problems: Sequence[str],
    is_correct: Sequence[bool],
    log_probs: NDArray[np.float64],
    *,
    mode_share: float = MODE_SHARE,
    rare_share: float = RARE_SHARE,
) -> list[str]:
    """Name each trace's bin, see above; all arguments are [num_traces]."""
    log_totals: dict[str, float] = defaultdict(lambda: -np.inf)
    for problem, correct, log_prob in zip(problems, is_correct, log_probs, strict=True):
        if correct:
            log_totals[problem] = float(np.logaddexp(log_totals[problem], log_prob))
    bins = []
    for problem, correct, log_prob in zip(problems, is_correct, log_probs, strict=True):
        share = np.exp(log_prob - log_totals[problem]) if correct else 0.0
        named = "mode" if share >= mode_share else "rare" if share >= rare_share else "endangered"
        bins.append(named if correct else WRONG)
    return bins


class ExtinctionProbe:
    """A bank whose base log-probs are known; turns those of a tuned model into rows of the figure."""

    def __init__(self, traces: Sequence[BankTrace]) -> None:
        self.traces = tuple(traces)
        self._base = np.array([trace.log_prob for trace in traces], np.float64)
        self._groups: dict[tuple[str, str], list[int]] = defaultdict(list)
        for place, trace in enumerate(traces):
            self._groups["bin", trace.bin].append(place)
            if trace.is_correct and trace.style:
                self._groups["style", trace.style].append(place)

    @classmethod
    def of_base(cls, bank: Sequence[BankTrace], log_probs: NDArray[np.float64]) -> ExtinctionProbe:
        """Fix a bank with its log-probs under the base, float64[num_traces]."""
        bins = bins_of([one.problem for one in bank], [one.is_correct for one in bank], log_probs)
        known = zip(bank, log_probs, bins, strict=True)
        return cls([BankTrace(**{**asdict(one), "log_prob": float(value), "bin": name}) for one, value, name in known])

    def rows(self, step: int, log_probs: NDArray[np.float64]) -> Iterator[dict[str, Any]]:
        """Yield one JSON-ready row per bin and per style.

        `mean_delta_log10_prob` is the mean over problems of the mean over a problem's traces of log10 P_now - log10
        P_base; `low` and `high` bound it with 95 % (percentile bootstrap over problems; None for a single problem).
        """
        deltas = (log_probs - self._base) / np.log(10)
        for (kind, name), places in sorted(self._groups.items()):
            by_problem: dict[str, list[float]] = defaultdict(list)
            for place in places:
                by_problem[self.traces[place].problem].append(float(deltas[place]))
            means = np.array([np.mean(values) for values in by_problem.values()])
            low, high = bootstrap_interval(means)
            yield {
                "step": step,
                "by": kind,
                "name": name,
                "mean_delta_log10_prob": float(means.mean()),
                "low": low,
                "high": high,
                "num_traces": len(places),
                "num_problems": len(means),
            }

    def save(self, path: Path) -> None:
        """Write the bank as JSON lines, whole or not at all."""
        write_atomically(path, "".join(json.dumps(asdict(trace)) + "\n" for trace in self.traces))

    @classmethod
    def load(cls, path: Path) -> ExtinctionProbe:
        """Read a bank back. Raises TrainingError: it is damaged."""
        try:
            lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            for line in lines:
                line["prompt"], line["tokens"] = tuple(line["prompt"]), tuple(line["tokens"])
            return cls([BankTrace(**line) for line in lines])
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise TrainingError(f"the bank {path} is damaged ({error}); start the run in another folder") from error


@torch.no_grad()
def trace_log_probs(model: Any, traces: Sequence[BankTrace], *, pad: int) -> NDArray[np.float64]:
    """Sum the teacher-forced log-probs of each trace's own tokens, temperature 1: float64[num_traces].

    Args:
        model: a transformers causal language model; its training mode is as before afterwards.
        pad: token that fills up rows; what it predicts is not read.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    sums = np.zeros(len(traces), np.float64)
    try:
        for places in _batches(traces, model.config.get_text_config().vocab_size):
            rows = [[*traces[place].prompt, *traces[place].tokens] for place in places]
            length = max(map(len, rows))
            tokens = torch.tensor([row + [pad] * (length - len(row)) for row in rows], device=device)
            is_real = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows], device=device)
            logits = model(input_ids=tokens, attention_mask=is_real, use_cache=False).logits[:, :-1].float()
            chosen = logits.log_softmax(-1).gather(-1, tokens[:, 1:, None])[..., 0].double().cpu().numpy()
            for place, row, values in zip(places, rows, chosen, strict=True):
                sums[place] = values[len(traces[place].prompt) - 1 : len(row) - 1].sum()
    finally:
        model.train(was_training)
    return sums


def check_same_model(in_trees: NDArray[np.float64], here: NDArray[np.float64]) -> None:
    """Compare log-probs of the same traces in their trees and under the base; both [num_traces].

    Raises:
        TrainingError: they differ by more than quantisation explains; the trees are of another model.
    """
    gap, size = float(np.abs(here - in_trees).mean()), float(np.abs(in_trees).mean())
    if gap > 1 + 0.2 * size:
        raise TrainingError(
            f"the bank's traces have log-probs of {-size:.1f} on average in their trees, and under this base they "
            f"differ by {gap:.1f}: they were not sampled from it. Grow trees with it by arts-lite sdf"
        )


def bootstrap_interval(values: NDArray[np.float64], *, seed: int = 0) -> tuple[float | None, float | None]:
    """Bound the mean of float64[num] with 95 %, by the percentile bootstrap; (None, None) for fewer than two."""
    if len(values) < 2:
        return None, None
    chosen = np.random.default_rng(seed).integers(len(values), size=(_NUM_RESAMPLES, len(values)))
    low, high = np.quantile(values[chosen].mean(1), (0.025, 0.975))
    return float(low), float(high)


def _graded_leaves(tree: Tree) -> tuple[list[int], list[int]]:
    """Nodes in which correct and wrong complete traces ended, each once, in the order of the draws."""
    nodes = dict.fromkeys(int(node) for node in tree.trace_node)
    correct = [node for node in nodes if tree.correct[node] == 1]
    wrong = [node for node in nodes if tree.correct[node] == 0]
    return correct, wrong


def _bank_trace(tree: Tree, node: int, prompt: tuple[int, ...], is_correct: bool) -> BankTrace:
    path = tree.path(node)[1:]
    tokens = tuple(int(token) for step in path for token in tree.tokens(step))
    told: Mapping[str, Any] = tree.origin.problem or {}
    style = ""
    if told.get("task") == "arithmetic":
        problem = Problem(told["id"], told["question"], told["answer"], told["metadata"])
        style = check_arithmetic(problem, "".join(tree.texts[step] for step in path)).style or "mixed"
    log_prob = float(tree.log_pf_model[path].sum())
    return BankTrace(str(told.get("id", tree.origin.question)), prompt, tokens, is_correct, style, log_prob)


def _batches(traces: Sequence[BankTrace], num_tokens: int) -> Iterator[list[int]]:
    """Places of traces of about equal length, as many as fit into the memory set for logits."""
    lengths = [len(trace.prompt) + len(trace.tokens) for trace in traces]
    batch: list[int] = []
    for place in sorted(range(len(traces)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[place] * num_tokens > _MAX_LOGITS:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch
