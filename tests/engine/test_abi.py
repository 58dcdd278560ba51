"""One libllama, of the right version and layout, or an ImportError that says what to do."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import llama_cpp.llama_cpp as llama
import pytest

from arts_lite import _core
from arts_lite.engine import abi

ROOT = Path(__file__).parents[2]


def test_the_supported_range_is_the_one_that_the_package_asks_for() -> None:
    tomllib = pytest.importorskip("tomllib", reason="it came with Python 3.11")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    first, second = (".".join(map(str, version)) for version in abi.SUPPORTED)
    need = f"llama-cpp-python>={first},<{second}"
    assert need in project["project"]["dependencies"]
    assert need in project["build-system"]["requires"]


@pytest.mark.parametrize("version", ["0.3.36", "0.3.36.post1"])
def test_a_supported_version_passes(version: str) -> None:
    abi.check_version(version)


@pytest.mark.parametrize("version", ["0.3.35", "0.3.37", "0.4.0", "1.0", "0.2.90", "", "unknown"])
def test_another_version_is_named_with_the_remedy(version: str) -> None:
    with pytest.raises(ImportError, match=r"llama-cpp-python .* is installed.*pip install"):
        abi.check_version(version)


def test_the_extension_calls_the_very_functions_that_llama_cpp_python_calls() -> None:
    found = abi.addresses(_core.required_symbols(), llama)
    assert set(found) == set(_core.required_symbols())
    for name, address in found.items():
        assert address == ctypes.cast(getattr(llama, name), ctypes.c_void_p).value


def test_a_missing_function_is_named() -> None:
    with pytest.raises(ImportError, match="llama_no_such_function"):
        abi.addresses(["llama_decode", "llama_no_such_function"], llama)


def test_a_second_libllama_is_noticed() -> None:
    other = SimpleNamespace(_lib=llama._lib, llama_decode=llama.llama_encode)
    with pytest.raises(ImportError, match="two libllama"):
        abi.addresses(["llama_decode"], other)  # type: ignore[arg-type]


def test_the_compiled_layout_is_llama_cpp_python_s() -> None:
    layout = _core.abi()
    assert {"llama_batch.size", "llama_batch.token", "llama_context_params.size", "llama_model_params.size"} <= set(
        layout
    )
    abi.check_layout(layout, llama)


def test_another_layout_is_refused_field_by_field() -> None:
    with pytest.raises(ImportError, match=r"llama_batch\.pos is 24 but 28 was compiled in.*pip install"):
        abi.check_layout({"llama_batch.pos": 28}, llama)
    with pytest.raises(ImportError, match=r"llama_batch\.gone is None"):
        abi.check_layout({"llama_batch.gone": 0, "no_struct.size": 8}, llama)


def test_another_commit_is_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        abi.check_commit("0c1e570", "0c1e570abc-dirty")
        abi.check_commit("", "0c1e570")
        abi.check_commit("0c1e570", "unknown")
    with pytest.warns(RuntimeWarning, match=r"headers of llama\.cpp aaaa.*bbbb"):
        abi.check_commit("aaaa", "bbbb")


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


def test_without_llama_cpp_python_the_error_says_how_to_install_it() -> None:
    code = "import sys; sys.modules['llama_cpp'] = None\nfrom arts_lite import Engine"
    error = run_python(code).stderr
    assert "ImportError: arts_lite runs models through llama-cpp-python, which is not installed" in error
    assert "GGML_CUDA=on" in error


def test_the_public_names_are_few_and_importing_them_loads_no_model_library() -> None:
    code = (
        "import sys, arts_lite; print(len(arts_lite.__all__) <= 20, 'llama_cpp' in sys.modules, 'torch' in sys.modules)"
    )
    result = run_python(code)
    assert (result.stdout.split(), result.stderr) == (["True", "False", "False"], "")


def test_every_public_name_is_there() -> None:
    import arts_lite

    for name in arts_lite.__all__:
        assert getattr(arts_lite, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        arts_lite.nonsense  # noqa: B018


def test_only_one_libllama_is_mapped() -> None:
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("this system does not list what is mapped")
    libraries = {line.split()[-1] for line in maps.read_text().splitlines() if "libllama" in line}
    assert len(libraries) == 1
