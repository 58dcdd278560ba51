"""The options of `arts-lite sdf`."""

from __future__ import annotations

import click

from arts_lite.cli.commands import verbose_option
from arts_lite.cli.options import model_options, option_group, sampling_options
from arts_lite.cli.texts import valid_text
from arts_lite.tasks import TASKS
from arts_lite.tasks.problem import SPLITS

_splits = ", ".join(SPLITS)
problem_options = option_group(
    click.option("--task", type=click.Choice(TASKS), help="What the problems are."),
    click.option("--data", metavar="FILE|hf:OWNER/NAME", help="gsm8k, math, jsonl: where the problems are."),
    click.option("--num-problems", type=click.IntRange(1), help="How many; of --data: at most."),
    click.option("--split", metavar="NAME", help=f"Of the hub's data, or of generated problems: {_splits}."),
    click.option("--problem-seed", type=int, default=0, show_default=True, help="Of generated problems."),
    click.option(
        "--difficulty", metavar="NAME=VALUE,...", help="Of generated problems, such as num_operators=5,max_value=999."
    ),
    click.option("--question-column", metavar="NAME", help="Of --data."),
    click.option("--answer-column", metavar="NAME", help="Of --data."),
    click.option("--id-column", metavar="NAME", help="Of --data; may be missing there."),
    click.option("--prompt", metavar="TEXT|FILE", callback=valid_text, help="Template with {question}: what is asked."),
    click.option("--grader", metavar="MODULE:FUNCTION", help="Called with (answer, gold), instead of the task's own."),
)
sdf_options = option_group(
    model_options,
    click.option(
        "--num-traces", type=click.IntRange(1), default=16, show_default=True, help="Main traces per problem."
    ),
    click.option(
        "--fork-prob", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Forks after a step."
    ),
    click.option(
        *("--max-fork-depth",),
        type=click.IntRange(0),
        default=1,
        show_default=True,
        help="Forks above a leaf, at most; 1: forks do not fork.",
    ),
    click.option("--max-tokens", type=click.IntRange(1), default=1024, show_default=True, help="Of one trace."),
    click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the draws."),
    sampling_options,
    click.option("--reward-correct", type=float, default=10.0, show_default=True, help="Of a correct leaf."),
    click.option("--reward-wrong", type=float, default=0.1, show_default=True, help="Of a wrong leaf."),
)
sdf_output_options = option_group(
    click.option("--out", metavar="DIR", help="Folder of the dataset: settings.json and tree files."),
    click.option("--shard", metavar="i/n", default="1/1", show_default=True, help="Which part to do, for n machines."),
    click.option("--compress", type=click.Choice(("gzip", "zstd", "none")), default="gzip", show_default=True),
    click.option("--quiet", is_flag=True, help="Nothing on stderr but errors."),
    verbose_option,
)
