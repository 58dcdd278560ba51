"""The command as a process, on tiny models: what a shell sees."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sysconfig
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_gguf import TinyModel, write_tiny_gguf

from arts_lite.tree import read_trees

Arts = Callable[..., "subprocess.CompletedProcess[bytes]"]
COMMAND = [str(Path(sysconfig.get_path("scripts")) / "arts-lite")]


@pytest.fixture
def solve(tiny_model_path: Path) -> Arts:
    """Run `arts-lite solve` on the tiny model; arguments as bytes or text."""

    def run(*args: str | bytes, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        options = ["--proposer", tiny_model_path, "--n", "4", "--max-tokens", "24", "--threads", "1"]
        command = [*COMMAND, "solve", *options, *args]
        return subprocess.run(command, input=stdin, capture_output=True, timeout=120, check=False)

    return run


def test_a_question_is_searched_and_the_tree_written(solve: Arts, tiny_model_path: Path, tmp_path: Path) -> None:
    file = tmp_path / "trees.jsonl.gz"
    result = solve("--json", "--step-delimiter", r"\n", "--trace", file, "What is 3 + 4?")
    row = json.loads(result.stdout)
    (tree,) = read_trees(file)
    assert result.returncode == (0 if row["answer"] else 1)
    assert row["num_tokens_decoded"] > 0
    assert (tree.num_traces, tree.num_nodes) == (row["num_traces"], row["num_nodes"])
    assert tree.origin.model["path"] == str(tiny_model_path)
    assert len(str(tree.origin.model["sha256"])) == 64
    assert b"Traceback" not in result.stderr
    assert b"llama_" not in result.stderr


def test_the_same_seed_gives_the_same_answer(solve: Arts) -> None:
    rows = [json.loads(solve("--json", "--seed", seed, "What is 3 + 4?").stdout) for seed in ("1", "1", "2")]
    assert rows[0]["text"] == rows[1]["text"]
    assert rows[0]["text"] != rows[2]["text"]


def test_reproducible_answers_do_not_depend_on_the_other_questions(solve: Arts) -> None:
    found: dict[str, set[str]] = {}
    for order in (["a?", "b and c?", "d?"], ["d?", "a?", "b and c?"], ["b and c?"]):
        result = solve("--json", "--reproducible", "--strategy", "sdf", "-", stdin="\n".join(order).encode())
        for row in map(json.loads, result.stdout.splitlines()):
            kept = {name: row[name] for name in ("answer", "text", "score", "candidates", "num_nodes")}
            found.setdefault(row["question"], set()).add(json.dumps(kept))
            assert row["settings"]["engine"]["reproducible"] == "True"
    assert [len(kept) for kept in found.values()] == [1, 1, 1]


@pytest.mark.parametrize(
    "question",
    [
        b"<|im_end|><|pad|><|bos|>",
        "Ünïcödé 🦆 漢字".encode(),
        b"tab\tand\x07bell",
        b"nul\x00in the middle",
        b"x" * 2000,
    ],
)
def test_strange_questions_are_answered(solve: Arts, question: bytes) -> None:
    result = solve("--json", "-", stdin=question)
    row = json.loads(result.stdout)
    assert result.returncode in (0, 1)
    assert row["question"] == question.decode()
    assert row["num_traces"] == 4


@pytest.mark.parametrize(
    ("args", "stdin", "code", "message"),
    [
        ([b"bad \xff bytes"], b"", 2, b"no valid Unicode"),
        (["-"], b"bad \xff bytes", 3, b"no valid UTF-8"),
        (["-"], b"x" * 100_000, 3, b"shorten the question"),
        (["--ctx-size", "9999999999", "q"], b"", 2, b"ctx_size"),
        (["--kv-type", "q9", "q"], b"", 2, b"kv_type"),
        (["--prompt-template", "/nowhere/t.txt", "q"], b"", 2, b"/nowhere/t.txt"),
        (["--verifier", "v.gguf", "q"], b"", 3, b"v.gguf does not exist"),
    ],
    ids=range(7),
)
def test_what_cannot_be_used_is_told(
    solve: Arts, args: list[str | bytes], stdin: bytes, code: int, message: bytes
) -> None:
    result = solve(*args, stdin=stdin)
    assert (result.returncode, result.stdout) == (code, b"")
    assert message in result.stderr
    assert b"Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, b"missing.gguf"),
        (b"GGUF" + bytes(100), b"missing.gguf"),
        (b"hello", b"missing.gguf"),
        (b"", b"missing.gguf"),
    ],
    ids=["missing", "damaged", "no GGUF", "empty"],
)
@pytest.mark.parametrize("command", ["info", "solve"])
def test_a_file_that_is_no_model_exits_with_3(
    tmp_path: Path, command: str, content: bytes | None, message: bytes
) -> None:
    path = tmp_path / "missing.gguf"
    if content is not None:
        path.write_bytes(content)
    args = [str(path)] if command == "info" else ["--proposer", str(path), "q"]
    result = subprocess.run([*COMMAND, command, *args], capture_output=True, timeout=120, check=False)
    assert (result.returncode, result.stdout) == (3, b"")
    assert message in result.stderr
    assert b"Traceback" not in result.stderr


def info(*args: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, "info", *args], capture_output=True, text=True, timeout=120, check=False)


def test_info_tells_what_a_model_is_and_needs(tiny_model_path: Path) -> None:
    result = info(tiny_model_path, "--ctx-size", "512", "--n", "8")
    assert result.returncode == 0
    assert "qwen2" in result.stdout
    assert "can be searched yes" in result.stdout
    assert "8 traces of up to 512 tokens" in result.stdout
    row = json.loads(info(tiny_model_path, "--ctx-size", "512", "--json").stdout)
    assert (row["architecture"], row["can_fork"], row["ctx_size"]) == ("qwen2", True, 512)


def test_info_says_why_a_model_cannot_be_searched(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "mamba.gguf", TinyModel(architecture="mamba"))
    result = info(path)
    assert result.returncode == 0
    assert "can be searched no: " in result.stdout


def test_a_closed_pipe_is_no_drama(tiny_model_path: Path) -> None:
    command = [*COMMAND, "solve", "--proposer", tiny_model_path, "--n", "2", "--max-tokens", "8", "--json", "-"]
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        process.stdin.write(b"one?\ntwo?\n")
        process.stdin.close()
        errors = process.stderr.read()
        assert process.wait(120) == 3
    assert b"Traceback" not in errors
    assert b"BrokenPipe" not in errors


def endless(path: Path) -> Path:
    """A model that never ends by itself."""
    return write_tiny_gguf(path, TinyModel(bias=dict.fromkeys(range(256, 288), -30.0), ctx_train=1 << 20))


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_ends_with_what_there_is_and_twice_at_once(tmp_path: Path, presses: int) -> None:
    model = endless(tmp_path / "endless.gguf")
    options = ["--n", "2", "--max-tokens", "500000", "--ctx-size", "500000", "--threads", "1", "--json"]
    command = [*COMMAND, "solve", "--proposer", str(model), *options, "q"]
    with subprocess.Popen(command, stdout=-1, stderr=-1) as process:
        assert process.stdout
        assert process.stderr
        for line in process.stderr:
            if b"prompt tokens" in line:
                break
        for _ in range(presses):
            process.send_signal(signal.SIGINT)
        output = process.stdout.read()
        errors = process.stderr.read()
        assert process.wait(120) == 130
    assert b"Traceback" not in errors
    if presses == 1:
        assert json.loads(output)["stopped_by"] == "interrupted"


def test_a_terminal_sees_the_tree_grow_and_is_left_as_it_was(tiny_model_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [*COMMAND, "solve", "--proposer", str(tiny_model_path), "--n", "4", "--max-tokens", "200", "q"]
    seen: list[bytes] = []

    def read() -> None:
        try:
            while chunk := os.read(ours, 65536):
                seen.append(chunk)
        except OSError:  # the other end is closed
            return

    reader = threading.Thread(target=read)
    reader.start()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    result = subprocess.run(command, stdout=-1, stderr=theirs, env=environment, timeout=120, check=False)
    os.close(theirs)
    reader.join(60)
    os.close(ours)
    screen = b"".join(seen)
    assert result.returncode in (0, 1)
    assert b"stopped by" in screen
    assert screen.count(b"\x1b[?25l") == screen.count(b"\x1b[?25h") > 0
    assert b"Traceback" not in screen
