"""A head is fitted again on the file's own states: never kept where it is worse, and its drift is told."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from fakes.verifier_training import config, training, write_base, write_sums

from arts_lite.cli import main
from arts_lite.engine import EngineConfig
from arts_lite.engine.gguf import read_header
from arts_lite.errors import TrainingError, VerifierError
from arts_lite.train.dataset import DataConfig, TreeDataset, read_dataset
from arts_lite.train.gguf_files import Template
from arts_lite.train.refit import (
    REFIT,
    calibrated,
    calibrated_values,
    drift_of,
    objective_of,
    platt,
    refit_verifier,
    states_of,
)
from arts_lite.train.refit_command import refit
from arts_lite.train.transformer import Shape
from arts_lite.train.verifier_export import export_verifier
from arts_lite.train.verifier_file import replace_head
from arts_lite.verifier import Head, VerifierFormat, read_verifier
from arts_lite.verifier.verifier import Verifier

SHAPE = Shape(dim=64, num_layers=1, num_heads=2, num_kv_heads=1, ff_dim=64, max_positions=64)
DOCS = Path(__file__).parents[2] / "docs" / "probe.md"
FAST = dataclasses.replace(REFIT, epochs=40, learning_rate=0.02, ridge=1e-4)


@pytest.fixture(autouse=True)
def as_many_threads_as_before() -> Iterator[None]:
    num_threads = torch.get_num_threads()
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sums(tmp_path_factory.mktemp("trees") / "trees.jsonl", 20)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base") / "base.gguf", SHAPE)


@pytest.fixture(scope="module")
def data(trees: Path) -> TreeDataset:
    return read_dataset([str(trees)], DataConfig(dev_share=0.25))


@pytest.fixture(scope="module")
def trained(trees: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A verifier that has learnt a little."""
    folder = tmp_path_factory.mktemp("run")
    one = training(folder / "run", base, trees, epochs=2.0, learning_rate=5e-3, head_learning_rate=5e-2)
    assert one.train()
    export_verifier(one, folder / "v.gguf", file_type="F16")
    return folder / "v.gguf"


def with_head(path: Path, out: Path, **changes: Any) -> VerifierFormat:
    return replace_head(path, out, dataclasses.replace(read_verifier(read_header(path)), **changes))


def test_a_wrong_head_becomes_a_better_one(trained: Path, data: TreeDataset, tmp_path: Path) -> None:
    good = read_verifier(read_header(trained))
    noise = np.random.default_rng(0).normal(0, 3 * np.abs(good.head.weight).mean(), len(good.head.weight))
    bad = Head(good.head.weight + noise.astype(np.float32), 3.0)
    with_head(trained, tmp_path / "bad.gguf", head=bad, log_prob_weight=7.0)
    hidden = states_of(trained, good, data.dev, None, threads=1)
    assert hidden is not None
    reference = [good.log_flow(good.head(rows)) for rows in hidden]
    found = refit_verifier(
        tmp_path / "bad.gguf", tmp_path / "new.gguf", data, reference=reference, config=FAST, threads=1
    )
    assert found is not None
    assert found.kept != "nothing"
    assert found.after["loss_dev"] < found.before["loss_dev"]
    assert found.after.get("bon_accuracy", 0) >= found.before.get("bon_accuracy", 0)
    assert found.drift["before"]["rms"] > 0.1
    assert set(found.drift["after"]) == {"correlation", "rms"}
    written = read_verifier(read_header(tmp_path / "new.gguf"))
    assert 0 <= written.log_prob_weight <= 1
    assert written.metrics["refit"]["kept"] == found.kept
    assert written.metrics["refit"]["drift"] == found.drift
    assert written.metrics["options"] == good.metrics["options"]
    assert re.match(r"refit: kept .*, loss_dev [\d.]+ -> [\d.]+, .*rms [\d.]+ -> [\d.]+$", found.summary())


