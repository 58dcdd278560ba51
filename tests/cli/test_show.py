"""The displays: what a user sees of a running search."""

from __future__ import annotations

import io

import pytest
from fakes.engine import FakeClock, FakeEngine
from fakes.models import by_prompt, endless, rambling, scripted
from fakes.proposer import FakeProposer
from fakes.values import KnowingVerifier, ValueOf, arbitrary
from rich.console import Console

from arts_lite.cli.live import LiveDisplay
from arts_lite.cli.show import Display, PlainDisplay, make_display, summary
from arts_lite.cli.watch import Watch
from arts_lite.search import STRATEGIES, Candidate
from arts_lite.search.events import BranchOpened, BranchPruned, Progress, QuestionStarted, StepEnded, TraceEnded
from arts_lite.solver import Solution, Solver, SolverConfig
from arts_lite.types import StopReason

CONFIG = SolverConfig(n=2, max_tokens=100)


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_what_every_strategy_came_to_can_be_told(strategy: str) -> None:
    with Solver(FakeProposer(), KnowingVerifier(ValueOf(arbitrary))) as solver:
        solution = solver.solve("How many?", SolverConfig(strategy=strategy, n=3))
    assert solution.answer is not None
    assert any(f"; chosen by {solution.chosen_by}" in line for line in summary(solution))


def watch_of_two_traces() -> Watch:
    """After 10 s and 60 tokens: trace 0 has ended with 40 tokens (its steps told), trace 1 has written 20."""
    watch = Watch(["How many?"], CONFIG)
    for event in (
        QuestionStarted(0, 5),
        BranchOpened(0, 0, None, 5),
        BranchOpened(0, 1, None, 5),
        StepEnded(0, 0, 0, 25, "first step\n\n"),
        TraceEnded(0, 0, StopReason.END_OF_TEXT, "18", -0.5, "first step\n\nit is 18"),
        StepEnded(0, 1, 0, 25, "another first step\n\n"),
        Progress(60, 10.0, 1, 1, 0),
    ):
        watch.note(event)
    return watch


def drawing(watch: Watch, height: int = 40) -> str:
    console = Console(file=io.StringIO(), width=80, height=height, force_terminal=True, color_system=None)
    console.print(LiveDisplay(watch, console)._draw())
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_tree_shows_answers_steps_votes_and_counters() -> None:
    text = drawing(watch_of_two_traces())
    assert "How many?" in text
    assert "0 = 18  -0.5" in text
    assert "1 step 2 another first step" in text
    assert "answers: 18 x1" in text
    assert "60 tokens | 6.0 tokens/s | 1 running | about 3 s left" in text


def test_forks_hang_below_the_trace_that_they_were_forked_from() -> None:
    watch = watch_of_two_traces()
    watch.note(BranchOpened(0, 2, 0, 25))
    watch.note(BranchPruned(0, 2, "hopeless"))
    lines = drawing(watch).splitlines()
    parent, child = (next(line for line in lines if text in line) for text in ("0 = 18", "2 hopeless"))
    assert child.index("2 hopeless") > parent.index("0 = 18")


def test_a_small_terminal_shows_the_branches_at_work() -> None:
    watch = watch_of_two_traces()
    for branch in range(2, 200):
        watch.note(BranchOpened(0, branch, None, 5))
        watch.note(TraceEnded(0, branch, StopReason.END_OF_TEXT, None, None, ""))
    text = drawing(watch, height=12)
    assert len(text.splitlines()) <= 12
    assert "another first step" in text
    assert "and 193 more" in text


def test_time_left_is_a_bound_until_a_trace_has_ended() -> None:
    watch = Watch(["q"], CONFIG)
    assert watch.seconds_left() is None
    for event in (QuestionStarted(0, 5), BranchOpened(0, 0, None, 5), Progress(20, 10.0, 1, 1, 0)):
        watch.note(event)
    assert watch.seconds_left() == (100.0, True)
    watch.note(BranchOpened(0, 1, None, 5))
    watch.note(StepEnded(0, 1, 0, 55, "half\n\n"))
    assert watch.seconds_left() == (75.0, True)


