"""What every benchmark shares: options, settings to print, medians, JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

PROMPT = (
    "Janet's ducks lay 16 eggs per day. She eats three for breakfast every morning and bakes muffins for her friends "
    "every day with four. She sells the remainder at the farmers' market daily for $2 per fresh duck egg. How much in "
    "dollars does she make every day at the farmers' market?"
)


def parser(description: str, *, needs_model: bool = True) -> argparse.ArgumentParser:
    """Options that all benchmarks take."""
    options = argparse.ArgumentParser(description=description)
    default = "" if needs_model else "; default: the embedded one"
    options.add_argument("--model", required=needs_model, type=Path, help=f"GGUF file{default}")
    options.add_argument("--threads", type=int, default=None, help="default: the engine's own choice")
    options.add_argument("--gpu-layers", type=int, default=0)
    options.add_argument("--repeats", type=int, default=3, help="interleaved repeats; medians are reported")
    options.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    options.add_argument("--json", type=Path, default=None, help="write the rows to this file")
    return options


def whole_numbers(text: str) -> list[int]:
    """Parse '1,8,16'."""
    return [int(part) for part in text.split(",")]


def settings(model: Path, **more: object) -> dict[str, Any]:
    """What a figure means nothing without."""
    return {
        "model": model.name,
        "model_bytes": model.stat().st_size,
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "llama-cpp-python": metadata.version("llama-cpp-python"),
        "arts-lite": metadata.version("arts-lite"),
        **more,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def interleaved(repeats: int, measure: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Run each measurement once per repeat, in turn, so that a noisy moment meets all of them."""
    results: dict[str, list[float]] = {name: [] for name in measure}
    for _ in range(repeats):
        for name, function in measure.items():
            results[name].append(function())
    return results


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def report(name: str, config: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], path: Path | None) -> None:
    """Print settings and a table; write both as JSON if a path is given."""
    print(f"# {name}")
    for key, value in config.items():
        print(f"  {key}: {value}")
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [columns, *([_cell(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    for line in cells:
        print("  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)))
    sys.stdout.flush()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        document = {"benchmark": name, "settings": dict(config), "rows": [dict(row) for row in rows]}
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
