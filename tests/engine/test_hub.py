"""Names of models: paths, and ``hf:OWNER/REPO[:FILE]`` without touching the network."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from arts_lite.engine.hub import pick_file, resolve
from arts_lite.errors import ModelLoadError


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """A hub with one repository; `hub["fetched"]` lists what was asked for."""
    state: dict[str, object] = {
        "files": ["README.md", "m-q8_0.gguf", "m-q4_k_m.gguf", "mmproj-f16.gguf"],
        "fetched": [],
    }

    def download(repo: str, file: str) -> str:
        if "error" in state:
            raise state["error"]  # type: ignore[misc]
        state["fetched"].append((repo, file))  # type: ignore[attr-defined]
        return f"/cache/{repo}/{file}"

    module = SimpleNamespace(hf_hub_download=download, list_repo_files=lambda _repo: state["files"])
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return state


def test_a_path_stays_a_path() -> None:
    assert resolve("a/b.gguf") == Path("a/b.gguf")
    assert resolve(Path("x.gguf")) == Path("x.gguf")
    assert resolve("~/x.gguf") == Path.home() / "x.gguf"


def test_a_named_file_is_fetched(hub: dict[str, object]) -> None:
    assert resolve("hf:me/Model-1.5B:dir/m.gguf") == Path("/cache/me/Model-1.5B/dir/m.gguf")
    assert hub["fetched"] == [("me/Model-1.5B", "dir/m.gguf")]


def test_without_a_file_the_usual_quantisation_is_taken(hub: dict[str, object]) -> None:
    assert resolve("hf:me/m").name == "m-q4_k_m.gguf"


def test_all_parts_of_a_split_model_are_fetched(hub: dict[str, object]) -> None:
    assert resolve("hf:me/m:x-00001-of-00003.gguf").name == "x-00001-of-00003.gguf"
    assert [file for _, file in hub["fetched"]] == [f"x-0000{part}-of-00003.gguf" for part in (1, 2, 3)]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["hf:", "hf:repo", "hf:a/b/c", "hf:a/b:", "hf:a b/c", "hf:a/b:c:d"])
def test_a_malformed_name_says_how_to_write_it(hub: dict[str, object], name: str) -> None:
    with pytest.raises(ModelLoadError, match="write hf:OWNER/REPO"):
        resolve(name)


def test_being_offline_is_explained(hub: dict[str, object]) -> None:
    hub["error"] = ConnectionError("no route to host\nlong traceback")
    with pytest.raises(ModelLoadError, match=r"ConnectionError: no route to host\); check the name and the connection"):
        resolve("hf:me/m:m.gguf")


def test_without_the_hub_s_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModelLoadError, match=r"arts-lite\[hub\]"):
        resolve("hf:me/m")


def test_a_choice_that_is_not_clear_is_left_to_the_user() -> None:
    assert pick_file("n", ["only.gguf"]) == "only.gguf"
    assert pick_file("n", ["a-00001-of-00002.gguf", "a-00002-of-00002.gguf"]) == "a-00001-of-00002.gguf"
    with pytest.raises(ModelLoadError, match=r"name one of them: a\.gguf, b\.gguf"):
        pick_file("n", ["b.gguf", "a.gguf"])
    with pytest.raises(ModelLoadError, match=r"no \.gguf file"):
        pick_file("n", ["model.safetensors"])