def test_what_is_worse_on_held_out_problems_is_not_kept(
    trained: Path, data: TreeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arts_lite.train.refit.platt", lambda *_: (0.01, 5.0))
    before = read_verifier(read_header(trained))
    found = refit_verifier(trained, tmp_path / "new.gguf", data, threads=1)
    assert found is not None
    assert (found.kept, found.drift) == ("nothing", {})
    assert found.after == found.before
    np.testing.assert_array_equal(found.format.head.weight, before.head.weight)
    assert (found.format.scale, found.format.offset) == (before.scale, before.offset)
    assert found.format.log_prob_weight == before.log_prob_weight  # of a training's own export, on the same dev trees
    assert "refit: kept nothing" in found.summary()


def test_another_head_leaves_every_other_byte(trained: Path, tmp_path: Path) -> None:
    old = read_verifier(read_header(trained))
    weight = np.linspace(-1, 1, len(old.head.weight), dtype=np.float32)
    for file_type in ("F16", "Q8_0"):
        made = with_head(trained, tmp_path / f"{file_type}.gguf", head=Head(weight, 0.5), scale=2.0)
        one, other = Template(trained), Template(tmp_path / f"{file_type}.gguf")
        assert made.slot is not None
        for name, tensor in one.tensors.items():
            own = other.tensors[name]
            assert own.tensor_type == tensor.tensor_type
            if name != "token_embd.weight":
                np.testing.assert_array_equal(own.data, tensor.data)
        old_rows, new_rows = one.weight("token_embd.weight"), other.weight("token_embd.weight")
        np.testing.assert_array_equal(np.delete(new_rows, made.slot, 0), np.delete(old_rows, made.slot, 0))
        np.testing.assert_allclose(new_rows[made.slot], weight, atol=1e-3)
    with Verifier.from_gguf(tmp_path / "F16.gguf", EngineConfig(threads=1, ctx_size=64)) as verifier:
        assert verifier.format.scale == 2.0


def test_a_refit_in_place_and_one_that_was_stopped(trained: Path, data: TreeDataset, tmp_path: Path) -> None:
    path = tmp_path / "v.gguf"
    path.write_bytes(trained.read_bytes())
    assert refit_verifier(path, path, data, shall_stop=lambda: True, states=tmp_path / "s", threads=1) is None
    assert path.read_bytes() == trained.read_bytes()
    assert refit_verifier(path, path, data, states=tmp_path / "s", threads=1) is not None
    assert "refit" in read_verifier(read_header(path)).metrics
    assert refit_verifier(path, path, data, states=tmp_path / "s", threads=1) is not None  # of a file of another digest
    assert len(list((tmp_path / "s").iterdir())) == 2


def test_a_refit_needs_held_out_problems_and_a_verifier(trained: Path, base: Path, trees: Path, tmp_path: Path) -> None:
    everything = read_dataset([str(trees)], DataConfig(dev_share=0.0))
    with pytest.raises(TrainingError, match="there are none; raise the dev share"):
        refit_verifier(trained, tmp_path / "new.gguf", everything)
    some = read_dataset([str(trees)], DataConfig(dev_share=0.25))
    with pytest.raises(VerifierError, match="is no verifier"):
        refit_verifier(base, tmp_path / "new.gguf", some)
    strange = dataclasses.replace(read_verifier(read_header(trained)), objective="guess")
    with pytest.raises(TrainingError, match="objective is 'guess'"):
        objective_of(strange)


def test_platt_finds_the_line_that_made_the_shares() -> None:
    x = np.random.default_rng(0).normal(0, 2, 200)
    share = 1 / (1 + np.exp(-(0.4 * x - 1.5)))
    assert platt(x, share, np.ones(200)) == pytest.approx((0.4, -1.5), abs=1e-3)
    scale, offset = platt(x, (x > 0).astype(float), np.ones(200))  # separable
    assert np.isfinite([scale, offset]).all()
    assert scale > 1


def test_the_mean_flow_becomes_the_mean_reward(trained: Path, data: TreeDataset) -> None:
    flow = dataclasses.replace(read_verifier(read_header(trained)), output="log_flow")
    rng = np.random.default_rng(0)
    states = [rng.normal(0, 1, (tree.num_nodes, len(flow.head.weight))).astype(np.float32) for tree in data.train]
    made = calibrated(flow, data, states, objective_of(flow))
    flows, rewards = [
        np.mean([np.exp(one).mean() for one in values])
        for values in ([calibrated_values(made, rows) for rows in states], [t.log_mean_reward for t in data.train])
    ]
    assert flows == pytest.approx(rewards)
    assert calibrated(dataclasses.replace(flow, output="score"), data, states, objective_of(flow)).offset == flow.offset


def test_drift_is_none_of_equal_values() -> None:
    values = [np.array([0.1, 0.5]), np.array([2.0])]
    assert drift_of(values, values) == {"correlation": pytest.approx(1.0), "rms": 0.0}
    assert drift_of([one + 0.5 for one in values], values)["rms"] == pytest.approx(0.5)


def run(*args: object) -> Result:
    return CliRunner().invoke(main, ["train", *map(str, args)])


def test_the_command_fits_again(trained: Path, trees: Path, tmp_path: Path) -> None:
    options = ["--trees", trees, "--dev-share", 0.25, "--threads", 1, "--out", tmp_path / "new.gguf"]
    result = run("refit", "--verifier", trained, "--reference", trained, *options)
    assert result.exit_code == 0, result.stderr
    assert re.search(
        r"new\.gguf: refit: kept [a-z ]+, loss_dev .*correlation with the reference 1\.0000", result.stderr
    )
    assert read_verifier(read_header(tmp_path / "new.gguf")).metrics["refit"]["drift"]["before"]["rms"] < 1e-3
    assert run("refit", "--verifier", tmp_path / "none.gguf", *options).exit_code == 3


def test_a_training_can_end_with_a_refit(base: Path, trees: Path, tmp_path: Path) -> None:
    options = [
        "--trees",
        trees,
        "--base",
        base,
        "--device",
        "cpu",
        "--threads",
        1,
        "--epochs",
        1,
        "--out",
        tmp_path / "r",
    ]
    assert "--refit is checked on held-out problems" in run("verifier", *options, "--refit", "--dev-share", 0).stderr
    options[-1] = tmp_path / "run"
    result = run("verifier", *options, "--refit", "--dev-share", 0.25, "--export", tmp_path / "v.gguf")
    assert result.exit_code == 0, result.stderr
    assert "refit: kept" in result.stderr
    drift = read_verifier(read_header(tmp_path / "v.gguf")).metrics["refit"]["drift"]
    assert drift["before"]["correlation"] > 0.99
    assert config(base).seed == 0


def test_every_option_is_documented() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for option in refit.params:
        assert all(f"`{name}`" in text for name in (*option.opts, *option.secondary_opts)), option.name
