"""A verifier at work: a mirror of a tree gives the values of reading each trace alone, and decodes no prefix twice."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import numpy as np
import pytest

pytest.importorskip("torch", reason="tiny verifiers are written by the trainer: pip install 'arts-lite[train]'")

from hidden_llama import hidden_states
from tiny_gguf import TinyModel, write_tiny_gguf

from arts_lite.engine import Engine, EngineConfig, KVType
from arts_lite.errors import ContextOverflowError, ModelLoadError, VerifierError
from arts_lite.train.transformer import Shape, Transformer
from arts_lite.train.verifier_file import write_verifier
from arts_lite.verifier import Head, InputRules, VerifierFormat
from arts_lite.verifier.verifier import Verifier

SHAPE = Shape(dim=64, num_layers=2, num_heads=2, num_kv_heads=1, ff_dim=64, max_positions=256)
RULES = InputRules("{question}\n", "\n")
QUESTION = "Use 2, 9 and 4 to make 22."
CTX_SIZE = 160
WORDS = ["2 * 9 = 18; 4", "9 * 2 = 18; 4", "18 + 4 = 22", "18 - 4 = 14", "Answer: 22", "Answer: 14"]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    torch.manual_seed(0)
    weight = np.random.default_rng(0).normal(0, 0.3, SHAPE.dim).astype(np.float32)
    told = VerifierFormat("flow", RULES, Head(weight, 0.5), output="log_flow", scale=1.5, offset=-0.25)
    file = tmp_path_factory.mktemp("verifier") / "v.gguf"
    write_verifier(file, Transformer(SHAPE), told, file_type="F32")
    return file


@pytest.fixture
def verifier(path: Path) -> Iterator[Verifier]:
    config = EngineConfig(
        threads=1, ctx_size=CTX_SIZE, num_cells=1024, kv_type=KVType.F32, tunes_rows=False, flash_attention=False
    )
    with Verifier.from_gguf(path, config) as verifier:
        yield verifier
        assert verifier.engine.stats().num_branches == 0
        verifier.engine.check()


def drawn(seed: int = 0, num_traces: int = 12) -> list[list[str]]:
    """Traces that share prefixes, some ending where others go on, some equal."""
    rng = Random(seed)
    return [[WORDS[rng.randrange(2 + place)] for place in range(rng.randint(1, 4))] for _ in range(num_traces)]


def expected_of(path: Path, traces: Sequence[Sequence[str]]) -> list[np.ndarray]:
    """Each trace decoded alone by llama.cpp."""
    from arts_lite.engine.gguf import read_header
    from arts_lite.verifier import read_verifier

    told = read_verifier(read_header(path))
    found = []
    with hidden_states(path, kv_type="f32") as decode:
        for steps in traces:
            trace = RULES.encode(QUESTION, steps, lambda text: list(text.encode()))
            states, _ = decode(trace.tokens)
            found.append(1.5 * told.head(states[trace.ends[1:]]).astype(np.float64) - 0.25)
    return found


def assert_close(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> None:
    assert [len(one) for one in found] == [len(one) for one in expected]
    np.testing.assert_allclose(np.concatenate(found), np.concatenate(expected), atol=1e-4, rtol=0)


def num_distinct_tokens(traces: Sequence[Sequence[str]]) -> int:
    prefixes = {tuple(steps[:place]) for steps in traces for place in range(1, len(steps) + 1)}
    return len(f"{QUESTION}\n") + sum(len(prefix[-1]) + 1 for prefix in prefixes)


def num_decoded(verifier: Verifier) -> int:
    stats = verifier.engine.stats()
    return stats.num_tokens_decoded + stats.num_tokens_prefilled


@pytest.mark.parametrize("group", [1, 3, 12])
@pytest.mark.parametrize("seed", [0, 1])
def test_any_order_and_grouping_of_calls_gives_the_values_of_each_trace_alone(
    verifier: Verifier, path: Path, group: int, seed: int
) -> None:
    traces = drawn(seed)
    expected = expected_of(path, traces)
    assert np.concatenate(expected).std() > 0.1
    order = list(range(len(traces)))
    Random(seed).shuffle(order)
    with verifier.tree(QUESTION) as tree:
        for start in range(0, len(order), group):
            numbers = order[start : start + group]
            assert_close(tree.log_flows([traces[one] for one in numbers]), [expected[one] for one in numbers])
        assert_close(tree.log_flows(traces), expected)


@pytest.mark.parametrize("group", [1, 12])
def test_every_prefix_is_decoded_once(verifier: Verifier, group: int) -> None:
    traces = drawn()
    at_load = num_decoded(verifier)
    with verifier.tree(QUESTION) as tree:
        for start in range(0, len(traces), group):
            tree.log_flows(traces[start : start + group])
        before = num_decoded(verifier)
        tree.log_flows(traces)
        assert num_decoded(verifier) == before
        assert before - at_load == num_distinct_tokens(traces) == tree.num_tokens


def test_a_longer_trace_costs_its_new_steps_alone(verifier: Verifier) -> None:
    with verifier.tree(QUESTION) as tree:
        tree.log_flows([["18 + 4 = 22"]])
        before = num_decoded(verifier)
        tree.log_flows([["18 + 4 = 22", "Answer: 22"]])
        assert num_decoded(verifier) == before + len("Answer: 22\n")


def test_what_lies_beyond_the_context_repeats_the_last_value(verifier: Verifier, path: Path) -> None:
    short = ["18 + 4 = 22"]
    huge = "9" * CTX_SIZE
    for traces in (
        [[*short, huge, *short]],
        [short, [*short, *short], [*short, huge, *short]],
        [[*short, huge, *short]],
    ):
        found = verifier.log_flows(QUESTION, traces)[-1]
        [expected] = expected_of(path, [short])
        np.testing.assert_allclose(found, [expected[0]] * 3, atol=1e-4)


def test_a_trace_whose_first_step_does_not_fit_has_the_questions_value(verifier: Verifier) -> None:
    with verifier.tree(QUESTION) as tree:
        tree.log_flows([["a"]])
        assert tree._root is not None
        [found] = tree.log_flows([["9" * CTX_SIZE, "a"]])
        assert np.isfinite(found).all()
        np.testing.assert_array_equal(found, verifier.format.log_flow([tree._root.value] * 2))


def test_a_question_longer_than_the_context_is_told(verifier: Verifier) -> None:
    with pytest.raises(ContextOverflowError, match=f"its context holds {CTX_SIZE}, and a step must follow"):
        verifier.tree("7" * CTX_SIZE)


def test_no_trace_and_a_trace_without_steps_have_no_values(verifier: Verifier) -> None:
    assert verifier.log_flows(QUESTION, []) == []
    [found] = verifier.log_flows(QUESTION, [[]])
    assert found.shape == (0,)


def test_visible_delimiters_are_cut_off(verifier: Verifier) -> None:
    with_delimiter = verifier.log_flows(QUESTION, [["18 + 4 = 22 ###", "Answer: 22"]], ("###",))
    assert_close(with_delimiter, verifier.log_flows(QUESTION, [["18 + 4 = 22", "Answer: 22"]]))


def test_closing_a_tree_frees_its_cells(verifier: Verifier) -> None:
    tree = verifier.tree(QUESTION)
    tree.log_flows(drawn())
    assert verifier.engine.stats().num_branches > 0
    assert verifier.engine.stats().num_cells_used > 0
    tree.close()
    tree.close()
    assert verifier.engine.stats().num_branches == 0
    assert verifier.engine.stats().num_cells_used == 0


def test_two_trees_do_not_disturb_each_other(verifier: Verifier, path: Path) -> None:
    traces = drawn(3, 6)
    expected = expected_of(path, traces)
    with verifier.tree(QUESTION) as one, verifier.tree("Use 1 and 1 to make 2.") as other:
        for steps, values in zip(traces, expected, strict=True):
            other.log_flows([steps])
            assert_close(one.log_flows([steps]), [values])


def test_a_call_that_fails_leaves_no_hole(verifier: Verifier, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    traces = drawn(4, 4)
    tokenise = verifier.tokenise

    def refusing(text: str) -> list[int]:
        if "broken" in text:
            raise ValueError("broken")
        return tokenise(text)

    monkeypatch.setattr(verifier, "tokenise", refusing)
    with verifier.tree(QUESTION) as tree:
        with pytest.raises(ValueError, match="broken"):
            tree.log_flows([*traces, ["broken"]])
        assert_close(tree.log_flows(traces), expected_of(path, traces))


def test_more_traces_than_the_cache_holds_are_read_all_the_same(path: Path) -> None:
    traces = [[f"{number} + {number} = {2 * number}" * 3, f"Answer: {number}"] for number in range(40)]
    config = EngineConfig(
        threads=1, ctx_size=CTX_SIZE, num_cells=512, kv_type=KVType.F32, tunes_rows=False, flash_attention=False
    )
    with Verifier.from_gguf(path, config) as verifier:
        assert_close(verifier.log_flows(QUESTION, traces), expected_of(path, traces))
        verifier.engine.check()


def test_a_proposer_is_no_verifier(tmp_path: Path) -> None:
    write_tiny_gguf(tmp_path / "proposer.gguf", TinyModel())
    with pytest.raises(VerifierError, match=r"is no verifier: it has no arts\.verifier\.\* keys"):
        Verifier.from_gguf(tmp_path / "proposer.gguf", EngineConfig(threads=1, ctx_size=64))


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"none\.gguf"):
        Verifier.from_gguf(tmp_path / "none.gguf")


def test_the_slot_is_read_where_it_agrees_with_the_head(verifier: Verifier, path: Path) -> None:
    assert verifier.reads_slot
    assert verifier.format.slot is not None
    exact = dataclasses.replace(verifier.format, slot=None)
    with Verifier(Engine.from_gguf(path, verifier.engine.config), exact) as other:
        assert not other.reads_slot
        traces = drawn(7, 4)
        assert_close(verifier.log_flows(QUESTION, traces), other.log_flows(QUESTION, traces))


def test_a_slot_that_differs_is_not_read(verifier: Verifier, path: Path) -> None:
    head = Head(verifier.format.head.weight[::-1].copy(), 0.5)
    with Verifier(
        Engine.from_gguf(path, verifier.engine.config), dataclasses.replace(verifier.format, head=head)
    ) as other:
        assert not other.reads_slot
        [values] = other.log_flows(QUESTION, [["18 + 4 = 22"]])
        trace = RULES.encode(QUESTION, ["18 + 4 = 22"], other.tokenise)
    with hidden_states(path, kv_type="f32") as decode:
        states, _ = decode(trace.tokens)
    np.testing.assert_allclose(values, 1.5 * head(states[trace.ends[1:]]) - 0.25, atol=1e-4)


def test_a_context_too_short_for_the_comparison_takes_the_exact_head(path: Path) -> None:
    with Verifier.from_gguf(path, EngineConfig(threads=1, ctx_size=40, num_cells=256)) as short:
        assert not short.reads_slot
        assert len(short.log_flows("1?", [["1"]])[0]) == 1
