"""Train a probe: a head on the hidden states of a proposer that stays as it is."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from arts_lite.engine.forced import TokenTree
from arts_lite.errors import TrainingError
from arts_lite.proposer import Proposer
from arts_lite.train.dataset import DataConfig, TreeDataset, read_dataset
from arts_lite.train.head_fit import FitConfig, fit_head
from arts_lite.train.metrics import fit_log_prob_weight
from arts_lite.train.objectives import Link, Objective, make_objective
from arts_lite.train.probe_file import write_probe
from arts_lite.train.rundir import RunDirectory
from arts_lite.train.states import StateFolder, reading_config
from arts_lite.train.trees import TrainingTree
from arts_lite.verifier.probe_format import ProbeFormat

PROBE, STATES = "probe.gguf", "states"
_AT_LEAST = 256  # tokens of context, for any proposer's shortest prompt
_NO_PROMPT = np.zeros(1, np.int32)  # stands for it where only lengths count


@dataclass(frozen=True, slots=True)
class ProbeConfig:
    """One run.

    Attributes:
        objective, options: see `make_objective`.
        data: what is made of the tree files.
        fit: how the head is fitted.

    Raises:
        ValueError: a value is outside its range.
    """

    objective: str = "flow"
    options: Mapping[str, Any] = field(default_factory=dict)
    data: DataConfig = field(default_factory=DataConfig)
    fit: FitConfig = field(default_factory=FitConfig)

    def __post_init__(self) -> None:
        make_objective(self.objective, self.options)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for the run's folder."""
        return {"kind": "probe", **dataclasses.asdict(self)}


