"""`arts-lite info`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from arts_lite.cli.commands import verbose_option
from arts_lite.cli.options import ctx_size_option, gpu_layers_option, kv_type_option, traces_option
from arts_lite.cli.texts import one_line

if TYPE_CHECKING:
    from arts_lite.engine import ModelDescription

_MAX_SHOWN = 120
_ENGINE = ("ctx_size", "kv_type", "gpu_layers")


@click.command()
@click.argument("file", metavar="FILE|hf:OWNER/REPO[:FILE]")
@ctx_size_option
@traces_option
@kv_type_option
@gpu_layers_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@verbose_option
def info(file: str, n: int, as_json: bool, **options: Any) -> None:
    """Tell what a GGUF FILE is, whether a search can fork it, and what that would need.

    Reads the file's header only, so it is quick for a model of any size.
    """
    from arts_lite.engine import EngineConfig, describe

    try:
        given = {name: options[name] for name in _ENGINE if options[name] is not None}
        config = EngineConfig(num_traces=n, **given)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    description = describe(file, config)
    if as_json:
        click.echo(json.dumps(description.to_dict(), ensure_ascii=False, default=str))
        return
    rows = [*_file_rows(description), *_search_rows(description, n), ("GPUs seen", _devices())]
    for name, value in rows:
        click.echo(f"{name:<16}{one_line(value)}")


def _file_rows(one: ModelDescription) -> list[tuple[str, str]]:
    size = f", {one.size_label}" if one.size_label else ""
    window = f", sliding window {one.sliding_window}" if one.sliding_window else ""
    template = "the file's chat template" if one.chat_template else "none: a base model, asked in plain text"
    rows = [
        ("name", one.name),
        ("file", one.path),
        ("architecture", f"{one.architecture}{size}, {one.quantisation}"),
        ("parameters", f"{one.num_params:,} in {_bytes(one.num_bytes)}"),
        (
            "layers",
            f"{one.num_layers}, {one.dim} wide, {one.num_heads} heads, {one.num_kv_heads} for the cache{window}",
        ),
        ("trained for", f"{one.ctx_train:,} tokens"),
        ("vocabulary", f"{one.num_tokens:,} tokens ({one.tokenizer})"),
        ("chat", template),
    ]
    return rows + [(key, _shortened(str(value))) for key, value in one.arts.items()]


def _shortened(text: str) -> str:
    """A verifier's head is thousands of characters of base64."""
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}... ({len(text)} characters)"


def _search_rows(one: ModelDescription, num_traces: int) -> list[tuple[str, str]]:
    if not one.can_fork:
        return [("can be searched", f"no: {one.why_not}")]
    return [
        ("can be searched", "yes: its cache can be forked anywhere"),
        ("a search needs", f"{_bytes(one.num_total_bytes)}, {_bytes(one.num_cache_bytes)} of it for the cache"),
        ("", f"of {one.num_cells:,} cells: {num_traces} traces of up to {one.ctx_size:,} tokens, prompt shared"),
    ]


def _devices() -> str:
    from arts_lite.engine.machine import gpu_devices

    devices = [f"{one.name} ({_bytes(one.free)} of {_bytes(one.total)} free)" for one in gpu_devices()]
    return ", ".join(devices) or "none (a llama-cpp-python built for CUDA or Metal shows them)"


def _bytes(number: int) -> str:
    size, unit = float(number), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{number} B" if unit == "B" else f"{size:.1f} {unit}"
