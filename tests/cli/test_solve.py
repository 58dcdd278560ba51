"""`arts-lite solve` over a fake proposer: what goes where, and how it ends."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from fakes.engine import FakeEngine
from fakes.models import Model, by_prompt, endless, rambling, scripted
from fakes.proposer import FakeProposer

from arts_lite.cli import main
from arts_lite.cli.solve import solve
from arts_lite.errors import ModelLoadError
from arts_lite.solver import Solver, SolverConfig
from arts_lite.tree import read_trees

Run = Callable[..., Result]
DOCS = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `arts-lite solve --proposer fake ...` on a model of `fakes.models`; the solver's arguments are in `asked`."""

    def run(*args: str, model: Model | None = None, engine: FakeEngine | None = None, **kwargs: Any) -> Result:
        def from_gguf(
            proposer: str, verifier: object, config: SolverConfig, *, probe: object, **engine_options: object
        ) -> Solver:
            assert probe is None
            run.asked = (proposer, verifier, config, engine_options)  # type: ignore[attr-defined]
            made = engine or FakeEngine(model or scripted({"so\n\nthe answer is 18": 1.0}))
            return Solver(FakeProposer(made), config=config)

        monkeypatch.setattr(Solver, "from_gguf", from_gguf)
        return CliRunner().invoke(main, ["solve", "--proposer", "fake.gguf", "--n", "4", *args], **kwargs)

    return run


def test_the_answer_alone_goes_to_stdout(run: Run) -> None:
    result = run("How many?")
    assert (result.exit_code, result.stdout) == (0, "18\n")
    assert "18: 3 votes of 4" in result.stderr or "18: 4 votes of 4" in result.stderr
    assert "the answer is 18" in result.stderr
    assert "\x1b" not in result.stderr


def test_the_engine_is_told_how_many_questions_come(run: Run) -> None:
    run("-", input="One?\nTwo?\nThree?\n")
    assert run.asked[3] == {"num_questions": 3}  # type: ignore[attr-defined]


def test_quiet_says_nothing_on_stderr(run: Run) -> None:
    result = run("--quiet", "How many?")
    assert (result.stdout, result.stderr) == ("18\n", "")


def test_json_prints_one_object_with_the_documented_keys(run: Run) -> None:
    result = run("--json", "How many?")
    row = json.loads(result.stdout)
    table = DOCS.partition("### The JSON object")[2].partition("##")[0]
    assert list(row) == re.findall(r"^\| `(\w+)`", table, re.MULTILINE)
    assert row["answer"] == "18"
    assert row["candidates"][0] == {"answer": "18", "count": row["votes"], "score": row["score"]}
    assert row["settings"]["n"] == 4


def test_every_option_and_exit_code_is_documented() -> None:
    table = DOCS.partition("## arts-lite solve")[2].partition("**Ctrl-C**")[0]
    documented = set(re.findall(r"`(--[\w-]+)`", table))
    options = {name for param in solve.params if isinstance(param, click.Option) for name in param.opts}
    assert documented == {name for name in options if name.startswith("--")}
    assert re.findall(r"^\| (\d+) ", DOCS.partition("## Exit codes")[2], re.MULTILINE) == [
        "0",
        "1",
        "2",
        "3",
        "4",
        "130",
    ]


def test_questions_of_a_file_are_answered_in_order_one_a_line(run: Run, tmp_path: Path) -> None:
    model = by_prompt({"one": scripted({"=1": 1.0}), "two": scripted({"nothing": 1.0}), "three": scripted({"=3": 1.0})})
    file = tmp_path / "questions.txt"
    file.write_bytes(b"\xef\xbb\xbfone?\r\n\r\n  two? \nthree?")
    result = run("--file", str(file), model=model)
    assert (result.exit_code, result.stdout) == (1, "1\n\n3\n")
    assert "question 2: " in result.stderr


@pytest.mark.parametrize("args", [["-"], ["--file", "-"]])
def test_questions_are_read_from_stdin(run: Run, args: list[str]) -> None:
    result = run(*args, "--json", input="one?\n\ntwo?\n")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["question"] for row in rows] == ["one?", "two?"]


