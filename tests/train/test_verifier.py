"""The run that makes a verifier: it learns by every objective, resumes exactly, and outlives SIGKILL."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from fakes.sdf_trees import lines, sdf_tree
from fakes.verifier_training import training, write_base, write_sums

from arts_lite.errors import TrainingError
from arts_lite.train.base import TuningConfig
from arts_lite.train.dataset import DataConfig
from arts_lite.train.transformer import Shape
from arts_lite.train.verifier import VerifierTraining
from arts_lite.train.verifier_export import format_of
from arts_lite.tree import TreeWriter

SCRIPT = Path(__file__).parents[1] / "fakes" / "verifier_training.py"
LEARNING = {"epochs": 40.0, "learning_rate": 5e-3, "head_learning_rate": 2e-2, "batch_tokens": 1000}
OBJECTIVES: list[tuple[str, dict[str, Any]]] = [
    ("flow", {}),
    ("flow", {"target": "ema", "mc_share": 0.5, "sibling_weight": 0.5}),
    *(("flow", {"estimator": "expected", "deviance": name}) for name in ("squared-log", "gamma", "poisson")),
    *(("flow", {"estimator": "sum", "deviance": name}) for name in ("squared-log", "gamma", "poisson")),
    ("flow", {"estimator": "sum", "deviance": "squared-log", "target": "both"}),
    ("flow", {"estimator": "sum", "deviance": "gamma", "target": "ema"}),
    ("detailed-balance", {}),
    ("detailed-balance", {"target": "ema"}),
    ("subtb", {}),
    ("subtb", {"target": "ema", "estimator": "sum"}),
    ("prm", {"labels": "soft"}),
    ("prm", {"labels": "hard"}),
    ("orm", {}),
    ("rm", {}),
]


@pytest.fixture(autouse=True)
def as_many_threads_as_before() -> Iterator[None]:
    num_threads = torch.get_num_threads()
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sums(tmp_path_factory.mktemp("trees") / "trees.jsonl")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base") / "base.gguf")


@pytest.fixture(scope="module")
def finished(base: Path, trees: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert training(folder, base, trees).train()
    return folder


def metrics(folder: Path) -> list[dict[str, Any]]:
    rows = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{name: value for name, value in json.loads(row).items() if name != "seconds"} for row in rows]


def weights(folder: Path, name: str = "checkpoint.pt") -> dict[str, torch.Tensor]:
    learning: dict[str, torch.Tensor] = torch.load(folder / name, weights_only=True)["learning"]
    return learning


def assert_equal_runs(folder: Path, other: Path) -> None:
    assert metrics(folder) == metrics(other)
    for name in ("checkpoint.pt", "best.pt"):
        one, two = weights(folder, name), weights(other, name)
        assert one.keys() == two.keys()
        assert all(torch.equal(one[key], two[key]) for key in one), name


def train_for(one: VerifierTraining, num_steps: int) -> None:
    """Stop after so many more steps, as Ctrl-C does."""
    last = one.step + num_steps
    one.tell = lambda done, _text: one.stop() if done == last else None
    assert not one.train()
    assert one.step == last


class TestLearning:
    def test_it_tells_right_from_wrong_leaves_and_says_so(self, base: Path, trees: Path, tmp_path: Path) -> None:
        one = training(tmp_path, base, trees, **LEARNING)
        assert one.train()
        rows = metrics(tmp_path)
        assert [row["step"] for row in rows] == list(range(10, one.num_steps + 1, 10))
        assert rows[-1]["loss"] < rows[0]["loss"]
        assert rows[-1]["leaf_auc"] > 0.95
        assert rows[-1]["bon_accuracy"] == pytest.approx(max(row["bon_accuracy"] for row in rows)) == one.best
        assert {"loss_inner", "loss_leaf", "epoch", "learning_rate", "ece", "sibling_accuracy"} <= rows[0].keys()
        told = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
        assert {"kind", "base", "objective", "options", "tuning", "data", "trees", "seed"} <= told["config"].keys()
        assert {"torch", "accelerate", "numpy"} <= told["versions"].keys()

    @pytest.mark.parametrize(("name", "options"), OBJECTIVES)
    def test_every_objective_learns(
        self, name: str, options: dict[str, Any], base: Path, trees: Path, tmp_path: Path
    ) -> None:
        one = training(tmp_path, base, trees, objective=name, options=options, **LEARNING)
        before = np.concatenate(one.dev_values())
        assert one.train()
        rows = metrics(tmp_path)
        assert all(np.isfinite(row["loss"]) for row in rows)
        assert rows[-1]["leaf_auc"] > 0.8
        assert not np.allclose(np.concatenate(one.dev_values()), before)

    def test_parts_of_a_batch_add_up_to_the_whole(self, base: Path, trees: Path, tmp_path: Path) -> None:
        runs = [training(tmp_path / str(size), base, trees, part_tokens=size, epochs=1.0) for size in (1, 10_000)]
        assert all(run.train() for run in runs)
        one, two = (weights(tmp_path / str(size)) for size in (1, 10_000))
        for name in one:
            torch.testing.assert_close(one[name], two[name], atol=1e-4, rtol=0)

    def test_the_head_alone(self, base: Path, trees: Path, tmp_path: Path) -> None:
        one = training(tmp_path, base, trees, tuning=TuningConfig("head"))
        before = {name: weight.clone() for name, weight in one.base.module.state_dict().items()}
        assert one.train()
        after = one.base.module.state_dict()
        assert set(weights(tmp_path)) == {"head.weight", "head.bias"}
        assert all(torch.equal(after[name], weight) for name, weight in before.items())
        assert not torch.equal(
            weights(tmp_path)["head.weight"], training(tmp_path / "new", base, trees).model.head.weight
        )

    def test_a_run_of_one_step_learns(self, base: Path, trees: Path, tmp_path: Path) -> None:
        one = training(tmp_path, base, trees, epochs=0.01, warmup=0.0)
        before = one.model.head.weight.detach().clone()
        assert one.num_steps == 1
        assert one.train()
        assert not torch.equal(one.model.head.weight, before)

    def test_bf16_learns_float32_weights(self, base: Path, trees: Path, tmp_path: Path) -> None:
        one = training(tmp_path, base, trees, precision="bf16", epochs=0.5)
        assert one.train()
        assert {weight.dtype for weight in weights(tmp_path).values()} == {torch.float32}

    @pytest.mark.parametrize("name", ["rm", "orm", "flow"])
    def test_trees_with_leaves_of_one_kind_do_no_harm(self, name: str, base: Path, tmp_path: Path) -> None:
        with TreeWriter(tmp_path / "trees.jsonl") as writer:
            for number in range(6):
                verdict = bool(number % 2)
                writer.write(
                    sdf_tree(
                        Random(number), question=f"{number}", policy=lines(), is_correct=lambda *_, told=verdict: told
                    )
                )
        one = training(tmp_path / "run", base, tmp_path / "trees.jsonl", objective=name, data=DataConfig(0.0))
        assert one.train()
        assert all(torch.isfinite(weight).all() for weight in weights(tmp_path / "run").values())
        assert not (tmp_path / "run" / "best.pt").exists()


class TestResuming:
    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"epochs": 3.4, "options": {"target": "ema", "mc_share": 0.5}, "part_tokens": 200},
            {"objective": "prm", "tuning": TuningConfig("head")},
            {"options": {"target": "ema", "ranking_weight": 1.0}},
        ],
    )
    def test_a_run_that_is_stopped_and_resumed_ends_as_if_it_had_not_been(
        self, changes: dict[str, Any], base: Path, trees: Path, tmp_path: Path
    ) -> None:
        assert training(tmp_path / "whole", base, trees, **changes).train()
        for num_steps in (1, 4, 2):
            train_for(training(tmp_path / "parts", base, trees, **changes), num_steps)
        one = training(tmp_path / "parts", base, trees, **changes)
        assert 7 == one.step < one.num_steps
        assert one.train()
        assert_equal_runs(tmp_path / "parts", tmp_path / "whole")

    @pytest.mark.timeout(600)  # two processes that import torch, on a machine that may be busy
    def test_a_run_that_is_killed_and_resumed_ends_as_if_it_had_not_been(
        self, finished: Path, base: Path, trees: Path, tmp_path: Path
    ) -> None:
        folder = tmp_path / "killed"
        paths = [str(SCRIPT.parents[1]), *(path for path in sys.path if path)]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        for num_steps in (5, 2):  # the second one before a checkpoint of its own
            command = [sys.executable, SCRIPT, folder, base, trees]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env) as process:
                assert process.stdout
                for _ in range(num_steps):
                    assert process.stdout.readline()
                process.send_signal(signal.SIGKILL)
                process.communicate()
            assert process.returncode == -signal.SIGKILL
        one = training(folder, base, trees)
        assert 0 < one.step < one.num_steps
        assert one.train()
        assert_equal_runs(folder, finished)

    def test_a_finished_run_learns_no_more(self, finished: Path, base: Path, trees: Path) -> None:
        one = training(finished, base, trees)
        one._learn = lambda: pytest.fail("there is nothing left to learn")  # type: ignore[assignment]
        assert one.step == one.num_steps
        assert one.train()

    def test_the_best_weights_can_be_had_again(self, finished: Path, base: Path, trees: Path) -> None:
        one = training(finished, base, trees)
        one.load_best()
        best = weights(finished, "best.pt")
        assert all(torch.equal(weight, best[name]) for name, weight in one.model.learning().items())

    def test_of_equally_good_weights_the_later_are_kept(
        self, base: Path, trees: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("arts_lite.train.verifier.dev_metrics", lambda *_: {"bon_accuracy": 0.75})
        one = training(tmp_path, base, trees, epochs=1.0)
        assert one.train()
        assert len(metrics(tmp_path)) > 1
        best, last = weights(tmp_path, "best.pt"), weights(tmp_path)
        assert all(torch.equal(best[name], last[name]) for name in last)
        assert format_of(one).metrics["dev"]["step"] == one.num_steps


class TestRefusals:
    def test_other_settings(self, finished: Path, base: Path, trees: Path) -> None:
        with pytest.raises(TrainingError, match=r"run of other settings \(epochs, objective\)"):
            training(finished, base, trees, objective="orm", epochs=1.0)

    def test_other_trees(self, finished: Path, base: Path, tmp_path: Path) -> None:
        others = write_sums(tmp_path / "trees.jsonl", seed=1)
        with pytest.raises(TrainingError, match=r"run of other settings \(.*trees_digest\)"):
            training(finished, base, others)

    def test_no_tree_that_could_be_learnt_from(self, base: Path, tmp_path: Path) -> None:
        (tmp_path / "trees.jsonl").write_text("")
        with pytest.raises(TrainingError, match="there is no tree to learn from"):
            training(tmp_path / "run", base, tmp_path / "trees.jsonl")
        assert not (tmp_path / "run").exists()

    def test_traces_longer_than_the_context_are_counted(self, trees: Path, tmp_path: Path) -> None:
        small = write_base(tmp_path / "small.gguf", Shape(32, 1, 1, 1, 32, max_positions=12))
        one = training(tmp_path / "run", small, trees)
        assert one.data.left_out["too_long"] > 0
        assert "traces longer than the verifier's context" in one.data.summary()

    def test_a_question_without_a_token(self, base: Path, tmp_path: Path) -> None:
        with TreeWriter(tmp_path / "trees.jsonl") as writer:
            writer.write(sdf_tree(Random(0), question=" ", policy=lines()))
        with pytest.raises(TrainingError, match="rules of the input: the question ' ' gives no token"):
            training(tmp_path / "run", base, tmp_path / "trees.jsonl", question_template="{question}")

    @pytest.mark.parametrize("name", ["flow", "rm"])
    def test_a_loss_that_is_nan_ends_the_run_before_anything_is_saved(
        self, name: str, base: Path, trees: Path, tmp_path: Path
    ) -> None:
        one = training(tmp_path, base, trees, objective=name)
        train_for(one, 2)
        before = (tmp_path / "checkpoint.pt").read_bytes()
        again = training(tmp_path, base, trees, objective=name)
        with torch.no_grad():
            again.model.head.weight[0, 0] = float("nan")
        with pytest.raises(TrainingError, match="lower"):
            again.train()
        with pytest.raises(TrainingError, match="a weight is not finite at step 2: the run has diverged"):
            again.save()
        assert (tmp_path / "checkpoint.pt").read_bytes() == before

    def test_a_learning_rate_beyond_reason_is_told_as_such(self, base: Path, trees: Path, tmp_path: Path) -> None:
        one = training(tmp_path, base, trees, learning_rate=1e30, head_learning_rate=1e30)
        with pytest.raises(TrainingError, match="diverged"):
            one.train()

    def test_a_gradient_that_overflows_moves_no_weight(
        self, base: Path, trees: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = training(tmp_path, base, trees)
        before = one.model.head.weight.detach().clone()
        one.model.head.weight.register_hook(lambda gradient: gradient * float("inf"))
        with pytest.raises(TrainingError, match=r"its gradient's norm (inf|nan) at step 0: the run has diverged"):
            one.train()
        assert torch.equal(one.model.head.weight, before)

    def test_a_full_disk_keeps_the_checkpoint_before(
        self,
        finished: Path,
        base: Path,
        trees: Path,
        tmp_path: Path,
        full_disk: Callable[[int], AbstractContextManager[None]],
    ) -> None:
        train_for(training(tmp_path, base, trees), 3)
        for num_bytes in (10_000, (tmp_path / "metrics.jsonl").stat().st_size + 10):
            with full_disk(num_bytes), pytest.raises(TrainingError, match="Make room and run the same command again"):
                training(tmp_path, base, trees).train()
        assert training(tmp_path, base, trees).train()
        assert_equal_runs(tmp_path, finished)