class ProbeTraining:
    """One run: reading the states goes on where it was stopped; fitting takes seconds and is done anew.

    Args:
        trees: folders or files of trees that this proposer has written.
        folder: config.json, metrics.jsonl, probe.gguf, and the states unless `states` names another folder.
        proposer: its GGUF.
        states: a folder of states, which runs with other objectives may share.
        prompt_template: that the trees were written with; see `Proposer`.
        engine_options: of `EngineConfig`.

    Raises:
        TrainingError: the trees are another proposer's, or a folder cannot be used.
        DatasetError, TraceFormatError: the tree files cannot be read.
        ModelLoadError, UnsupportedModelError: the proposer cannot be loaded.
    """

    def __init__(
        self,
        config: ProbeConfig,
        trees: Sequence[str | Path],
        folder: Path,
        proposer: Path,
        *,
        states: Path | None = None,
        prompt_template: str | Path | None = None,
        **engine_options: Any,
    ) -> None:
        self.config = config
        self.folder = folder
        self.objective: Objective = make_objective(config.objective, config.options)
        self.data: TreeDataset = read_dataset([str(one) for one in trees], config.data, keeps_sources=True)
        all_trees = [*self.data.train, *self.data.dev]
        lengths = [token_tree(tree, np.repeat(_NO_PROMPT, max(num_prompt_tokens(tree), 1))) for tree in all_trees]
        self._proposer = Proposer.from_gguf(
            proposer,
            prompt_template=prompt_template,
            config=reading_config(lengths, at_least=_AT_LEAST, **engine_options),
        )
        try:
            self.name, self.sha256 = self._proposer.engine.model.name, self._proposer.engine.model.sha256
            self._check_writers(all_trees)
            prompts = [self._prompt(tree) for tree in all_trees]
            told = {"name": self.name, "sha256": self.sha256}
            self._tokens = [token_tree(tree, prompt) for tree, prompt in zip(all_trees, prompts, strict=True)]
            settings = {**config.to_dict(), "proposer": told, "trees": self.data.to_dict()}
            self.run = RunDirectory(folder, {**settings, "trees_digest": self.data.digest()})
            self.states = StateFolder(states or folder / STATES, told, self._tokens)
        except BaseException:
            self._proposer.close()
            raise

    @cached_property
    def num_tokens(self) -> int:
        """Of all trees, each shared prefix once."""
        return sum(tree.num_tokens for tree in self._tokens)

    def read(
        self,
        *,
        tell: Callable[[int], None] = lambda _done: None,
        shall_stop: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Read the states that are not there yet; False: it was stopped before the end."""
        return self.states.fill(self._proposer.engine, tell=tell, shall_stop=shall_stop)

    def fit(self, *, tell: Callable[[int, str], None] = lambda _done, _text: None) -> ProbeFormat:
        """Fit the head and write the probe. Raises TrainingError: it has diverged, or cannot be written."""
        states = self.states.load()
        num_train = len(self.data.train)
        fit = fit_head(self.data, states[:num_train], states[num_train:], self.objective, self.config.fit, tell=tell)
        self.run.forget_metrics_after(0)
        for line in fit.lines:
            self.run.log(step=int(line["epoch"]), **line)
        weight = 0.0
        if self.objective.link is not Link.SCORE:
            values = [fit.head(rows) for rows in states[num_train:]]
            weight = fit_log_prob_weight(self.data.dev, values, self.objective, self.data.rewards)
        options = dataclasses.asdict(self.objective.options)
        told = {
            "options": options,
            "fit": self.config.fit.to_dict(),
            "trees": self.data.to_dict(),
            "dev": {name: value for name, value in fit.metrics.items() if math.isfinite(value)},
        }
        made = ProbeFormat(
            objective=self.objective.name,
            head=fit.head,
            proposer_sha256=self.sha256,
            proposer_name=self.name,
            estimator=str(options.get("estimator") or options.get("labels") or ""),
            output=self.objective.link.value,
            log_prob_weight=weight,
            reward_correct=self.data.rewards.correct,
            reward_wrong=self.data.rewards.wrong,
            metrics=told,
        )
        return write_probe(self.folder / PROBE, made)

    def close(self) -> None:
        """Let go of the proposer. Idempotent."""
        self._proposer.close()

    def __enter__(self) -> ProbeTraining:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_writers(self, trees: Sequence[TrainingTree]) -> None:
        for tree in trees:
            assert tree.source is not None
            writer = tree.source.origin.model
            if writer.get("sha256") not in (None, self.sha256):
                raise TrainingError(
                    f"the tree of {tree.question!r} was written by {writer.get('name') or 'another model'} "
                    f"({str(writer['sha256'])[:12]}...), not by {self.name} ({self.sha256[:12]}...): a probe reads the "
                    "states of the very file that wrote the trees; name that file, or make trees with this one"
                )

    def _prompt(self, tree: TrainingTree) -> list[int]:
        assert tree.source is not None
        origin = tree.source.origin
        system = origin.settings.get("system")
        tokens = self._proposer.encode_prompt(origin.question, system if isinstance(system, str) else None)
        if len(tokens) != origin.num_prompt_tokens:
            raise TrainingError(
                f"the prompt of {origin.question!r} has {len(tokens)} tokens here, but had {origin.num_prompt_tokens} "
                "when its tree was written; name the prompt template that the trees were written with"
            )
        return tokens


def num_prompt_tokens(tree: TrainingTree) -> int:
    """Of a tree's question, as its proposer read it."""
    assert tree.source is not None
    return tree.source.origin.num_prompt_tokens


def token_tree(tree: TrainingTree, prompt: Sequence[int] | np.ndarray[Any, Any]) -> TokenTree:
    """Lay out what the engine decoded while the tree was written: of a complete trace, all but its last token."""
    source, inner = tree.source, tree.is_inner
    assert source is not None
    tokens = [np.asarray(prompt, np.int32)]
    for node in range(1, tree.num_nodes):
        own = source.tokens(int(tree.source_node[node]))
        tokens.append(own if inner[node] else own[:-1])
    return TokenTree(tokens, tree.parent.tolist())
