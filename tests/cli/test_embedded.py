"""The commands without --proposer: the model that comes with the package, here a random one in its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tiny_gguf import TinyModel, write_tiny_gguf

from arts_lite.cli import main
from arts_lite.errors import ModelLoadError, VerifierError
from arts_lite.experiments.folder import read_folder
from arts_lite.proposer import embedded_proposer
from arts_lite.verifier import embedded_verifier
from arts_lite.verifier.verifier import Verifier

PLAIN = "{% for m in messages %}{{ m['content'] | trim }}{% endfor %}{{ '\\n' }}"


def write_tasks_model(path: Path, tasks: list[str]) -> Path:
    keys = {"arts.tasks": tasks, "arts.sampling.temperature": 1.0, "arts.step.delimiters": "\n"}
    return write_tiny_gguf(path, TinyModel(chat_template=PLAIN, metadata=keys, ctx_train=256))


@pytest.fixture
def embedded(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = write_tasks_model(tmp_path_factory.mktemp("embedded") / "tiny.gguf", ["countdown", "arithmetic"])
    monkeypatch.setattr("arts_lite.proposer.embedded_proposer", lambda: path)
    return path


def solve(*args: str) -> Result:
    return CliRunner().invoke(main, ["solve", "--n", "3", "--max-tokens", "16", "--threads", "1", *args])


def sdf(*args: str) -> Result:
    options = ["--num-traces", "2", "--max-tokens", "16", "--threads", "1"]
    return CliRunner().invoke(main, ["sdf", *options, *args])


@pytest.mark.parametrize(
    ("question", "num_prompt_tokens", "chosen_by"),
    [("make 24 from 3, 5, 7, 8", len("24: 3 5 7 8\n"), "checker"), ("17 times 18", len("17*18\n"), "weighted vote")],
)
def test_without_a_proposer_the_embedded_one_is_asked_in_plain_form(
    embedded: Path, tmp_path: Path, question: str, num_prompt_tokens: int, chosen_by: str
) -> None:
    result = solve("--json", "--trace", str(tmp_path / "trees.jsonl"), question)
    assert result.exit_code in (0, 1), result.stderr
    row = json.loads(result.stdout)
    assert (row["question"], row["chosen_by"], row["num_traces"]) == (question, chosen_by, 3)
    assert row["settings"]["verifier"]["path"] == str(embedded_verifier())
    assert row["settings"]["proposer"]["path"] == str(embedded)
    assert "loading the embedded proposer" in result.stderr
    assert f"{num_prompt_tokens} prompt tokens" in result.stderr
    tree = json.loads((tmp_path / "trees.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert tree["question"] == question


@pytest.mark.usefixtures("embedded")
@pytest.mark.parametrize(
    ("options", "chosen_by"),
    [
        (("--verifier", "none"), "vote"),
        (("--strategy", "vote"), "vote"),
        (("--strategy", "best-of-n", "--scorer", "length"), "score"),
    ],
    ids=str,
)
def test_without_a_use_for_it_the_embedded_verifier_stays_away(options: tuple[str, ...], chosen_by: str) -> None:
    result = solve("--json", *options, "17 times 18")
    assert result.exit_code in (0, 1), result.stderr
    row = json.loads(result.stdout)
    assert row["chosen_by"] == chosen_by
    assert "verifier" not in row["settings"]


@pytest.mark.usefixtures("embedded")
def test_an_empty_name_is_no_way_to_do_without_the_verifier() -> None:
    result = solve("--verifier", "", "17 times 18")
    assert result.exit_code == 3
    assert result.stdout == ""


def test_a_proposer_of_ones_own_gets_no_verifier_of_ours(tmp_path: Path) -> None:
    own = write_tasks_model(tmp_path / "own.gguf", ["arithmetic"])
    row = json.loads(solve("--json", "--proposer", str(own), "17 times 18").stdout)
    assert row["chosen_by"] == "vote"
    assert "verifier" not in row["settings"]


@pytest.mark.usefixtures("embedded")
@pytest.mark.parametrize("strategy", ["flow", "beam"])
def test_guided_strategies_follow_the_embedded_verifier(strategy: str) -> None:
    result = solve("--json", "--strategy", strategy, "17 times 18")
    assert result.exit_code in (0, 1), result.stderr
    assert json.loads(result.stdout)["settings"]["verifier"]["path"] == str(embedded_verifier())


@pytest.mark.usefixtures("embedded")
def test_an_answer_that_the_checker_does_not_accept_is_no_answer() -> None:
    result = solve("make 24 from 3, 5, 7, 8")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "the task's own checker accepts no answer of 3 traces" in result.stderr


@pytest.mark.usefixtures("embedded")
def test_another_kind_of_question_ends_with_one_clear_error() -> None:
    result = solve("Natalia sold 48 clips in April. How many in all?")
    assert (result.exit_code, result.stdout) == (3, "")
    error = result.stderr.splitlines()[-1]
    assert error.startswith("Error: 'Natalia sold 48 clips in April. How many in all?' is no question for this small")
    assert "make 24 from 3, 5, 7, 8" in error
    assert "--proposer FILE.gguf" in error


@pytest.mark.usefixtures("embedded")
def test_of_several_questions_the_others_are_answered(tmp_path: Path) -> None:
    (tmp_path / "questions.txt").write_text("3+4\nwho was Gauss?\n5*6\n", encoding="utf-8")
    result = solve("--json", "--file", str(tmp_path / "questions.txt"))
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 3
    assert [row["error"] and row["error"]["type"] for row in rows] == [None, "UnsupportedQuestionError", None]
    assert "Error: question 2: 'who was Gauss?'" in result.stderr


@pytest.mark.usefixtures("embedded")
def test_a_question_beyond_the_training_is_answered_with_one_line_of_warning() -> None:
    result = solve("12345 + 1")
    assert result.exit_code in (0, 1)
    [line] = [line for line in result.stderr.splitlines() if "warning" in line]
    assert line.startswith("warning: 12345 + 1: beyond what this small model was trained on (numbers outside 1 to 999")
    assert "warning" not in solve("12 + 1").stderr
    assert solve("--quiet", "12345 + 1").stderr == ""


@pytest.mark.usefixtures("embedded")
def test_with_a_prompt_template_any_question_may_be_asked(tmp_path: Path) -> None:
    (tmp_path / "template.txt").write_text("Q: {question}\nA:", encoding="utf-8")
    result = solve("--json", "--prompt-template", str(tmp_path / "template.txt"), "How many?")
    assert result.exit_code in (0, 1), result.stderr
    assert json.loads(result.stdout)["chosen_by"] == "weighted vote"


def test_sdf_without_a_proposer_grows_trees_on_plain_prompts(embedded: Path, tmp_path: Path) -> None:
    result = sdf("--task", "arithmetic", "--num-problems", "2", "--out", str(tmp_path / "d"))
    assert result.exit_code == 0, result.stderr
    assert "loading the embedded proposer" in result.stderr
    trees = list(read_folder(tmp_path / "d"))
    assert len(trees) == 2
    for tree in trees:
        problem = tree.origin.problem
        assert problem is not None
        assert tree.origin.question == problem["metadata"]["expression"] + "\n"
        assert tree.origin.num_prompt_tokens == len(tree.origin.question)
        assert tree.origin.model["path"] == str(embedded)


@pytest.mark.usefixtures("embedded")
def test_sdf_refuses_a_task_that_the_proposer_was_not_made_for(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text('{"problem": "1+1?", "answer": "2"}\n', encoding="utf-8")
    result = sdf("--task", "jsonl", "--data", str(tmp_path / "q.jsonl"), "--out", str(tmp_path / "d"))
    assert result.exit_code == 2
    assert "made for countdown and arithmetic only, not for jsonl" in result.stderr
    only = write_tasks_model(tmp_path / "only.gguf", ["countdown"])
    result = sdf("--proposer", str(only), "--task", "arithmetic", "--num-problems", "1", "--out", str(tmp_path / "d"))
    assert result.exit_code == 2
    assert "made for countdown only, not for arithmetic" in result.stderr
    assert not (tmp_path / "d").exists()


@pytest.mark.usefixtures("embedded")
def test_sdf_refuses_a_prompt_that_would_not_be_used(tmp_path: Path) -> None:
    options = ["--task", "countdown", "--num-problems", "1", "--out", str(tmp_path / "d")]
    result = sdf(*options, "--prompt", "Q: {question}")
    assert result.exit_code == 2
    assert "--prompt has nothing to do here" in result.stderr


def test_an_installation_without_the_model_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("arts_lite.proposer.embedded._FOLDER", tmp_path)
    with pytest.raises(ModelLoadError, match=r"tiny-proposer-f16\.gguf is missing: reinstall"):
        embedded_proposer()
    result = solve("3+4")
    assert result.exit_code == 3
    assert "is missing: reinstall arts-lite, or give a model of your own" in result.stderr


@pytest.mark.usefixtures("embedded")
def test_an_installation_without_the_verifier_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("arts_lite.verifier.embedded._FOLDER", tmp_path)
    with pytest.raises(VerifierError, match=r"tiny-verifier-f16\.gguf is missing: reinstall"):
        embedded_verifier()
    result = solve("3+4")
    assert result.exit_code == 3
    assert "is missing: reinstall arts-lite, or go without a verifier (--verifier none)" in result.stderr
    assert solve("--verifier", "none", "3+4").exit_code in (0, 1)


def test_the_verifier_that_is_shipped_tells_right_last_lines_from_wrong_ones() -> None:
    assert embedded_verifier().stat().st_size <= 6_000_000
    traces = [
        ("5+7=12; 3 8 12", "8*3=24; 12 24", "24+12=36"),
        ("5+7=12; 3 8 12", "12-8=4; 3 4", "4*3=12"),
        ("5+7=12; 3 8 12", "12/3=4; 8 4", "8*4=32"),
        ("7-5=2; 3 8 2", "3*8=24; 2 24", "24*2=48"),
        ("8*3=24; 5 7 24", "7-5=2; 24 2", "24-2=22"),
        ("7-5=2; 3 8 2", "2*8=16; 3 16", "16+3=19"),
    ]
    with Verifier.from_gguf(embedded_verifier()) as verifier:
        for place, right in enumerate(traces):
            target = right[-1].split("=")[1]
            flows = [float(one[-1]) for one in verifier.log_flows(f"{target}: 3 5 7 8", traces, ("\n",))]
            assert max(range(len(traces)), key=flows.__getitem__) == place, (target, flows)


def test_the_models_that_are_shipped_answer_both_kinds() -> None:
    try:
        path = embedded_proposer()
    except ModelLoadError as error:
        pytest.skip(str(error))
    assert path.stat().st_size <= 6_000_000
    for question, chosen_by in (("make 24 from 3, 5, 7, 8", "checker"), ("what is 17 + 4 * 3?", "weighted vote")):
        result = CliRunner().invoke(main, ["solve", "--json", "--n", "64", "--threads", "1", question])
        assert result.exit_code == 0, result.stderr
        row = json.loads(result.stdout)
        assert row["chosen_by"] == chosen_by
        assert chosen_by == "checker" or row["answer"] == "29"


@pytest.mark.usefixtures("embedded")
def test_an_evaluation_is_judged_by_the_embedded_verifier_where_it_is_named(tmp_path: Path) -> None:
    options = ("--task", "arithmetic", "--num-problems", "2", "--n", "2", "--out", str(tmp_path / "run"), "--json")
    result = CliRunner().invoke(main, ["eval", *options, "--verifier", "own=embedded", "--quiet"])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["verifiers"]["own"]["file"] == embedded_verifier().name
    refused = CliRunner().invoke(main, ["eval", *options, "--strategies", "flow"])
    assert "give --verifier FILE, or embedded" in refused.stderr
