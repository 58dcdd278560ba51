"""The group of commands: quick to start, and a border that lets no traceback through."""

from __future__ import annotations

import subprocess
import sys

from click.testing import CliRunner

from arts_lite.cli import COMMANDS, main


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


def test_help_lists_every_command_and_imports_none() -> None:
    result = python(
        "import sys\n"
        "from arts_lite.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: code = end.code\n"
        "heavy = {'numpy', 'rich', 'llama_cpp', 'arts_lite.solver', 'arts_lite._core'} & set(sys.modules)\n"
        "assert code == 0 and not heavy, heavy"
    )
    assert result.returncode == 0, result.stderr
    for name, (_, text) in COMMANDS.items():
        assert name in result.stdout
        assert text in " ".join(result.stdout.split())


def test_without_llama_cpp_help_works_and_a_run_says_what_is_missing() -> None:
    block = "import sys\nsys.modules['llama_cpp'] = None\nfrom arts_lite.cli import main\n"
    for arguments in (["--help"], ["solve", "--help"], ["info", "--help"]):
        result = python(f"{block}main({arguments})")
        assert result.returncode == 0, result.stderr
    for arguments in (["info", "x.gguf"], ["solve", "--proposer", "x.gguf", "q"]):
        result = python(f"{block}main({arguments})")
        assert result.returncode == 3
        assert "llama-cpp-python" in result.stderr
        assert "Traceback" not in result.stderr


def test_an_unknown_command_is_wrong_usage() -> None:
    result = CliRunner().invoke(main, ["dance"])
    assert result.exit_code == 2
    assert "No such command 'dance'" in result.stderr


def test_the_version_is_shown() -> None:
    result = CliRunner().invoke(main, ["--version"])
    assert (result.exit_code, result.stdout.split()[0]) == (0, "arts-lite,")
