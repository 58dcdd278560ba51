"""Bind the extension to the libllama that llama-cpp-python has loaded, or say why that cannot be done."""

from __future__ import annotations

import ctypes
import functools
import re
import warnings
from types import ModuleType
from typing import Any, cast

SUPPORTED = ((0, 3, 36), (0, 3, 37))
"""Versions of llama-cpp-python that `_core` is compiled for and tested with: from the first to below the second."""

_RANGE = ">={}.{}.{},<{}.{}.{}".format(*SUPPORTED[0], *SUPPORTED[1])
_INSTALL = (
    f'for the CPU: pip install "llama-cpp-python{_RANGE}"; '
    f'for CUDA: CMAKE_ARGS="-DGGML_CUDA=on" pip install "llama-cpp-python{_RANGE}"'
)


@functools.cache
def bound_core() -> ModuleType:
    """Import llama_cpp, check that the extension was compiled for it, hand its addresses over; returns the extension.

    Raises:
        ImportError: llama-cpp-python is missing, of an untested version, or laid out differently; the extension is
            missing. The text says what was found, what is meant and what to run.
    """
    llama = _import_llama()
    check_version(_version())
    try:
        from arts_lite import _core
    except ImportError as error:
        raise ImportError(
            f"arts_lite's compiled part (arts_lite._core) cannot be imported: {error}. Install the package, "
            "for example with: pip install --force-reinstall --no-deps arts-lite (or pip install . in a checkout)"
        ) from error
    check_layout(_core.abi(), llama)
    check_commit(_core.build_commit(), loaded_commit(llama))
    _core.bind(addresses(_core.required_symbols(), llama))
    return _core


def _import_llama() -> ModuleType:
    try:
        import llama_cpp.llama_cpp as llama
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "llama_cpp":
            raise
        raise ImportError(
            f"arts_lite runs models through llama-cpp-python, which is not installed. Run {_INSTALL}"
        ) from None
    except (OSError, RuntimeError) as error:
        raise ImportError(
            f"llama-cpp-python is installed but its libllama does not load: {error}. Run {_INSTALL}"
        ) from error
    return cast(ModuleType, llama)


def _version() -> str:
    import llama_cpp

    return str(llama_cpp.__version__)


def check_version(version: str) -> None:
    """Raise ImportError if this version of llama-cpp-python is outside the tested range."""
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    if not SUPPORTED[0] <= numbers < SUPPORTED[1]:
        raise ImportError(
            f"llama-cpp-python {version} is installed, but arts_lite is compiled for and tested with {_RANGE}. "
            f"Run {_INSTALL}"
        )


def check_layout(compiled: dict[str, int], llama: ModuleType) -> None:
    """Compare struct sizes and offsets of the extension with llama-cpp-python's; raise ImportError if they differ."""
    differing = []
    for key, expected in sorted(compiled.items()):
        struct, _, field = key.partition(".")
        found = _measure(getattr(llama, struct, None), field)
        if found != expected:
            differing.append(f"{key} is {found} but {expected} was compiled in")
    if differing:
        raise ImportError(
            f"arts_lite was compiled against another llama.cpp than llama-cpp-python {_version()} brings: "
            f"{'; '.join(differing[:4])}. Build arts_lite again: pip install --force-reinstall --no-deps arts-lite"
        )


def _measure(struct: Any, field: str) -> int | None:
    if struct is None:
        return None
    if field == "size":
        return ctypes.sizeof(struct)
    descriptor = getattr(struct, field, None)
    return None if descriptor is None else int(descriptor.offset)


def addresses(names: list[str], llama: ModuleType) -> dict[str, int]:
    """Look the functions up in the very library that llama-cpp-python calls; raise ImportError if one is missing."""
    found = {}
    for name in names:
        function = library_function(name, llama)
        if function is None:
            raise ImportError(f"llama-cpp-python {_version()} lacks the function {name}. Run {_INSTALL}")
        found[name] = int(ctypes.cast(function, ctypes.c_void_p).value or 0)
        bound = getattr(llama, name, None)  # llama-cpp-python's own binding of the same name
        if bound is not None and ctypes.cast(bound, ctypes.c_void_p).value != found[name]:
            raise ImportError(
                f"two libllama are loaded: {name} has two addresses. Start a fresh process with only one llama.cpp"
            )
    return found


def library_function(name: str, llama: ModuleType | None = None) -> Any:
    """Find a function of libllama, or of the ggml libraries that it brought; None if there is none of that name."""
    library = (llama or _import_llama())._lib
    try:
        # a fresh pointer: prototypes set here must not change those of llama-cpp-python's own functions
        return ctypes.CFUNCTYPE(ctypes.c_void_p)((name, library))
    except AttributeError:
        return None


def loaded_commit(llama: ModuleType) -> str:
    """Return the commit that the loaded ggml reports, or ''."""
    function = library_function("ggml_commit", llama)
    if function is None:
        return ""
    function.restype = ctypes.c_char_p
    return (function() or b"").decode("utf-8", "replace")


def check_commit(compiled: str, loaded: str) -> None:
    """Warn if the headers and the library come from different commits of llama.cpp."""
    compiled, loaded = compiled.removesuffix("-dirty"), loaded.removesuffix("-dirty")
    if not compiled or not loaded or "unknown" in (compiled, loaded):
        return
    if not (compiled.startswith(loaded) or loaded.startswith(compiled)):
        warnings.warn(
            f"arts_lite was compiled with the headers of llama.cpp {compiled}, but llama-cpp-python runs {loaded}; "
            "sizes and symbols agree. Build arts_lite again if anything is odd",
            RuntimeWarning,
            stacklevel=2,
        )
