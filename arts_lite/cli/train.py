"""`arts-lite train`: its commands need torch and are imported by name, when they are run."""

from __future__ import annotations

import click

from arts_lite.cli.commands import Commands

COMMANDS = {
    "proposer": ("arts_lite.train.commands:proposer", "Train a tiny proposer from scratch on generated traces."),
    "verifier": ("arts_lite.train.verifier_command:verifier", "Train a verifier on trees and export it to GGUF."),
    "probe": ("arts_lite.train.probe_command:probe", "Train a probe on a proposer's own hidden states."),
    "refit": ("arts_lite.train.refit_command:refit", "Fit a quantised verifier's head again on its own hidden states."),
    "grpo": ("arts_lite.train.grpo_command:grpo", "Tune a model by GRPO: the baseline of the comparison."),
}


@click.group(cls=Commands, commands_by_name=COMMANDS)
def train() -> None:
    """Train models and export them to GGUF; needs pip install 'arts-lite[train]'."""
