"""A probe learns what the engine decodes, goes on where it was stopped, and is refused where it does not belong."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from fakes.probed_trees import graded, write_trees
from hidden_llama import hidden_states
from tiny_gguf import TinyModel, write_tiny_gguf

from arts_lite.cli import main
from arts_lite.engine import Engine, EngineConfig
from arts_lite.engine.gguf import read_header
from arts_lite.errors import TrainingError
from arts_lite.train import probe_command
from arts_lite.train.dataset import DataConfig
from arts_lite.train.head_fit import FitConfig
from arts_lite.train.probe import PROBE, ProbeConfig, ProbeTraining
from arts_lite.tree import TreeWriter, read_trees
from arts_lite.verifier import read_probe
from arts_lite.verifier.probe import Probe

DOCS = Path(__file__).parents[2] / "docs" / "probe.md"
FIT = FitConfig(epochs=20, batch_nodes=128, learning_rate=0.03, evals=4)


@pytest.fixture(autouse=True)
def as_many_threads_as_before() -> Iterator[None]:
    num_threads = torch.get_num_threads()
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture(scope="module")
def tiny_model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is asked in few tokens."""
    return write_tiny_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf", TinyModel(chat_template=None, num_layers=1))


@pytest.fixture(scope="module")
def trees(tiny_model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_trees(tmp_path_factory.mktemp("trees") / "trees.jsonl", tiny_model_path, num_trees=14)


def training(folder: Path, proposer: Path, trees: Path, **changes: Any) -> ProbeTraining:
    settings: dict[str, Any] = {"data": DataConfig(dev_share=0.4), "fit": FIT}
    own = {name: changes.pop(name) for name in ("objective", "options", "data", "fit") if name in changes}
    return ProbeTraining(ProbeConfig(**{**settings, **own}), [trees], folder, proposer, threads=1, **changes)


def test_states_are_those_of_what_was_generated(tiny_model_path: Path, trees: Path, tmp_path: Path) -> None:
    with training(tmp_path / "run", tiny_model_path, trees) as one:
        assert one.read()
        found = one.states.load()
        tree = one.data.train[0]
        prompt = one._proposer.encode_prompt(tree.question)
    assert tree.source is not None
    assert tree.is_inner.sum() > 2
    with hidden_states(tiny_model_path) as decode:
        for node in range(tree.num_nodes):
            tokens = [token for step in tree.path(node)[1:] for token in tree.source.tokens(tree.source_node[step])]
            if not tree.is_inner[node]:
                tokens = tokens[:-1]  # drawn, but never decoded
            expected = decode([*prompt, *map(int, tokens)])[0][-1]
            np.testing.assert_allclose(found[0][node], expected, atol=0.02 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("objective", "options"),
    [
        ("flow", {}),
        ("flow", {"deviance": "squared-log", "target": "ema"}),
        ("prm", {"labels": "hard"}),
        ("orm", {}),
        ("rm", {}),
    ],
)
def test_a_fit_learns_what_the_states_tell(
    tiny_model_path: Path,
    trees: Path,
    tmp_path_factory: pytest.TempPathFactory,
    objective: str,
    options: dict[str, Any],
) -> None:
    folder = tmp_path_factory.getbasetemp() / "probe-runs"
    with training(
        folder / f"{objective}-{len(options)}",
        tiny_model_path,
        trees,
        objective=objective,
        options=options,
        states=folder / "states",
    ) as one:
        assert one.read()
        made = one.fit()
        assert made.metrics["dev"]["leaf_auc"] > 0.9
        assert made.output == one.objective.link.value
        lines = list(one.run.metrics())
    assert [line["step"] for line in lines] == [5, 10, 15, 20]
    assert lines[-1]["loss"] < max(lines[0]["loss"], 0.01)  # the pairwise loss is near zero from the first line on


def test_the_engine_gives_the_values_that_the_fit_gave(tiny_model_path: Path, trees: Path, tmp_path: Path) -> None:
    with training(tmp_path / "run", tiny_model_path, trees) as one:
        assert one.read()
        made = one.fit()
        tree, states = one.data.dev[0], one.states.load()[len(one.data.train)]
        prompt = one._proposer.encode_prompt(tree.question)
    assert tree.source is not None
    paths = [tree.path(int(node))[1:] for node in tree.trace_node]
    steps = [[tree.source.tokens(int(tree.source_node[node])).tolist() for node in path] for path in paths]
    with Engine.from_gguf(tiny_model_path, EngineConfig(threads=1, ctx_size=256)) as engine:
        probe = Probe.from_gguf(tmp_path / "run" / PROBE, engine)
        for path, values in zip(paths, probe.log_flows(prompt, steps), strict=True):
            np.testing.assert_allclose(values, made.log_flow(made.head(states[path])), atol=2e-2)


def test_a_run_that_was_stopped_goes_on_to_the_same_probe(
    tiny_model_path: Path, trees: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arts_lite.train.states.PART_TOKENS", 1000)
    with training(tmp_path / "whole", tiny_model_path, trees) as one:
        assert one.states.num_parts > 2
        assert one.read()
        one.fit()
    with training(tmp_path / "stopped", tiny_model_path, trees) as one:
        done: list[int] = []
        assert not one.read(tell=done.append, shall_stop=lambda: done[-1] == 1)
        assert done == [0, 1]
    with training(tmp_path / "stopped", tiny_model_path, trees) as one:
        assert one.states.num_left == one.states.num_parts - 1
        done.clear()
        assert one.read(tell=done.append)
        assert done == list(range(1, one.states.num_parts + 1))  # a speed is that of this run alone
        one.fit()
        again = one.fit()
    assert (tmp_path / "whole" / PROBE).read_bytes() == (tmp_path / "stopped" / PROBE).read_bytes()
    np.testing.assert_array_equal(again.head.weight, read_probe(read_header(tmp_path / "whole" / PROBE)).head.weight)


def test_states_of_others_are_never_mixed(tiny_model_path: Path, trees: Path, tmp_path: Path) -> None:
    training(tmp_path / "run", tiny_model_path, trees, states=tmp_path / "states").close()
    fewer = DataConfig(dev_share=0.4, max_train_trees=5)
    with pytest.raises(TrainingError, match="holds a run of other settings"):
        training(tmp_path / "other", tiny_model_path, trees, states=tmp_path / "states", data=fewer)
    with pytest.raises(TrainingError, match="holds a run of other settings"):
        training(tmp_path / "run", tiny_model_path, trees, objective="prm")


def test_a_damaged_file_of_states_is_told(tiny_model_path: Path, trees: Path, tmp_path: Path) -> None:
    with training(tmp_path / "run", tiny_model_path, trees) as one:
        assert one.read()
        path = next((tmp_path / "run" / "states").glob("*.npy"))
        np.save(path, np.zeros((3, 2), np.float32))
        with pytest.raises(TrainingError, match="is damaged; remove it"):
            one.fit()
        path.write_bytes(b"")
        with pytest.raises(TrainingError, match="cannot be read"):
            one.fit()


def test_a_full_disk_leaves_no_half_file(tiny_model_path: Path, trees: Path, tmp_path: Path, full_disk: Any) -> None:
    with training(tmp_path / "run", tiny_model_path, trees) as one:
        with full_disk(4096), pytest.raises(TrainingError, match="could not be written"):
            one.read()
        assert one.states.num_left == one.states.num_parts
        assert one.read()


def test_trees_of_another_writer_are_refused(tiny_model_path: Path, trees: Path, tmp_path: Path) -> None:
    other = write_tiny_gguf(tmp_path / "other.gguf", TinyModel(chat_template=None, num_layers=1, seed=5))
    with pytest.raises(TrainingError, match="was written by tiny random qwen2"):
        training(tmp_path / "run", other, trees)
    unknown = tmp_path / "unknown.jsonl"
    with TreeWriter(unknown) as writer:
        for tree in read_trees(trees):
            writer.write(graded(tree, None))
    with pytest.raises(TrainingError, match="name the prompt template"):
        training(tmp_path / "run", tiny_model_path, unknown, prompt_template="Q {question} A")
    assert not (tmp_path / "run").exists()


def train(*args: object) -> Result:
    return CliRunner().invoke(main, ["train", "probe", *map(str, args)])


def test_the_command_ends_with_a_probe_that_solve_takes(tiny_model_path: Path, trees: Path, tmp_path: Path) -> None:
    options = ["--trees", trees, "--proposer", tiny_model_path, "--threads", 1, "--dev-share", 0.4, "--epochs", 3]
    result = train(*options, "--objective", "prm", "--out", tmp_path / "run", "--export", tmp_path / "p.gguf")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    assert "trees to learn from" in result.stderr
    assert json.loads(result.stderr.splitlines()[-1].partition("dev ")[2]).keys() >= {"bon_accuracy", "loss_dev"}
    told = read_probe(read_header(tmp_path / "p.gguf"))
    assert (told.objective, told.estimator, told.metrics["fit"]["epochs"]) == ("prm", "soft", 3)
    solved = CliRunner().invoke(
        main,
        [
            *("solve", "1 + 1", "--proposer", str(tiny_model_path), "--probe", str(tmp_path / "p.gguf"), "--json"),
            *("--threads", "1", "--max-tokens", "20", "--n", "2", "--ctx-size", "256", "--quiet"),
        ],
    )
    assert json.loads(solved.stdout)["settings"]["probe"]["objective"] == "prm", solved.stderr
    assert train(*options, "--objective", "prm", "--out", tmp_path / "run", "--quiet").output == ""


def test_ctrl_c_ends_the_reading_and_the_same_command_goes_on(
    tiny_model_path: Path, trees: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arts_lite.train.states.PART_TOKENS", 1000)
    options = ["--trees", trees, "--proposer", tiny_model_path, "--threads", 1, "--out", tmp_path / "run"]
    show = probe_command.TrainingDisplay.show

    def pressed(self: probe_command.TrainingDisplay, done: int, text: str) -> None:
        show(self, done, text)
        if done == 1:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(probe_command.TrainingDisplay, "show", pressed)
        result = train(*options)
    assert result.exit_code == 130
    assert "interrupted; run the same command to go on" in result.stderr
    assert len(list((tmp_path / "run" / "states").glob("*.npy"))) == 1
    assert train(*options).exit_code == 0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--epochs", "0"], "epochs is 0, but must be >= 1"),
        (["--learning-rate", "nan"], "learning_rate is nan"),
        (["--ridge", "-1"], "ridge is -1.0"),
        (["--objective", "orm", "--mc-share", "1"], "orm has no option mc_share"),
        (["--dev-share", "1"], "dev_share is 1.0"),
        (["--export", "no-such-folder/p.gguf"], "there is no folder 'no-such-folder' for --export"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_written(
    args: list[str], message: str, tiny_model_path: Path, trees: Path, tmp_path: Path
) -> None:
    result = train("--trees", trees, "--proposer", tiny_model_path, *args, "--out", tmp_path / "run")
    assert (result.exit_code, result.stdout) == (2, ""), result.stderr
    assert message in " ".join(result.stderr.split())
    assert not list(tmp_path.iterdir())


def test_every_option_is_documented() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for option in probe_command.probe.params:
        assert all(f"`{name}`" in text for name in (*option.opts, *option.secondary_opts)), option.name
