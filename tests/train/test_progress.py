from __future__ import annotations

import io

import pytest
from rich.console import Console

from arts_lite.train import progress
from arts_lite.train.progress import TrainingDisplay


def test_where_no_terminal_is_a_line_is_printed_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    with TrainingDisplay(1000, "samples", clock=lambda: now[0]) as display:
        for seconds, done in ((1.0, 400), (11.0, 500), (41.0, 700), (42.0, 705), (72.0, 900)):
            now[0] = seconds
            display.show(done, f"loss {seconds:.1f}")
        display.say("the end")
    assert capsys.readouterr().err.splitlines() == [
        "700/1,000 samples, loss 41.0, 7.5 samples/s, 0:00:40 left",
        "900/1,000 samples, loss 72.0, 7 samples/s, 0:00:14 left",
        "the end",
    ]


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    now = iter(range(0, 10_000, 100))
    with TrainingDisplay(10, "steps", is_quiet=True, clock=lambda: next(now)) as display:
        display.show(1, "loss 1")
        display.show(2, "loss 1")
        display.say("something")
    assert capsys.readouterr().err == ""


def test_a_terminal_sees_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(progress, "Console", lambda **_: Console(file=screen, force_terminal=True, width=100))
    now = iter(range(0, 200, 2))
    with TrainingDisplay(10, "steps", clock=lambda: next(now)) as display:
        display.show(2, "loss 3.0")
        display.show(4, "loss 2.5")
        display.say("a line above")
    text = screen.getvalue()
    assert "loss 2.5, 0.5 steps/s" in text
    assert "a line above" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h")
