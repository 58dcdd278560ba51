"""A training run's folder: its configuration, its metrics, and checkpoints that survive a crash at any moment."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from arts_lite.errors import TrainingError

_TOLD = ("arts-lite", "torch", "numpy", "gguf", "transformers", "peft", "trl", "accelerate", "llama-cpp-python")
_CONFIG, _METRICS, _CHECKPOINT = "config.json", "metrics.jsonl", "checkpoint.pt"


class RunDirectory:
    """One run's files.

    Args:
        path: made if it is missing.
        config: what the run is; JSON-ready. A folder belongs to one configuration.

    Raises:
        TrainingError: the folder holds another run, or cannot be used.
    """

    def __init__(self, path: Path, config: Mapping[str, Any]) -> None:
        self.path = path
        told = path / _CONFIG
        config = json.loads(json.dumps(config))
        try:
            path.mkdir(parents=True, exist_ok=True)
            found = json.loads(told.read_text(encoding="utf-8"))["config"] if told.exists() else None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TrainingError(f"{path} cannot be used as a run's folder ({error}); name another one") from error
        if found is None:
            write_atomically(told, json.dumps({"config": config, "versions": versions()}, indent=1) + "\n")
        elif found != config:
            changed = sorted(key for key in {*found, *config} if found.get(key) != config.get(key))
            raise TrainingError(
                f"{path} holds a run of other settings ({', '.join(changed)}); give the same ones to go on, or name "
                "another folder"
            )

    def load(self, device: torch.device, *, is_writer: bool = True) -> dict[str, Any] | None:
        """Read the newest checkpoint; None: there is none. Raises TrainingError: it is damaged.

        Args:
            is_writer: whether this process drops metrics of later steps; of several, one does.
        """
        state = self.load_state(_CHECKPOINT, device)
        if state is not None and is_writer:
            self.forget_metrics_after(int(state["step"]))
        return state

    def load_state(self, name: str, device: torch.device) -> dict[str, Any] | None:
        """Read tensors and numbers that `save_state` wrote; None: there are none. Raises TrainingError: damaged."""
        path = self.path / name
        if not path.exists():
            return None
        try:
            # one of several processes on a CPU computes on "cpu:0", which torch knows no way to
            place = "cpu" if device.type == "cpu" else device
            state: dict[str, Any] = torch.load(path, map_location=place, weights_only=True)
        except Exception as error:  # torch raises whatever its unpickler met
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise TrainingError(f"{path} is no checkpoint ({reason}); remove it to start anew") from error
        return state

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint, or leave the old one as it is. Raises TrainingError: the disk takes no more."""
        self.save_state(_CHECKPOINT, state)

    def save_state(self, name: str, state: Mapping[str, Any]) -> None:
        """Replace a file of tensors and numbers, or leave the old one as it is. Raises TrainingError: a full disk."""
        temporary = self.path / f"{name}.new"
        try:
            with temporary.open("wb") as file:
                torch.save(dict(state), file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path / name)
        except (OSError, RuntimeError) as error:  # torch's zip writer raises RuntimeError on a full disk
            with suppress(OSError):
                temporary.unlink()
            raise TrainingError(
                f"{self.path / name} could not be written ({error}); the one before is whole. Make room and "
                "run the same command again"
            ) from error

    def log(self, **values: Any) -> None:
        """Append one line of metrics. Raises TrainingError: the disk takes no more."""
        path = self.path / _METRICS
        try:
            append_line(path, values)
        except OSError as error:
            raise TrainingError(
                f"{path} could not be written ({error}); the last checkpoint is whole. Make room and run the same "
                "command again"
            ) from error

    def metrics(self) -> Iterator[dict[str, Any]]:
        """Read the metrics; a last line that was cut off is left out."""
        return read_lines(self.path / _METRICS)

    def forget_metrics_after(self, step: int) -> None:
        """Drop the metrics of later steps: what was done after the checkpoint will be done again, and logged again."""
        keep_lines_until(self.path / _METRICS, step)


def append_line(path: Path, values: Mapping[str, Any]) -> None:
    """Append to a file of JSON lines."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(values) + "\n")


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Read a file of JSON lines; a last line that was cut off is left out, and so is a file that is not there."""
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        with suppress(ValueError):
            yield json.loads(line)


def keep_lines_until(path: Path, step: int) -> None:
    """Drop the lines of later steps from a file of JSON lines, if there is one."""
    if not path.exists():
        return
    kept = [values for values in read_lines(path) if values.get("step", 0) <= step]
    write_atomically(path, "".join(json.dumps(values) + "\n" for values in kept))


def write_atomically(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a name to write to; the file takes its place at `path` when all went well."""
    temporary = path.with_name(path.name + ".new")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink()


def versions() -> dict[str, str]:
    """Versions of what a run depends on."""
    found = {"python": platform.python_version()}
    for package in _TOLD:
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found
