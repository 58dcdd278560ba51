"""The options of `arts-lite solve`, and the settings that they make."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import click

from arts_lite.cli.commands import verbose_option
from arts_lite.cli.texts import unescaped, valid_text
from arts_lite.search import AGGREGATIONS, SCORERS, STRATEGIES
from arts_lite.solver import Solver, SolverConfig

_SAMPLING = ("temperature", "top_p", "top_k", "min_p")
_ENGINE = ("ctx_size", "gpu_layers", "threads", "kv_type", "reproducible")
_SEARCH = (
    *("strategy", "n", "fork_prob", "max_fork_depth", "beam_width", "c_puct"),
    *("confidence", "concurrency", "prune_below", "flow_temperature", "log_prob_weight"),
    *("scorer", "aggregation", "seed", "max_tokens"),
    *("budget_tokens", "budget_seconds", "budget_nodes", "system", "prompt_template"),
)
_Decorator = Callable[[Any], Any]


def option_group(*options: _Decorator) -> _Decorator:
    """Bundle options, in their order."""

    def add(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def _from(low: int) -> click.IntRange:
    return click.IntRange(low)


ctx_size_option = click.option("--ctx-size", type=_from(2), help="Longest trace in tokens, prompt included.")
kv_type_option = click.option(
    "--kv-type", metavar="TYPE", help="Format of the KV cache: f16, q8_0, ...  [default: f16]"
)
traces_option = click.option("--n", type=_from(1), default=16, show_default=True, help="Main traces per question.")
gpu_layers_option = click.option(
    "--gpu-layers", type=_from(-1), help="Layers to put on the GPU; -1: all.  [default: 0]"
)

proposer_options = option_group(
    click.option(
        "--proposer",
        metavar="FILE|hf:OWNER/REPO[:FILE]",
        help="The model (GGUF) that writes the traces.  [default: embedded]",
    ),
    ctx_size_option,
    gpu_layers_option,
    click.option("--threads", type=_from(1), help="CPU threads.  [default: physical cores]"),
    kv_type_option,
    click.option(
        "--reproducible",
        is_flag=True,
        callback=lambda _context, _option, is_given: is_given or None,
        help="Slower: one question at a time; runs on one machine repeat each other to the last bit.",
    ),
    click.option("--system", metavar="TEXT", callback=valid_text, help="System prompt; '' for none."),
    click.option("--prompt-template", metavar="FILE", help="File with {question}, used instead of the chat template."),
)
model_options = option_group(
    proposer_options,
    click.option(
        "--verifier",
        metavar="FILE",
        help="The model (GGUF) that judges the traces, or none.  [default: with the embedded proposer its own]",
    ),
    click.option(
        "--probe",
        metavar="FILE",
        help="Of this very proposer: scores its steps while they are written.",
    ),
)
search_options = option_group(
    click.option(
        "--strategy", type=click.Choice(sorted(STRATEGIES)), help="[default: vote; weighted-vote with a verifier]"
    ),
    traces_option,
    click.option(
        "--fork-prob", type=click.FloatRange(0, 1), help="sdf: chance of a fork after a step.  [default: 0.5]"
    ),
    click.option("--max-fork-depth", type=_from(0), help="sdf: forks above a leaf, at most.  [default: 1]"),
    click.option("--beam-width", type=_from(1), help="beam, dvts, mcts: next steps drawn of a prefix.  [default: 4]"),
    click.option("--c-puct", type=click.FloatRange(0), help="mcts: weight of exploration.  [default: 1.25]"),
    click.option(
        "--confidence",
        type=click.FloatRange(0, 1, max_open=True),
        help="Stop when an answer is right with this probability; 0: never.  [default: flow 0.95, others 0]",
    ),
    click.option(
        "--concurrency", type=_from(1), help="Traces side by side.  [default: all; with --confidence growing waves]"
    ),
    click.option(
        "--prune-below",
        type=click.FloatRange(0, 1),
        help="flow: leave a trace whose flow falls below this share of what it was; 0: never.  [default: 0.5]",
    ),
    click.option(
        "--flow-temperature",
        type=click.FloatRange(0),
        help="flow: how freely places are drawn; 1: as flow is, 0: the best.  [default: 0.3]",
    ),
    click.option(
        "--log-prob-weight",
        type=click.FloatRange(0),
        help="What a nat of a trace's log-prob adds to its log-flow.  [default: the verifier's own]",
    ),
    click.option(
        "--scorer",
        type=click.Choice(sorted(SCORERS)),
        help="What makes a trace good.  [default: the verifier, else logprob]",
    ),
    click.option(
        "--aggregation", type=click.Choice(sorted(AGGREGATIONS)), help="Of a verifier's steps.  [default: its own]"
    ),
    click.option("--seed", type=_from(0), default=0, show_default=True),
    click.option("--max-tokens", type=_from(1), help="Longest trace in generated tokens.  [default: 1024]"),
    click.option("--budget-tokens", type=_from(1), help="Generated tokens per question, all traces together."),
    click.option("--budget-seconds", type=click.FloatRange(0, min_open=True), help="Time per question."),
    click.option("--budget-nodes", type=_from(1), help="Nodes of a question's tree."),
)
sampling_options = option_group(
    click.option("--temperature", type=click.FloatRange(0), help="0: greedy.  [default: the model's, else 0.6]"),
    click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), help="[default: the model's, else 0.95]"),
    click.option("--top-k", type=_from(0), help="0: all tokens.  [default: the model's, else 0]"),
    click.option("--min-p", type=click.FloatRange(0, 1, max_open=True), help="[default: the model's, else 0]"),
    click.option(
        *("--step-delimiter", "step_delimiters"),
        multiple=True,
        metavar="TEXT",
        callback=unescaped,
        help=r"Ends a step; repeatable; \n is a newline.  [default: the model's, else \n\n]",
    ),
)
output_options = option_group(
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object per question to stdout."),
    click.option("--quiet", is_flag=True, help="Nothing on stderr but errors."),
    click.option("--trace", metavar="FILE.jsonl", help="Append the searched trees to a file (.gz, .zst: packed)."),
    verbose_option,
)


def search_settings(options: Mapping[str, Any]) -> SolverConfig:
    """Make the search's settings of the options that were given. Raises UsageError: a value that is out of range."""
    try:
        return SolverConfig(**{name: options[name] for name in _SEARCH if options[name] is not None})
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def load_solver(config: SolverConfig, options: Mapping[str, Any], *, num_questions: int = 1) -> Solver:
    """Load the models. Raises UsageError: an option that only the engine can judge; and what `from_gguf` raises."""
    engine_options = {name: options[name] for name in _ENGINE if options[name] is not None}
    if options["verbose"]:
        engine_options["verbose"] = True
    if num_questions > 1:
        engine_options["num_questions"] = num_questions
    verifier: str | Literal[False] | None = False if options["verifier"] == "none" else options["verifier"]
    try:
        return Solver.from_gguf(options["proposer"], verifier, config, probe=options.get("probe"), **engine_options)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def with_models_defaults(solver: Solver, options: Mapping[str, Any]) -> SolverConfig:
    """Lay the sampling and step options over what the model's file asks for. Raises UsageError: out of range."""
    sampling = {name: options[name] for name in _SAMPLING if options[name] is not None}
    rules = {"delimiters": options["step_delimiters"]} if options["step_delimiters"] else {}
    try:
        return dataclasses.replace(
            solver.config,
            sampling=dataclasses.replace(solver.proposer.default_sampling, **sampling),
            rules=dataclasses.replace(solver.proposer.default_rules, **rules),
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