def test_time_left_keeps_to_the_budget() -> None:
    watch = Watch(["q"], SolverConfig(max_tokens=1000, budget_seconds=15))
    for event in (QuestionStarted(0, 5), BranchOpened(0, 0, None, 5), Progress(20, 10.0, 1, 1, 0)):
        watch.note(event)
    assert watch.seconds_left() == (5.0, True)


def solved(model: object, questions: list[str], display: Display, **settings: object) -> None:
    engine = FakeEngine(model, clock=FakeClock())  # type: ignore[arg-type]
    config = SolverConfig(**{"n": 4, "strategy": "sdf", **settings})  # type: ignore[arg-type]
    with display, Solver(FakeProposer(engine), config=config) as solver:
        display.say("loading")
        for event in solver.stream_many(questions):
            display.show(event)
        with display.paused():
            display.complain("Error: something")


@pytest.mark.parametrize("num_questions", [1, 3])
def test_the_live_display_follows_a_whole_search_and_leaves_the_summary(num_questions: int) -> None:
    questions = [f"How many {index}?" for index in range(num_questions)]
    console = Console(file=io.StringIO(), width=200, height=20, force_terminal=True, color_system=None)
    solved(rambling(3), questions, LiveDisplay(Watch(questions, SolverConfig(n=4)), console))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert text.count("stopped by: complete") == num_questions
    assert text.endswith("\x1b[?25h") or "\x1b[?25l" not in text.rpartition("\x1b[?25h")[2]


def test_the_plain_display_prints_a_line_per_trace(capsys: pytest.CaptureFixture[str]) -> None:
    questions = ["one?", "two?", "endless?"]
    model = by_prompt({"one": scripted({"=1": 1.0}), "two": scripted({"no": 1.0}), "endless": endless})
    display = PlainDisplay(Watch(questions, SolverConfig(n=4)))
    solved(model, questions, display, budget_tokens=100, strategy="best-of-n")
    lines = capsys.readouterr().err.splitlines()
    assert "question 1: trace 0 ended (end_of_text): answer 1, score 0 [1 of 4]" in lines
    assert "question 2: trace 3 ended (end_of_text): no answer, score 0 [4 of 4]" in lines
    assert "question 1: 1: 4 votes of 4, score 0; chosen by score" in lines
    assert any(line.startswith("question 3: ") and line.endswith("stopped by: budget_tokens") for line in lines)


@pytest.mark.parametrize(
    ("solution", "line"),
    [
        (Solution("q", "7", votes=2, num_traces=4), "7: 2 votes of 4; chosen by vote"),
        (
            Solution("q", "7", votes=1, num_traces=2, chosen_by="score", score=-0.25),
            "7: 1 vote of 2, score -0.25; chosen by score",
        ),
        (
            Solution("q", "3*8", votes=1, num_traces=9, chosen_by="checker"),
            "3*8: 1 vote of 9; chosen by the task's own checker, which accepts it",
        ),
        (
            Solution("q", num_traces=5, chosen_by="checker", candidates=(Candidate("3*7", 4, None),)),
            "the task's own checker accepts no answer of 5 traces (3*7: 4)",
        ),
        (
            Solution(
                "q", "1", votes=9, num_traces=20, candidates=tuple(Candidate(str(n), 1, None) for n in range(1, 9))
            ),
            "1: 9 votes of 20 (2: 1, 3: 1, 4: 1, 5: 1, 6: 1, ...); chosen by vote",
        ),
    ],
    ids=["vote", "score", "checker", "checker accepts none", "many answers"],
)
def test_a_summary_says_what_chose_the_answer(solution: Solution, line: str) -> None:
    assert summary(solution)[0] == line


def test_a_quiet_display_shows_errors_only(capsys: pytest.CaptureFixture[str]) -> None:
    solved(rambling(3), ["q"], make_display(["q"], CONFIG, is_quiet=True))
    assert capsys.readouterr().err == "Error: something\n"


def test_a_summary_of_nothing_is_a_line_of_zeros() -> None:
    assert summary(Solution("q")) == ["0 traces, 0 nodes, 0 tokens decoded and 0 shared in 0.0 s (0.0 tokens/s)"]
