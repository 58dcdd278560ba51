"""Options that the commands which learn from trees share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import click

from arts_lite.tasks import Rewards
from arts_lite.train.dataset import DataConfig
from arts_lite.train.objectives import (
    OBJECTIVES,
    DetailedBalanceOptions,
    FlowOptions,
    LeafOptions,
    PRMOptions,
    SubTBOptions,
)

_Decorator = Callable[[Any], Any]
_OPTIONS = {
    field.name
    for kind in (FlowOptions, DetailedBalanceOptions, SubTBOptions, PRMOptions, LeafOptions)
    for field in dataclasses.fields(kind)
}


def _group(*options: _Decorator) -> _Decorator:
    def add(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add


objective_options = _group(
    click.option("--objective", type=click.Choice(OBJECTIVES), default="flow", show_default=True),
    click.option("--estimator", type=click.Choice(["expected", "sum"]), help="flow, detailed-balance, subtb."),
    click.option("--labels", type=click.Choice(["soft", "hard"]), help="prm.  [default: soft]"),
    click.option("--deviance", type=click.Choice(["squared-log", "gamma", "poisson", "bce"]), help="flow."),
    click.option(
        "--mc-share", type=float, help="flow: share of Monte-Carlo in the target, 0 to 1 (lambda).  [default: 0]"
    ),
    click.option(
        "--target", type=click.Choice(["stop-gradient", "both", "ema"]), help="Where children's flows come from."
    ),
    click.option("--leaf-weight", type=float, help="Of the mean over leaves (alpha)."),
    click.option("--sibling-weight", type=float, help="flow: of the ranking of siblings (beta).  [default: 0]"),
    click.option("--ranking-weight", type=float, help="flow: of the ranking of a problem's leaves.  [default: 0]"),
    click.option("--per-problem/--per-node", default=None, help="What weighs alike.  [default: per problem]"),
    click.option("--leaf-power", type=float, help="A node weighs (leaves below) ** this, 0 to 1.  [default: 0]"),
    click.option("--decay", type=float, help="subtb: of longer sub-trajectories.  [default: 0.9]"),
)
data_options = _group(
    click.option("--dev-share", type=float, default=0.1, show_default=True, help="Of the problems, held out."),
    click.option("--max-train-trees", type=click.IntRange(1), help="A smaller number takes a part of a larger one's."),
    click.option("--only-mixed", is_flag=True, help="Learn only from trees with correct and wrong leaves."),
    click.option("--rewards", type=float, nargs=2, metavar="CORRECT WRONG", help="Instead of the files' own."),
)


def objective_settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the objective that were given."""
    return {name: options[name] for name in _OPTIONS & set(options) if options[name] is not None}


def data_config(options: Mapping[str, Any]) -> DataConfig:
    """What to make of the tree files. Raises ValueError: a value is out of range."""
    rewards = None if not options["rewards"] else Rewards(*options["rewards"])
    return DataConfig(options["dev_share"], options["max_train_trees"], options["only_mixed"], rewards)
