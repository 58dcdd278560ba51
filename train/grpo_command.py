"""`arts-lite train grpo`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import click
import torch

from arts_lite.tasks import TASKS, make_task, with_difficulty
from arts_lite.train.commands import pick_device, pick_precision, stopped_by_interrupt
from arts_lite.train.export import FILE_TYPES
from arts_lite.train.extinction import BankTrace, bank_of
from arts_lite.train.grpo import LOSS_NORMALISERS, GrpoConfig, GrpoRun
from arts_lite.train.policy import Policy, read_policy
from arts_lite.train.progress import TrainingDisplay
from arts_lite.train.reward import Question
from arts_lite.train.rundir import read_lines, write_atomically

_DEFAULTS = {field.name: field.default for field in dataclasses.fields(GrpoConfig)}
_TINY_LEARNING_RATE, _LEARNING_RATE = 1e-5, 1e-6
_TINY_NORM_LEARNING_RATE = 1e-2
_MAX_PROBLEMS = 20_000
_INTERRUPTED = 130


def _count(flag: str, name: str, text: str, *, low: int = 1) -> Callable[[Any], Any]:
    return click.option(
        flag, name, type=click.IntRange(low), default=_DEFAULTS[name], show_default=True, metavar="N", help=text
    )


@click.command()
@click.option("--base", metavar="FILE.gguf|embedded|DIR|NAME", required=True, help="A tiny GGUF, or a HF model.")
@click.option("--task", "tasks", type=click.Choice(TASKS), multiple=True, required=True, help="May be given twice.")
@click.option("--data", metavar="FILE|hf:OWNER/NAME", help="gsm8k, math, jsonl: where the problems are.")
@click.option("--dev-data", metavar="FILE|hf:OWNER/NAME", help="gsm8k, math, jsonl: problems of the dev metric.")
@click.option("--num-problems", type=click.IntRange(1), metavar="N", help="To train on.  [default: all, or fresh ones]")
@click.option("--problem-seed", type=int, default=0, show_default=True, help="Of generated problems.")
@click.option("--difficulty", metavar="NAME=VALUE,...", help="Of generated problems; with one --task.")
@click.option("--bank", metavar="DIR", help="Trees of the base (arts-lite sdf): the extinction probe's traces.")
@click.option("--template", metavar="FILE.gguf", help="GGUF of a HF base: write the tuned policy as a GGUF too.")
@click.option("--max-bank", type=click.IntRange(2), default=2000, show_default=True, metavar="N", help="Traces of it.")
@click.option("--out", metavar="DIR", required=True, help="Folder of the run; the same one again goes on with it.")
@click.option(
    *("--learning-rate", "learning_rates"),
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    multiple=True,
    help="Given several times: one run for each.  [default: 1e-5 for a tiny base, else 1e-6]",
)
@click.option(
    "--norm-learning-rate",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Of the last norm, whose size is the temperature.  [default: 1e-2 for a tiny base, else the same]",
)
@_count("--steps", "num_steps", "Gradient steps.")
@_count("--prompts", "num_prompts", "Per step.")
@_count("--generations", "num_generations", "Per prompt (G).", low=2)
@_count("--max-tokens", "max_tokens", "Of a completion; a longer one is cut and earns nothing.")
@_count("--rows-at-once", "rows_at_once", "Completions whose gradient is computed at once.")
@_count("--warmup-steps", "warmup_steps", "Until the full learning rate.", low=0)
@_count("--dev-every", "dev_every", "Steps between measurements of the dev metric.")
@_count("--num-dev", "num_dev", "Dev problems; 0: none.", low=0)
@_count("--probe-every", "probe_every", "Steps between extinction probes.")
@_count("--save-every", "save_every", "Steps between checkpoints.")
@click.option("--loss-type", type=click.Choice(list(LOSS_NORMALISERS)), default="dapo", show_default=True)
@click.option("--beta", type=click.FloatRange(0), default=0.0, show_default=True, help="Weight of the KL to the base.")
@click.option("--system", metavar="TEXT", help="System prompt of a Hugging Face model; '' for none.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--file-type", type=click.Choice(list(FILE_TYPES)), default="F16", show_default=True)
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16"]), default="auto", show_default=True)
@click.option("--device", default="auto", show_default=True, metavar="cpu|cuda|auto")
@click.option("--threads", type=click.IntRange(1), help="CPU threads.  [default: torch's choice]")
@click.option("--quiet", is_flag=True, help="Nothing on stderr but errors.")
@click.pass_context
def grpo(ctx: click.Context, /, **options: Any) -> None:
    """Tune a model by GRPO on a task's prompts and 0/1 reward: the baseline of the comparison.

    Ends with DIR/policy.gguf (a tiny base) or DIR/policy/ (a Hugging Face model). Ctrl-C keeps what has been learnt;
    run the same command again to go on. The baseline counts only if it clearly raises dev_pass_at_1 (metrics.jsonl).
    """
    if options["threads"] is not None:
        torch.set_num_threads(options["threads"])
    device = pick_device(options["device"])
    is_tiny = options["base"].endswith(".gguf") or options["base"] == "embedded"
    options["precision"] = "fp32" if is_tiny else pick_precision(options["precision"], device)
    if is_tiny and options["norm_learning_rate"] is None:
        options["norm_learning_rate"] = _TINY_NORM_LEARNING_RATE
    rates = options["learning_rates"] or (_TINY_LEARNING_RATE if is_tiny else _LEARNING_RATE,)
    configs = [_config(options, rate) for rate in dict.fromkeys(rates)]
    out, summary = Path(options["out"]), []
    for config in configs:
        folder = out if len(configs) == 1 else out / f"lr-{config.learning_rate:g}"
        path = _train(config, options, folder, device)
        if path is None:
            ctx.exit(_INTERRUPTED)
        summary.append({"learning_rate": config.learning_rate, "policy": str(path), **_dev_change(folder)})
    if len(configs) > 1:
        write_atomically(out / "sweep.json", json.dumps(summary, indent=1) + "\n")
        for row in summary if not options["quiet"] else ():
            click.echo(json.dumps(row), err=True)


def _config(options: dict[str, Any], learning_rate: float) -> GrpoConfig:
    settings = {name: options[name] for name in _DEFAULTS if name in options}
    settings["rows_at_once"] = min(settings["rows_at_once"], settings["num_prompts"] * settings["num_generations"])
    try:
        return GrpoConfig(**{**settings, "learning_rate": learning_rate})
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _train(config: GrpoConfig, options: dict[str, Any], folder: Path, device: torch.device) -> Path | None:
    display = TrainingDisplay(config.num_steps, "steps", is_quiet=options["quiet"])
    policy = read_policy(options["base"], device=device, system=options["system"])
    questions = _questions(policy, config, options, "train")
    dev = _questions(policy, config, options, "dev") if config.num_dev else []
    template = None if options["template"] is None else Path(options["template"])
    bank = _bank(policy, options)
    run = GrpoRun(config, policy, questions, dev, folder, bank=bank, template=template, tell=display.show)
    rate = config.learning_rate
    display.say(f"learning rate {rate:g}: {len(questions):,} problems, {config.num_rows} samples a step")
    with display, stopped_by_interrupt(run.stop):
        path = run.train()
    display.say("interrupted; run the same command to go on" if path is None else f"{path}: {config.num_steps} steps")
    return path


def _questions(policy: Policy, config: GrpoConfig, options: dict[str, Any], split: str) -> list[Question]:
    """Take problems of all tasks in turn."""
    is_dev = split == "dev"
    streams = []
    for name in options["tasks"]:
        task = make_task(name)
        policy.check_task(task)
        if options["difficulty"] is not None:
            try:
                task = with_difficulty(task, options["difficulty"])
            except ValueError as error:
                raise click.UsageError(str(error)) from error
        source = options["dev_data" if is_dev else "data"]
        if task.generate is not None:
            problems = task.generate(options["problem_seed"], split)
        elif source is not None:
            problems = task.read(source, split)
        elif is_dev:
            continue
        else:
            raise click.UsageError(f"task {name} reads its problems; name them with --data")
        streams.append(Question(task, problem) for problem in problems)
    wanted = config.num_dev if is_dev else options["num_problems"]
    if wanted is None:
        wanted = min(config.num_steps * config.num_prompts, _MAX_PROBLEMS)
    return list(islice(_in_turn(streams), wanted))


def _in_turn(streams: Sequence[Iterator[Question]]) -> Iterator[Question]:
    """Take one of each stream after the other, until one ends."""
    for stream in cycle(streams):
        question = next(stream, None)
        if question is None:
            return
        yield question


def _bank(policy: Policy, options: dict[str, Any]) -> list[BankTrace]:
    if options["bank"] is None:
        return []
    from arts_lite.experiments.folder import read_folder

    return bank_of(read_folder(options["bank"]), policy.encode, max_traces=options["max_bank"])


def _dev_change(folder: Path) -> dict[str, float | None]:
    """Say what pass@1 was on dev problems before and after."""
    values = [line["dev_pass_at_1"] for line in read_lines(folder / "metrics.jsonl") if "dev_pass_at_1" in line]
    return {"dev_before": values[0] if values else None, "dev_after": values[-1] if values else None}
