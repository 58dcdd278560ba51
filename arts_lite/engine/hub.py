"""Find the file that a user names: a path, or ``hf:OWNER/REPO[:FILE]`` on the Hugging Face hub (extra ``[hub]``)."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from arts_lite.errors import ModelLoadError

_NAME = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+)(?::(?P<file>[^:]+))?")
_PREFERRED = ("q4_k_m", "q4_0", "q5_k_m", "q8_0")
_LATER_PART = re.compile(r"-(?!00001)\d{5}-of-\d{5}\.gguf$")


def resolve(name: str | os.PathLike[str]) -> Path:
    """Return the local path of a model; downloads (once) what is named ``hf:OWNER/REPO[:FILE]``.

    Raises:
        ModelLoadError: huggingface_hub is missing, the hub cannot be reached, no such repository or file.
    """
    if not str(name).startswith("hf:"):
        return Path(name).expanduser()
    match = _NAME.fullmatch(str(name))
    if match is None:
        raise ModelLoadError(f"{name!r} is no model name; write hf:OWNER/REPO or hf:OWNER/REPO:FILE.gguf")
    try:
        import huggingface_hub
    except ImportError:
        raise ModelLoadError(f"{name} needs huggingface_hub; run: pip install 'arts-lite[hub]'") from None
    try:
        file = match["file"] or pick_file(str(name), huggingface_hub.list_repo_files(match["repo"]))
        path = huggingface_hub.hf_hub_download(match["repo"], file)
        for other in _other_parts(file):
            huggingface_hub.hf_hub_download(match["repo"], other)
        return Path(path)
    except ModelLoadError:
        raise
    except Exception as error:  # the hub's client raises its own, its HTTP library's and plain OS errors
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelLoadError(
            f"{name} could not be fetched ({type(error).__name__}: {first_line}); check the name and the connection, "
            "or download the file yourself and pass its path"
        ) from error


def pick_file(name: str, files: Sequence[str]) -> str:
    """Choose a repository's file when none is named: the only one, else the usual quantisations in order."""
    models = [
        file
        for file in sorted(files)
        if file.endswith(".gguf") and not _LATER_PART.search(file) and "mmproj" not in file.lower()
    ]
    if not models:
        raise ModelLoadError(f"{name} holds no .gguf file; name a repository of GGUF files")
    if len(models) == 1:
        return models[0]
    for quantisation in _PREFERRED:
        for file in models:
            if quantisation in file.lower():
                return file
    raise ModelLoadError(f"{name} holds {len(models)} models; name one of them: {', '.join(models[:8])}")


def _other_parts(file: str) -> list[str]:
    match = re.fullmatch(r"(.*)-00001-of-(\d{5})\.gguf", file)
    if match is None:
        return []
    return [f"{match[1]}-{part:05d}-of-{match[2]}.gguf" for part in range(2, int(match[2]) + 1)]
