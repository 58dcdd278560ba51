"""Strategies that are guided by step scores, through a solver: with a verifier, a scorer, and without either."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
from fakes.engine import FakeEngine
from fakes.models import lettered
from fakes.proposer import FakeProposer
from fakes.values import KnowingTree, KnowingVerifier, ValueOf, chance_of

from arts_lite.errors import ContextOverflowError, VerifierError
from arts_lite.search import AGGREGATIONS, Branch, Step
from arts_lite.solver import Solver, SolverConfig
from arts_lite.solver.judging import VerifierScorer
from arts_lite.types import StopReason

GUIDED = ("beam", "dvts", "mcts")
LETTERS = {"a": 0.5, "b": 0.3, "c": 0.2}
RARE = "cbcc"


def proposer() -> FakeProposer:
    return FakeProposer(FakeEngine(lettered(4, LETTERS)))


def last_word(text: str) -> str | None:
    return text.rpartition("=")[2] if "=" in text else None


@pytest.mark.parametrize("strategy", GUIDED)
def test_a_verifier_leads_to_a_rare_answer(strategy: str) -> None:
    config = SolverConfig(strategy=strategy, n=32, beam_width=16)
    with Solver(proposer(), KnowingVerifier(chance_of(RARE, LETTERS)), config, extract=last_word) as solver:
        solution = solver.solve("which letters?")
    assert (solution.answer, solution.stopped_by) == (RARE, StopReason.COMPLETE)
    assert solution.chosen_by == "weighted vote"
    assert {name: solution.settings[name] for name in ("strategy", "beam_width", "c_puct")} == {
        "strategy": strategy,
        "beam_width": 16,
        "c_puct": 1.25,
    }
    assert solution.tree is not None
    assert solution.num_tokens_shared > 0


@pytest.mark.parametrize("strategy", GUIDED)
def test_a_scorer_of_steps_does_as_well(strategy: str) -> None:
    config = SolverConfig(strategy=strategy, n=32, beam_width=16, scorer=chance_of(RARE, LETTERS))
    with Solver(proposer(), config=config, extract=last_word) as solver:
        assert solver.solve("which letters?").answer == RARE


@pytest.mark.parametrize("strategy", GUIDED)
def test_many_questions_side_by_side_have_the_answers_that_they_have_alone(strategy: str) -> None:
    config = SolverConfig(strategy=strategy, n=6)
    questions = [f"question {number}" for number in range(5)]
    with Solver(proposer(), KnowingVerifier(chance_of(RARE, LETTERS)), config, extract=last_word) as solver:
        together = list(solver.solve_many(questions))
        alone = [solver.solve(question) for question in questions]
    assert [one.answer for one in together] == [one.answer for one in alone]
    assert [sorted(trace.text for trace in one.traces) for one in together] == [
        sorted(trace.text for trace in one.traces) for one in alone
    ]


class ShortVerifier(KnowingVerifier):
    """Reads short questions only."""

    def tree(self, question: str, delimiters: Sequence[str] = ()) -> KnowingTree:
        if len(question) > 20:
            raise ContextOverflowError("the question is too long for the verifier")
        return super().tree(question, delimiters)


def test_a_question_too_long_for_the_verifier_fails_and_the_others_go_on() -> None:
    with Solver(proposer(), ShortVerifier(chance_of(RARE, LETTERS)), extract=last_word) as solver:
        first, long, last = solver.solve_many(["which letters?", "which letters? " * 9, "what letters?"])
        with pytest.raises(ContextOverflowError, match="too long for the verifier"):
            solver.solve("which letters? " * 9)
    assert isinstance(long.error, ContextOverflowError)
    assert (long.answer, first.error, last.error) == (None, None, None)
    assert first.answer is not None
    assert last.answer is not None


@pytest.mark.parametrize("strategy", GUIDED)
def test_without_step_scores_the_remedy_is_named_before_anything_is_searched(strategy: str) -> None:
    asked = proposer()
    with Solver(asked) as solver:
        with pytest.raises(ValueError, match=f"strategy '{strategy}' .* there is no verifier; give a verifier"):
            solver.solve("which letters?", SolverConfig(strategy=strategy))
        with pytest.raises(ValueError, match=r"the scorer \(length\) has none"):
            solver.solve("which letters?", SolverConfig(strategy=strategy, scorer="length"))
    assert asked.engine.num_opened == 0
    with pytest.raises(ValueError, match="there is no verifier"):
        Solver(proposer(), config=SolverConfig(strategy=strategy))
    with pytest.raises(ValueError, match="there is no verifier"):
        Solver.from_gguf("there-is-no-such-file.gguf", config=SolverConfig(strategy=strategy))


def test_a_scorer_of_whole_traces_keeps_a_verifier_from_guiding() -> None:
    verifier = KnowingVerifier(chance_of(RARE, LETTERS))
    with Solver(proposer(), verifier) as solver, pytest.raises(ValueError, match=r"the scorer \(logprob\) has none"):
        solver.solve("which letters?", SolverConfig(strategy="beam", scorer="logprob"))


@pytest.mark.parametrize(("own", "asked_for"), [("last", None), ("min", None), ("last", "min"), ("min", "last")])
def test_prefixes_are_ranked_as_the_verifier_aggregates_unless_told_otherwise(own: str, asked_for: str | None) -> None:
    """Beginning with "a" is worth little, but more than "b" afterwards: the last step says a, the weakest b."""
    value = ValueOf(lambda text: 0.5 if text[0] == "b" else 0.1 if len(text) == 3 else 0.9)
    config = SolverConfig(strategy="beam", n=24, beam_width=12, aggregation=asked_for)
    engine = FakeEngine(lettered(3, {"a": 0.5, "b": 0.5}))
    with Solver(FakeProposer(engine), KnowingVerifier(value, own), config, extract=last_word) as solver:
        solution = solver.solve("which letters?")
    assert solution.answer is not None
    assert solution.answer[0] == ("b" if (asked_for or own) == "min" else "a")


@pytest.mark.parametrize("aggregation", sorted(AGGREGATIONS))
def test_a_fork_that_ends_at_once_is_worth_what_its_prefix_is(aggregation: str) -> None:
    value = ValueOf(lambda text: 1.0 / (1 + len(text)))
    scorer = VerifierScorer(KnowingTree(value), aggregation)
    steps = [Step(1, 4, "a\n\n"), Step(4, 7, "b\n\n")]
    whole = Branch(0, None, (0,), 0, 1, 8, steps=steps)
    fork = Branch(1, 0, (0, 7, 0), 1, 7, 8, steps=[*steps, Step(7, 8, "")])
    assert scorer.score([whole, fork, whole])[:2] == [scorer.score([whole])[0]] * 2
    first, second = scorer.score_steps([whole])[0]
    assert scorer.score_steps([fork, whole]) == [[first, second, second], [first, second]]
    assert value.prefixes == {"a\n\n", "a\n\nb\n\n"}


@pytest.mark.parametrize("setting", [{"beam_width": 0}, {"c_puct": -1.0}, {"c_puct": float("inf")}])
def test_wrong_settings_are_refused(setting: dict[str, float]) -> None:
    (name,) = setting
    with pytest.raises(ValueError, match=f"{name} is"):
        SolverConfig(**setting)


def test_every_aggregation_guides() -> None:
    for aggregation in AGGREGATIONS:
        config = SolverConfig(strategy="mcts", n=4, aggregation=aggregation)
        with Solver(proposer(), KnowingVerifier(ValueOf(len)), config, extract=last_word) as solver:
            assert solver.solve("which letters?").answer is not None


@pytest.mark.parametrize("strategy", ["flow", "best-of-n", "weighted-vote"])
def test_a_product_of_flows_is_not_taken_for_a_chance(strategy: str) -> None:
    """Three steps of P = 0.24 each would make a certainty."""
    config = SolverConfig(strategy=strategy, n=4, confidence=0.95, aggregation="product")
    with Solver(proposer(), KnowingVerifier(ValueOf(lambda _: 2.5)), config, extract=last_word) as solver:
        with pytest.raises(VerifierError, match="no --aggregation product"):
            solver.solve("which letters?")
        mean = solver.solve("which letters?", dataclasses.replace(config, aggregation="mean"))
    assert mean.stopped_by is StopReason.COMPLETE
