"""The extinction probe against brute force."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes.policies import random_transformer

from arts_lite.errors import TrainingError
from arts_lite.tasks.arithmetic import arithmetic_problem, arithmetic_trace
from arts_lite.train.byte_vocab import EOS, PAD
from arts_lite.train.extinction import (
    BankTrace,
    ExtinctionProbe,
    bank_of,
    bins_of,
    bootstrap_interval,
    check_same_model,
    trace_log_probs,
)
from arts_lite.tree import Origin, Trace, TraceEnd, Tree, tree_of

PROBLEM = arithmetic_problem("12*13+4*(2+3)")
LEFT, INNER, PARTIAL = (arithmetic_trace(PROBLEM, style) for style in ("left", "inner", "partial"))


def trace(text: str, log_prob: float, *, correct: bool | None = True, state: str = "ended") -> Trace:
    """Of two steps, ending with the end token."""
    tokens = [*text.encode(), EOS]
    values = np.array([log_prob / 4, 3 * log_prob / 4])
    return Trace(
        np.array(tokens, np.int32),
        (2, len(tokens)),
        (text[:2], text[2:]),
        values,
        values,
        end=TraceEnd(state=state, correct=correct),
    )


def tree(*traces: Trace, name: str = "p", task: str = "countdown", question: str = "q\n") -> Tree:
    problem = {**PROBLEM.to_dict(), "id": name, "task": task}
    return tree_of(traces, Origin(question, problem=problem, num_prompt_tokens=len(question)))


def bank(*trees: Tree, max_traces: int = 100) -> list[BankTrace]:
    return bank_of(trees, lambda question: list(question.encode()), max_traces=max_traces)


def test_the_bank_holds_distinct_complete_traces_with_their_prompt_and_their_trees_log_prob() -> None:
    traces = (trace("aab", -1), trace("aac", -2), trace("aab", -1), trace("aad", -9, correct=False))
    unusable = (trace("xxx", -1, state="cut"), trace("yyy", -1, correct=None))
    found = bank(tree(*traces, *unusable))
    assert [(bytes(one.tokens[:-1]), one.is_correct, one.log_prob) for one in found] == [
        (b"aab", True, -1.0),
        (b"aac", True, pytest.approx(-0.25 - 1.5)),  # the shared first step keeps the log-prob of its first draw
        (b"aad", False, pytest.approx(-0.25 - 6.75)),
    ]
    assert {(one.problem, one.prompt, one.tokens[-1]) for one in found} == {("p", tuple(b"q\n"), EOS)}


def test_a_problem_gives_as_many_wrong_traces_as_correct_ones_and_none_without_two_correct_ones() -> None:
    wrong = [trace(f"w{n}", -1, correct=False) for n in range(5)]
    found = bank(tree(trace("aa", -1), trace("bb", -1), *wrong), tree(trace("cc", -1), *wrong, name="single"))
    assert [bytes(one.tokens[:-1]) for one in found] == [b"aa", b"bb", b"w0", b"w1"]


def test_problems_are_taken_whole_up_to_the_limit() -> None:
    pair = (trace("aa", -1), trace("bb", -1))
    triple = (*pair, trace("cc", -1))
    found = bank(tree(*pair, name="1"), tree(*triple, name="2"), tree(*pair, name="3"), max_traces=4)
    assert [one.problem for one in found] == ["1", "1", "3", "3"]


def test_arithmetic_traces_are_told_apart_by_style() -> None:
    mixed = "2+3=5; 12*13+4*5\n12*13=(12*10+12*3); (12*10+12*3)+4*5\n"  # innermost first, then split
    mixed += "12*10=120; (120+12*3)+4*5\n12*3=36; (120+36)+4*5\n120+36=156; 156+4*5\n4*5=20; 156+20\n156+20=176"
    texts = [LEFT, INNER, PARTIAL, mixed]
    found = bank(tree(*[trace(text + "\n", -1) for text in texts], task="arithmetic"))
    assert len(set(texts)) == 4
    assert [one.style for one in found] == ["left", "inner", "partial", "mixed"]


@pytest.mark.parametrize(
    ("trees", "message"),
    [
        ([], "no problem of the bank's trees has two different correct traces"),
        ([tree(trace("aa", -1), trace("aa", -1))], "no problem of the bank's trees"),
    ],
)
def test_trees_without_a_choice_of_correct_traces_are_refused(trees: list[Tree], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        bank(*trees)


def test_a_prompt_of_another_length_than_the_trees_is_refused() -> None:
    with pytest.raises(TrainingError, match="has 3 tokens here, but 2 in the tree"):
        bank_of([tree(trace("aa", -1), trace("bb", -1))], lambda _: [1, 2, 3])


def test_bins_are_shares_of_probability_among_a_problems_correct_traces() -> None:
    rng = np.random.default_rng(0)
    problems = [f"p{n}" for n in rng.integers(5, size=200)]
    correct = [bool(value) for value in rng.random(200) < 0.7]
    log_probs = rng.normal(-20, 3, 200)
    expected = []
    for place, problem in enumerate(problems):
        same = [n for n in range(200) if problems[n] == problem and correct[n]]
        share = np.exp(log_probs[place]) / sum(np.exp(log_probs[n]) for n in same)
        name = "mode" if share >= 0.3 else "rare" if share >= 0.03 else "endangered"
        expected.append(name if correct[place] else "wrong")
    assert set(expected) == {"mode", "rare", "endangered", "wrong"}
    assert bins_of(problems, correct, log_probs) == expected


def test_bins_do_not_depend_on_how_unlikely_a_whole_problem_is() -> None:
    log_probs = np.log([0.9, 0.09, 0.01])
    problems, correct = ["p"] * 3 + ["q"] * 3, [True] * 6
    bins = bins_of(problems, correct, np.concatenate([log_probs, log_probs - 2000]))
    assert bins == ["mode", "rare", "endangered"] * 2


def test_a_row_is_the_mean_over_problems_of_a_problems_mean_change() -> None:
    traces = [
        BankTrace("p", (1,), (2,), True, "left"),
        BankTrace("p", (1,), (3,), True, "left"),
        BankTrace("q", (1,), (4,), True, "inner"),
        BankTrace("q", (1,), (5,), False, "left"),
    ]
    base = np.log([0.5, 0.4, 0.7, 0.2])
    probe = ExtinctionProbe.of_base(traces, base)
    now = base + np.log(10) * np.array([1.0, 3.0, -4.0, 0.5])
    rows = {(row["by"], row["name"]): row for row in probe.rows(30, now)}
    assert set(rows) == {("bin", "mode"), ("bin", "wrong"), ("style", "left"), ("style", "inner")}
    mode = rows["bin", "mode"]
    assert (mode["step"], mode["num_traces"], mode["num_problems"]) == (30, 3, 2)
    assert mode["mean_delta_log10_prob"] == pytest.approx((2.0 - 4.0) / 2)
    assert (mode["low"], mode["high"]) == (pytest.approx(-4.0), pytest.approx(2.0))
    assert rows["bin", "wrong"]["mean_delta_log10_prob"] == pytest.approx(0.5)
    assert rows["bin", "wrong"]["low"] is None
    assert rows["style", "left"]["num_traces"] == 2  # styles are of correct traces


def test_the_interval_covers_the_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(300):
        low, high = bootstrap_interval(rng.exponential(1.0, 60))
        assert low is not None
        assert high is not None
        covered += low <= 1.0 <= high
    assert 0.88 < covered / 300 < 0.985


def test_a_bank_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    traces = [BankTrace("p\n\u2028", (1,), (2, 3), True, "left"), BankTrace("p", (1,), (4,), False)]
    probe = ExtinctionProbe.of_base(traces, np.array([-1.5, -2.0]))
    probe.save(tmp_path / "bank.jsonl")
    assert ExtinctionProbe.load(tmp_path / "bank.jsonl").traces == probe.traces


def test_a_damaged_bank_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bank.jsonl"
    for text in ('{"problem": 1', '{"unknown": 1, "prompt": [], "tokens": []}\n', "[]\n"):
        path.write_text(text)
        with pytest.raises(TrainingError, match="is damaged"):
            ExtinctionProbe.load(path)


def test_a_bank_of_another_model_is_refused() -> None:
    own = np.array([-10.0, -20.0])
    check_same_model(own, own + 0.5)
    with pytest.raises(TrainingError, match="they were not sampled from it"):
        check_same_model(own, own - 30)


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="transformers is not installed")
def test_log_probs_are_the_sums_that_the_model_gives_each_trace_alone() -> None:
    from arts_lite.train.policy import causal_lm

    model = random_transformer()
    rng = np.random.default_rng(0)
    traces = [
        BankTrace(
            "p", tuple(rng.integers(256, size=prompt).tolist()), (*rng.integers(256, size=length).tolist(), EOS), True
        )
        for prompt, length in ((1, 0), (3, 40), (20, 5), (7, 7), (2, 90), (11, 1))
    ]
    expected = []
    for one in traces:
        tokens = torch.tensor([[*one.prompt, *one.tokens]])
        with torch.no_grad():
            log_probs = model.logits(model.hidden(tokens))[0].double().log_softmax(-1)
        ends = range(len(one.prompt), tokens.shape[1])
        expected.append(sum(float(log_probs[place - 1, tokens[0, place]]) for place in ends))
    twin = causal_lm(model).train()
    np.testing.assert_allclose(trace_log_probs(twin, traces, pad=PAD), expected, atol=2e-4)
    assert twin.training
    np.testing.assert_allclose(trace_log_probs(twin, traces[::-1], pad=PAD), expected[::-1], atol=2e-4)


def test_the_same_bank_gives_no_change_and_intervals_of_nothing() -> None:
    traces = [BankTrace(problem, (1,), (2, n), True) for problem in "pqr" for n in range(4)]
    base = np.linspace(-9, -1, 12)
    rows = list(ExtinctionProbe.of_base(traces, base).rows(0, base))
    assert rows
    assert all(row["mean_delta_log10_prob"] == row["low"] == row["high"] == 0 for row in rows)
