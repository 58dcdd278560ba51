"""The command line. Commands are imported when they are run, so that `arts-lite --help` is quick and needs no model."""

from __future__ import annotations

import click

from arts_lite import __version__
from arts_lite.cli.commands import Commands

COMMANDS = {
    "solve": ("arts_lite.cli.solve:solve", "Answer questions by searching a model's reasoning."),
    "info": ("arts_lite.cli.info:info", "Tell what a GGUF file is and what a search with it needs."),
    "grade": ("arts_lite.cli.grade:grade", "Tell which answers of a file are right."),
    "sdf": ("arts_lite.cli.sdf:sdf", "Grow a dataset of trees for training; sdf stats: describe one."),
    "eval": ("arts_lite.cli.eval:evaluate", "Compare ways to choose an answer, with intervals."),
    "compare": ("arts_lite.cli.compare:compare", "Compare evaluations of the same problems."),
    "extinct": ("arts_lite.cli.extinct:extinct", "Find problems that a model never solves."),
    "miniature": ("arts_lite.cli.miniature:miniature", "Do the paper in miniature and report what was reproduced."),
    "ablate": ("arts_lite.cli.miniature:ablate", "Find out which of ARTS's ingredients earns its keep."),
    "report": ("arts_lite.cli.report:report", "Draw trees, evaluations and training runs."),
    "train": ("arts_lite.cli.train:train", "Train models and export them to GGUF (needs torch)."),
}


@click.group(cls=Commands, commands_by_name=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="arts-lite")
def main() -> None:
    """Tree search over a language model's reasoning steps.

    Exit codes: 0 answered, 1 a question without an answer, 2 wrong usage, 3 model or input error, 4 a defect of
    arts-lite, 130 interrupted.
    """
