"""Every check of the house; CI runs these same sessions. `nox -s tests -- -k fork` passes arguments on."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import nox

nox.needs_version = ">=2024.4.15"
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_external_run = True
nox.options.sessions = ["lint", "types", "layers", "tests", "cpp"]

ROOT = Path(__file__).parent
PROJECT = nox.project.load_toml("pyproject.toml")
HEADERS = [need for need in PROJECT["build-system"]["requires"] if need.startswith("llama-cpp-python")]
PYTHON_FILES = ["arts_lite", "train", "tests", "benchmarks", "examples", "experiments", "noxfile.py"]


@nox.session
def lint(session: nox.Session) -> None:
    """Check the style with ruff."""
    session.install("ruff==0.17.*")
    session.run("ruff", "check", *PYTHON_FILES, *session.posargs)
    session.run("ruff", "format", "--check", *PYTHON_FILES)


@nox.session
def types(session: nox.Session) -> None:
    """Check the types with strict mypy, and the stub against the compiled extension."""
    session.install(".", "mypy>=1.14")
    with session.chdir(_package_tree(session)):
        session.run("mypy", "--config-file", str(ROOT / "pyproject.toml"), *session.posargs)
    session.run("stubtest", "--mypy-config-file", "pyproject.toml", "arts_lite._core")


@nox.session
def layers(session: nox.Session) -> None:
    """Check who imports whom, on a copy of the package as it is installed (nothing is compiled)."""
    session.install("import-linter>=2.1")
    tree = _package_tree(session)
    (tree / "arts_lite" / "_core.py").write_text("", encoding="utf-8")
    with session.chdir(tree):
        session.run("lint-imports", "--no-cache", "--config", str(ROOT / "pyproject.toml"), *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Install the package as a user would, with what the trainers need, and run pytest."""
    session.install(".[test,train]")
    session.run("pytest", *session.posargs)


@nox.session
def cpp(session: nox.Session) -> None:
    """Build csrc/tests with warnings as errors and run them."""
    _ctest(session, "cpp", "-DCMAKE_COMPILE_WARNING_AS_ERROR=ON")


@nox.session
def sanitize(session: nox.Session) -> None:
    """Run csrc/tests under TSan and the real extension under ASan + UBSan; posargs choose the tests (tests/engine)."""
    _ctest(session, "tsan", "-DARTS_SANITIZE=thread", "-DCMAKE_BUILD_TYPE=RelWithDebInfo")
    project = PROJECT["project"]
    needs = [*PROJECT["build-system"]["requires"], *project["dependencies"], *project["optional-dependencies"]["test"]]
    session.install(*needs)
    session.install(
        *("--no-deps", "--no-build-isolation", "--force-reinstall", "."),
        *(
            "-C",
            "cmake.define.ARTS_SANITIZE=address",
            "-C",
            "cmake.build-type=RelWithDebInfo",
            "-C",
            "install.strip=false",
        ),
    )
    runtimes = [_compiler_file("libasan.so"), _compiler_file("libubsan.so"), _compiler_file("libstdc++.so")]
    env = {
        "LD_PRELOAD": " ".join(runtimes),
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
        "ARTS_SANITIZE": "address",
        "PYTHONMALLOC": "malloc",
    }
    session.run("pytest", "-p", "no:cacheprovider", *(session.posargs or ["tests/engine"]), env=env)


@nox.session
def bench(session: nox.Session) -> None:
    """Run the quick benchmarks on the model given: `nox -s bench -- --model FILE.gguf`."""
    session.install(".")
    out = ROOT / "benchmarks" / "out"
    out.mkdir(exist_ok=True)
    for name in ("decode", "fork", "solve"):
        arguments = [*session.posargs, "--quick", "--json", str(out / f"{name}.json")]
        session.run("python", f"benchmarks/{name}.py", *arguments)


def _ctest(session: nox.Session, name: str, *defines: str) -> None:
    session.install(*HEADERS)
    find_headers = "import sysconfig; print(sysconfig.get_path('purelib') + '/include')"
    headers = str(session.run("python", "-c", find_headers, silent=True)).strip()
    build = f"build/{name}"
    session.run(
        *(
            "cmake",
            "-S",
            ".",
            "-B",
            build,
            "-DARTS_BUILD_CPP_TESTS=ON",
            f"-DARTS_LLAMA_INCLUDE_DIR={headers}",
            *defines,
        ),
        external=True,
    )
    session.run("cmake", "--build", build, "--parallel", "2", external=True)
    session.run("ctest", "--test-dir", build, "--output-on-failure", *session.posargs, external=True)


def _package_tree(session: nox.Session) -> Path:
    """Copy the package's sources as they are installed: `train` is `arts_lite.train`."""
    tree = Path(session.create_tmp())
    shutil.rmtree(tree / "arts_lite", ignore_errors=True)
    shutil.copytree(ROOT / "arts_lite", tree / "arts_lite")
    shutil.copytree(ROOT / "train", tree / "arts_lite" / "train")
    return tree


def _compiler_file(name: str) -> str:
    """Path of a library that the C++ compiler links with."""
    path = subprocess.run(["c++", f"-print-file-name={name}"], check=True, capture_output=True, text=True).stdout
    return path.strip()
