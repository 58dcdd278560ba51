"""Gather what benchmarks/gpu_check.sh left in a folder into one JSON file. Fails if a part failed."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any


def main() -> None:
    results, target = Path(sys.argv[1]), Path(sys.argv[2])
    parts = {path.stem: read_part(path) for path in sorted(results.glob("*.status"))}
    whole = {
        "gpus": gpus(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "versions": {name: metadata.version(name) for name in ("arts-lite", "llama-cpp-python", "numpy")},
        "parts": parts,
    }
    target.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    failed = [name for name, part in parts.items() if part["exit_status"] != 0]
    print(f"{target}: {len(parts)} parts, failed: {', '.join(failed) or 'none'}")
    sys.exit(1 if failed else 0)


def read_part(status: Path) -> dict[str, Any]:
    """One part: how it ended, its JSON if it wrote any, and the end of what it printed."""
    part: dict[str, Any] = {"exit_status": int(status.read_text(encoding="utf-8"))}
    measured, log = status.with_suffix(".json"), status.with_suffix(".log")
    if measured.exists():
        part["result"] = json.loads(measured.read_text(encoding="utf-8"))
    else:
        part["output"] = log.read_text(encoding="utf-8", errors="replace")[-6000:]
    return part


def gpus() -> list[str]:
    """What nvidia-smi tells of each card; empty without it."""
    fields = "name,driver_version,memory.total,compute_cap"
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().splitlines()
    except (OSError, subprocess.CalledProcessError):
        return []


if __name__ == "__main__":
    main()