def test_a_question_without_an_answer_exits_with_1(run: Run) -> None:
    result = run("How many?", model=scripted({"no idea": 1.0}))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no answer was found" in result.stderr


def test_a_question_that_is_too_long_exits_with_3_and_the_others_are_answered(run: Run) -> None:
    result = run("-", input="How many?\n" + "x" * 100_000 + "\nAnd now?\n")
    assert (result.exit_code, result.stdout) == (3, "18\n\n18\n")
    assert "Error: question 2: the prompt has 100000 tokens" in result.stderr
    assert "Traceback" not in result.stderr


def test_options_reach_the_solver(run: Run) -> None:
    result = run(
        *("--strategy", "sdf", "--n", "3", "--fork-prob", "0.25", "--max-fork-depth", "2", "--scorer", "length"),
        *("--beam-width", "5", "--c-puct", "0.5"),
        *(
            "--seed",
            "7",
            "--max-tokens",
            "50",
            "--budget-tokens",
            "500",
            "--budget-seconds",
            "60",
            "--budget-nodes",
            "99",
        ),
        *("--ctx-size", "512", "--gpu-layers", "-1", "--threads", "3", "--kv-type", "q8_0", "--system", "Be brief."),
        *("--temperature", "0.5", "--top-k", "9", "--step-delimiter", r"\n", "--step-delimiter", ";", "--json", "Q?"),
    )
    settings = json.loads(result.stdout)["settings"]
    _, _, config, engine_options = run.asked  # type: ignore[attr-defined]
    assert engine_options == {"ctx_size": 512, "gpu_layers": -1, "threads": 3, "kv_type": "q8_0"}
    assert config == SolverConfig(
        strategy="sdf",
        n=3,
        fork_prob=0.25,
        max_fork_depth=2,
        beam_width=5,
        c_puct=0.5,
        scorer="length",
        seed=7,
        max_tokens=50,
        budget_tokens=500,
        budget_seconds=60,
        budget_nodes=99,
        system="Be brief.",
    )
    assert settings["sampling"] | {"temperature": 0.5, "top_p": 1.0, "top_k": 9} == settings["sampling"]
    assert settings["rules"]["delimiters"] == ["\n", ";"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "give one of"),
        (["one?", "--file", "two"], "give one of"),
        (["  "], "the QUESTION is empty"),
        (["one?", "two?"], "unexpected extra argument"),
        (["--n", "0", "q"], "--n"),
        (["--temperature", "-1", "q"], "--temperature"),
        (["--temperature", "nan", "q"], "temperature is nan"),
        (["--top-p", "0", "q"], "--top-p"),
        (["--strategy", "magic", "q"], "--strategy"),
        (["--strategy", "beam", "q"], "there is no verifier; give a verifier (--verifier FILE)"),
        (["--strategy", "mcts", "--scorer", "length", "q"], "the scorer (length) has none"),
        (["--beam-width", "0", "q"], "--beam-width"),
        (["--c-puct", "-1", "q"], "--c-puct"),
        (["--c-puct", "inf", "q"], "c_puct is inf"),
        (["--seed", str(2**63), "q"], "seed"),
        (["--step-delimiter", "", "q"], "delimiters"),
        (["bad \udcff bytes"], "no valid Unicode at character 4"),
        (["--system", "\ud800", "q"], "no valid Unicode"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_what_is_wrong(run: Run, args: list[str], message: str) -> None:
    result = run(*args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "holds no question"), (b"\n \n", "holds no question"), (b"ok\nbad \xff\n", "line 2, is no valid UTF-8")],
)
def test_a_file_that_cannot_be_used_exits_with_3(run: Run, tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "questions.txt"
    file.write_bytes(content)
    for result in (run("--file", str(file)), run("-", input=content)):
        assert (result.exit_code, result.stdout) == (3, "")
        assert message in result.stderr


def test_a_missing_file_exits_with_3(run: Run, tmp_path: Path) -> None:
    result = run("--file", str(tmp_path / "missing.txt"))
    assert result.exit_code == 3
    assert "cannot be read: No such file" in result.stderr


def test_what_a_model_writes_cannot_steer_the_terminal(run: Run) -> None:
    hostile = "\x1b]0;owned\x07\x1b[2J\n\n\\boxed{1\x1b[31m8\r\n\u202e}"
    result = run("How many?", model=scripted({hostile: 1.0}))
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 1
    for stream in (result.stdout, result.stderr):
        assert not set(stream) & {"\x1b", "\x07", "\r", "\u202e"}


@pytest.mark.parametrize("verbose", [False, True])
def test_an_error_is_one_line_and_a_traceback_only_when_verbose(monkeypatch: pytest.MonkeyPatch, verbose: bool) -> None:
    def refuse(*_args: object, **_options: object) -> Solver:
        raise ModelLoadError("x.gguf is no GGUF file; choose another")

    monkeypatch.setattr(Solver, "from_gguf", refuse)
    result = CliRunner().invoke(main, ["solve", "--proposer", "x.gguf", "q", *(["-v"] if verbose else [])])
    assert result.exit_code == 3
    assert result.stderr.endswith("Error: x.gguf is no GGUF file; choose another\n")
    assert ("Traceback" in result.stderr) is verbose


def test_a_defect_exits_with_4_and_asks_for_a_report(run: Run) -> None:
    def fail() -> None:
        raise AssertionError("a bug")

    engine = FakeEngine(on_decode=fail)
    result = run("How many?", engine=engine)
    assert (result.exit_code, result.stdout) == (4, "")
    assert "AssertionError: a bug" in result.stderr
    assert "please report it" in result.stderr
    assert not engine.branches


def test_the_trace_file_holds_each_questions_tree(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "trees.jsonl"
    run("--trace", str(file), "--strategy", "sdf", "-", input="one?\ntwo?\n", model=rambling(4))
    run("--trace", str(file), "three?")
    trees = list(read_trees(file))
    assert {tree.origin.question for tree in trees} == {"one?", "two?", "three?"}
    assert all(tree.num_nodes > 1 and tree.num_traces >= 4 for tree in trees)


def test_a_trace_file_that_cannot_be_written_is_told_before_the_model_is_loaded(run: Run, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("# My notes\n")
    result = run("--trace", str(notes), "How many?")
    assert result.exit_code == 3
    assert "no trace file" in result.stderr
    assert not hasattr(run, "asked")
    assert notes.read_text() == "# My notes\n"


def test_a_spent_budget_is_a_result(run: Run) -> None:
    result = run("--budget-tokens", "40", "--json", "How many?", model=endless)
    row = json.loads(result.stdout)
    assert result.exit_code == 1
    assert row["stopped_by"] == "budget_tokens"


def interrupting(model: Model, at_decode: int) -> FakeEngine:
    """An engine during whose n-th decode call the user presses Ctrl-C."""
    calls = itertools.count(1)

    def interrupt() -> None:
        if next(calls) == at_decode:
            os.kill(os.getpid(), signal.SIGINT)

    return FakeEngine(model, on_decode=interrupt)


def half_endless(_prompt: tuple[int, ...], generated: bytes) -> Mapping[int, float]:
    """Say 18 at once, or never come to an end."""
    if not generated:
        return {ord("="): 0.5, ord("x"): 0.5}
    return scripted({"=18": 1.0})((), generated) if generated.startswith(b"=") else {ord("x"): 1.0}


def test_an_interrupt_ends_with_the_best_answer_so_far(run: Run) -> None:
    before = signal.getsignal(signal.SIGINT)
    engine = interrupting(half_endless, at_decode=40)
    result = run("--json", "--max-tokens", "1000000", "--strategy", "best-of-n", "How many?", engine=engine)
    row = json.loads(result.stdout)
    assert (result.exit_code, row["answer"], row["stopped_by"]) == (130, "18", "interrupted")
    assert "interrupted: ending with the best answer so far" in result.stderr
    assert signal.getsignal(signal.SIGINT) is before


def test_questions_that_an_interrupt_left_unbegun_are_left_out(run: Run) -> None:
    engine = interrupting(endless, at_decode=5)
    questions = "".join(f"question {index}?\n" for index in range(200))
    result = run("--json", "--max-tokens", "1000000", "-", engine=engine, input=questions)
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 130
    assert 0 < len(rows) < 200
    assert [row["question"] for row in rows] == [f"question {index}?" for index in range(len(rows))]
