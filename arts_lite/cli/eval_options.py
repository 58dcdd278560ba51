"""The options of `arts-lite eval`."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path
from typing import Any

import click

from arts_lite.cli.commands import verbose_option
from arts_lite.cli.options import option_group, proposer_options, sampling_options
from arts_lite.cli.sdf_options import problem_options
from arts_lite.experiments.methods import POOL_STRATEGIES
from arts_lite.search import STRATEGIES
from arts_lite.solver import SolverConfig

STOP = "+stop"
CONFIDENCE = 0.95
"""Of a strategy that stops early, unless --set says otherwise."""
NEED_FLOWS = {"flow", f"best-of-n{STOP}", f"weighted-vote{STOP}"}
"""Strategies that read a verifier's values as flows."""
_POOLED = {"best-of-n", "vote", "weighted-vote"}
_OWN = ("strategy", "n", "seed", "max_tokens", "sampling", "rules", "system", "prompt_template", "early_stop", "scorer")

eval_options = option_group(
    problem_options,
    proposer_options,
    click.option(
        "--verifier",
        "verifiers",
        metavar="[NAME=]FILE",
        multiple=True,
        help="A verifier or probe (GGUF), or embedded; repeatable.  [default name: the file's]",
    ),
    click.option("--n", "ks", metavar="K,K,...", default="2,4,8,16", show_default=True, help="Traces to choose from."),
    click.option("--num-samples", type=click.IntRange(1), help="Traces in the pool.  [default: the largest of --n]"),
    click.option(
        "--strategies",
        metavar="NAME,...",
        default="best-of-n,vote,weighted-vote",
        show_default=True,
        help="These from the pool; live: others of solve, or with +stop behind the name.",
    ),
    click.option("--set", "assignments", metavar="NAME=VALUE", multiple=True, help="A setting of live strategies."),
    click.option("--prefixes", is_flag=True, help="Label prefixes by rollouts, and report every scorer's AUC."),
    click.option("--num-prefixes", type=click.IntRange(1), default=4, show_default=True, help="Per problem."),
    click.option("--num-rollouts", type=click.IntRange(2), default=16, show_default=True, help="Per prefix."),
    click.option("--only", metavar="IDS_FILE", help="Evaluate on these problems alone: an id a line."),
    click.option("--reference", "references", metavar="LABEL", multiple=True, help="Compare with this method too."),
    click.option("--max-tokens", type=click.IntRange(1), default=1024, show_default=True, help="Of one trace."),
    click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the draws."),
    sampling_options,
    click.option("--out", metavar="DIR", help="Folder of the evaluation; see docs/eval-format.md."),
    click.option("--json", "as_json", is_flag=True, help="Print results.json instead of tables."),
    click.option("--quiet", is_flag=True, help="Nothing on stderr but errors."),
    verbose_option,
)


def read_ks(text: str) -> list[int]:
    """Read the list of k. Raises ValueError: it is none."""
    try:
        ks = sorted({int(part) for part in text.split(",")})
    except ValueError:
        ks = []
    if not ks or ks[0] < 1:
        raise ValueError(f"--n is {text!r}, but must be whole numbers >= 1 with commas between them, as in 2,4,8,16")
    return ks


def read_strategies(text: str) -> tuple[list[str], list[str]]:
    """Part the strategies into those that the pool covers and those that are searched live.

    Raises:
        ValueError: there is none of a name.
    """
    pooled: list[str] = []
    live: list[str] = []
    for name in text.split(","):
        name = name.strip()
        if name.removesuffix(STOP) not in STRATEGIES and name not in POOL_STRATEGIES:
            raise ValueError(
                f"strategy is {name!r}, but must be one of {', '.join(STRATEGIES)}, or one of them with {STOP}"
            )
        (pooled if name in _POOLED or name in POOL_STRATEGIES else live).append(name)
    return pooled, live


def live_config(name: str, n: int, options: dict[str, Any]) -> SolverConfig:
    """Make the settings of one live search. Raises ValueError: a setting is unknown or out of range."""
    told: dict[str, Any] = {}
    known = {field.name for field in dataclasses.fields(SolverConfig)} - set(_OWN)
    for assignment in options["assignments"]:
        key, _, value = assignment.partition("=")
        key = key.strip().replace("-", "_")
        if key not in known:
            raise ValueError(f"--set names {key!r}, but a search's settings are {', '.join(sorted(known))}")
        try:
            told[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            told[key] = value
    if name.endswith(STOP):
        told.setdefault("confidence", CONFIDENCE)
    own = {"seed": options["seed"], "max_tokens": options["max_tokens"], "system": options["system"]}
    try:
        return SolverConfig(strategy=name.removesuffix(STOP), n=n, early_stop=True, **own, **told)
    except TypeError as error:
        raise ValueError(f"--set has a value of a wrong kind: {error}") from error


def read_ids(path: str) -> tuple[list[str], dict[str, str]]:
    """Read ids, a line each, and what the file's first lines say of the pool that they were chosen from.

    Raises:
        ValueError: the file cannot be read or holds no id.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--only {path} cannot be read ({error}); give a file of ids, one a line") from error
    told = dict(line[1:].strip().partition(" ")[::2] for line in lines if line.startswith("#"))
    ids = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not ids:
        raise ValueError(f"--only {path} holds no id; there is nothing to evaluate")
    return ids, told
