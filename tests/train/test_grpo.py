"""A GRPO run: its settings, its steps, its resumption, its files."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from fakes.policies import SHAPE, random_transformer, write_policy
from hidden_llama import hidden_states

from arts_lite.engine.gguf import read_header
from arts_lite.errors import TrainingError
from arts_lite.tasks import Problem, make_task
from arts_lite.tasks.arithmetic import arithmetic_problem
from arts_lite.train.byte_vocab import EOS, PAD
from arts_lite.train.export import read_gguf, write_gguf
from arts_lite.train.extinction import BankTrace, trace_log_probs
from arts_lite.train.grpo import GrpoConfig, GrpoRun, newest_checkpoint
from arts_lite.train.policy import read_policy
from arts_lite.train.reward import Question

HAS_TRL = all(importlib.util.find_spec(package) for package in ("trl", "datasets", "accelerate"))
needs_trl = pytest.mark.skipif(not HAS_TRL, reason="TRL (extra grpo) is not installed")
foreign_warnings = pytest.mark.filterwarnings("ignore")  # of TRL, transformers and what they import

CONFIG = GrpoConfig(
    5e-3,
    num_steps=4,
    num_prompts=2,
    num_generations=4,
    max_tokens=10,
    rows_at_once=4,
    warmup_steps=0,
    num_dev=2,
    dev_every=2,
    probe_every=2,
    save_every=2,
    file_type="F32",
)
CPU = torch.device("cpu")


def letters(*_: Any) -> Callable[..., list[float]]:
    """A reward that random models earn now and then: the share of bytes below 128, at least half of them."""

    def reward(completion_ids: list[list[int]], **_: Any) -> list[float]:
        return [float(sum(token < 128 for token in tokens) * 2 > len(tokens)) for tokens in completion_ids]

    return reward


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_policy(tmp_path / "base.gguf")


@pytest.fixture
def make_run(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., GrpoRun]:
    monkeypatch.setattr("arts_lite.train.grpo.reward_function", letters)

    def make(name: str = "run", config: GrpoConfig = CONFIG, *, stop_at: int | None = None, **options: Any) -> GrpoRun:
        task = make_task("arithmetic")
        questions, dev = (
            [Question(task, one) for one in islice(task.generate(0, split), 6)]  # type: ignore[misc]
            for split in ("train", "dev")
        )

        def tell(step: int, _text: str) -> None:
            if step == stop_at:
                run.stop()

        run = GrpoRun(config, read_policy(str(base), device=CPU), questions, dev, tmp_path / name, tell=tell, **options)
        return run

    return make


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def weights(path: Path) -> dict[str, np.ndarray]:
    return read_gguf(path)[1]


@needs_trl
@foreign_warnings
def test_steps_move_the_policy_are_logged_and_end_in_a_gguf(make_run: Callable[..., GrpoRun], base: Path) -> None:
    run = make_run()
    path = run.train()
    assert path == run.path
    before, after = weights(base), weights(path)
    assert any(np.abs(after[name] - before[name]).max() > 1e-3 for name in before)
    found = lines(path.parent / "metrics.jsonl")
    steps = [line for line in found if "reward" in line]
    assert [line["step"] for line in steps] == [1, 2, 3, 4]
    assert [line["step"] for line in found if "dev_pass_at_1" in line] == [0, 2, 4]
    for line in steps:
        assert 0 <= line["reward"] <= 1
        assert line["frac_reward_zero_std"] in (0, 0.5, 1)
        assert 0 < line["entropy"] < math.log(288)
        assert 0 < line["completion_length"] <= 10
        assert line["seconds"] > 0
    assert any(line["frac_reward_zero_std"] < 1 and line["grad_norm"] > 0 for line in steps)
    config = json.loads((path.parent / "config.json").read_text())["config"]
    assert config["loss_normaliser"] == "tokens of all completions of the step"
    assert (config["temperature"], config["top_p"], config["beta"]) == (1.0, 1.0, 0.0)


@needs_trl
@foreign_warnings
def test_the_last_norm_can_learn_at_a_rate_of_its_own(make_run: Callable[..., GrpoRun], base: Path) -> None:
    config = replace(CONFIG, learning_rate=1e-6, norm_learning_rate=1e-2, num_steps=1, num_dev=0)
    path = make_run(config=config).train()
    assert path is not None
    before, after = weights(base), weights(path)
    moved = {name: float(np.abs(after[name] - before[name]).max()) for name in before}
    for name, distance in moved.items():
        assert distance == pytest.approx(1e-2 if name == "output_norm.weight" else 1e-6, rel=0.2), name
    assert lines(path.parent / "metrics.jsonl")[0]["learning_rate"] == pytest.approx(1e-6)


@needs_trl
@foreign_warnings
@pytest.mark.parametrize("loss_type", ["dapo", "grpo", "dr_grpo"])
def test_the_loss_is_the_stated_formula_with_the_stated_normaliser(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss_type: str
) -> None:
    seen: list[tuple[float, int]] = []

    def recording(*_: Any) -> Callable[..., list[float]]:
        def reward(completion_ids: list[list[int]], **_: Any) -> list[float]:
            rewards = [float(sum(tokens) % 3 == 0) for tokens in completion_ids]
            seen.extend(zip(rewards, map(len, completion_ids), strict=True))
            return rewards

        return reward

    monkeypatch.setattr("arts_lite.train.grpo.reward_function", recording)
    config = replace(CONFIG, num_steps=1, num_dev=0, max_tokens=40, loss_type=loss_type)
    policy = read_policy(str(base), device=CPU)
    with torch.no_grad():
        policy.model.model.embed_tokens.weight[EOS] *= 3  # so that lengths differ
    question = Question(make_task("arithmetic"), arithmetic_problem("1+2*3"))
    assert GrpoRun(config, policy, [question] * 2, [], tmp_path / "run").train()
    rewards, lengths = (np.array(values) for values in zip(*seen, strict=True))
    groups = rewards.reshape(2, 4)
    advantages = ((groups - groups.mean(1, keepdims=True)) / (groups.std(1, ddof=1, keepdims=True) + 1e-4)).ravel()
    assert len(set(lengths)) > 2
    assert advantages.any()
    normaliser = {"dapo": lengths.sum(), "grpo": 8 * lengths, "dr_grpo": 8 * 40}[loss_type]
    [line] = [line for line in lines(tmp_path / "run" / "metrics.jsonl") if "reward" in line]
    assert line["reward"] == pytest.approx(rewards.mean())
    assert line["completion_length"] == pytest.approx(lengths.mean())
    assert line["loss"] == pytest.approx(-(advantages * lengths / normaliser).sum(), abs=1e-5)


@needs_trl
@foreign_warnings
@pytest.mark.parametrize("rows_at_once", [4, 8])
def test_completions_without_an_advantage_are_spared_and_the_policy_is_the_same(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_at_once: int
) -> None:
    from arts_lite.train import grpo_trl

    passed: list[int] = []
    spare = grpo_trl._Trainer.compute_loss
    plain = grpo_trl.GRPOTrainer._compute_loss

    def counting(self: Any, model: Any, inputs: Any) -> Any:
        passed.append(len(inputs["advantages"]))
        return plain(self, model, inputs)

    def scripted(*_: Any) -> Callable[..., list[float]]:
        steps = iter(([], [0], [0, 4, 5]))  # who is right, in groups of four: none, one and both groups have a variance
        return lambda completion_ids, **_: [float(number in right) for right in [next(steps)] for number in range(8)]

    monkeypatch.setattr("arts_lite.train.grpo.reward_function", scripted)
    monkeypatch.setattr(grpo_trl.GRPOTrainer, "_compute_loss", counting)
    config = replace(CONFIG, num_steps=3, num_dev=0, rows_at_once=rows_at_once, learning_rate=1e-3)
    question = Question(make_task("arithmetic"), arithmetic_problem("1+2*3"))
    found = []
    for name, compute in (("spare", spare), ("whole", grpo_trl.GRPOTrainer.compute_loss)):
        monkeypatch.setattr(grpo_trl._Trainer, "compute_loss", compute)
        path = GrpoRun(config, read_policy(str(base), device=CPU), [question] * 2, [], tmp_path / name).train()
        assert path is not None
        told = lines(path.parent / "metrics.jsonl")
        found.append((weights(path), [(line["loss"], line["grad_norm"]) for line in told if "reward" in line]))
    num_calls = 3 * 8 // rows_at_once
    assert passed[num_calls:] == [rows_at_once] * num_calls
    # Rows of a group are dealt to both halves, so that a half keeps one row where it has none with an advantage.
    assert sum(passed[:num_calls]) < sum(passed[num_calls:])
    assert passed[0] == 1
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-3, atol=1e-6)
    for name, weight in found[1][0].items():
        np.testing.assert_allclose(found[0][0][name], weight, atol=2e-5, err_msg=name)


@needs_trl
@foreign_warnings
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(make_run: Callable[..., GrpoRun], tmp_path: Path) -> None:
    whole = make_run("whole").train()
    assert make_run("cut", stop_at=3).train() is None
    assert not (tmp_path / "cut" / "policy.gguf").exists()
    resumed = make_run("cut").train()
    assert whole is not None
    assert resumed is not None
    same = [
        [
            {key: value for key, value in line.items() if key != "seconds"}
            for line in lines(path.parent / "metrics.jsonl")
        ]
        for path in (whole, resumed)
    ]
    assert same[0] == same[1]
    for name, weight in weights(whole).items():
        np.testing.assert_array_equal(weights(resumed)[name], weight)


@needs_trl
@foreign_warnings
def test_what_was_done_after_the_last_checkpoint_is_done_and_logged_again(
    make_run: Callable[..., GrpoRun], tmp_path: Path
) -> None:
    bank = own_bank(make_run)
    assert make_run(stop_at=3, bank=bank).train() is None
    folder = tmp_path / "run"
    (folder / "checkpoints" / "checkpoint-3" / "trainer_state.json").unlink()  # killed while it was written
    with (folder / "extinction.jsonl").open("a") as file:
        file.write('{"step": 3, "name": "mode"}\n{"step": 3, "na')
    assert make_run(bank=bank).train() is not None
    assert [line["step"] for line in lines(folder / "metrics.jsonl") if "reward" in line] == [1, 2, 3, 4]
    assert [line["step"] for line in lines(folder / "extinction.jsonl") if line["name"] == "wrong"] == [0, 2, 4]


@needs_trl
@foreign_warnings
def test_a_full_disk_is_told_and_the_run_goes_on_once_there_is_room(
    make_run: Callable[..., GrpoRun], full_disk: Callable[[int], AbstractContextManager[None]], tmp_path: Path
) -> None:
    run = make_run()
    with full_disk(50_000), pytest.raises(TrainingError, match=r"could not be written to .*Make room"):
        run.train()
    assert newest_checkpoint(tmp_path / "run" / "checkpoints") is None
    assert make_run().train() is not None
    assert [line["step"] for line in lines(tmp_path / "run" / "metrics.jsonl") if "reward" in line] == [1, 2, 3, 4]


@needs_trl
@foreign_warnings
def test_a_finished_run_writes_its_policy_again(make_run: Callable[..., GrpoRun]) -> None:
    path = make_run().train()
    assert path is not None
    content = path.read_bytes()
    path.unlink()
    assert make_run().train() == path
    assert path.read_bytes() == content


@needs_trl
@foreign_warnings
def test_the_probe_tells_how_the_tuned_policy_sees_the_bank(make_run: Callable[..., GrpoRun], tmp_path: Path) -> None:
    bank = own_bank(make_run)
    path = make_run(bank=bank).train()
    assert path is not None
    rows = lines(tmp_path / "run" / "extinction.jsonl")
    assert [row["step"] for row in rows if row["name"] == "wrong"] == [0, 2, 4]
    assert all(row["mean_delta_log10_prob"] == 0 for row in rows if row["step"] == 0)
    tuned = read_policy(str(path), device=CPU)
    now = trace_log_probs(tuned.model, bank, pad=PAD)
    fixed = {tuple(line["tokens"]): line for line in lines(tmp_path / "run" / "bank.jsonl")}
    deltas = [(value - fixed[one.tokens]["log_prob"]) / math.log(10) for one, value in zip(bank, now, strict=True)]
    assert max(map(abs, deltas)) > 1e-3
    for name in {line["bin"] for line in fixed.values()}:
        mean = np.mean([delta for one, delta in zip(bank, deltas, strict=True) if fixed[one.tokens]["bin"] == name])
        [row] = [row for row in rows if row["step"] == 4 and row["name"] == name]
        assert row["mean_delta_log10_prob"] == pytest.approx(mean, abs=1e-4)


def own_bank(make_run: Callable[..., GrpoRun]) -> list[BankTrace]:
    """Traces of one problem with the log-probs that the base gives them."""
    texts = [b"1+2=3\n", b"2+1=3\n", b"3\n", b"1+2=4\n"]
    bank = [BankTrace("p", tuple(b"1+2\n"), (*text, EOS), text != texts[-1]) for text in texts]
    log_probs = trace_log_probs(make_run("probe").policy.model, bank, pad=PAD)
    return [
        BankTrace(one.problem, one.prompt, one.tokens, one.is_correct, log_prob=float(value))
        for one, value in zip(bank, log_probs, strict=True)
    ]


@needs_trl
def test_a_bank_of_another_model_is_refused_at_the_start(make_run: Callable[..., GrpoRun]) -> None:
    bank = [BankTrace("p", (1,), (2, token), True, log_prob=-500.0) for token in (3, 4)]
    with pytest.raises(TrainingError, match="they were not sampled from it"):
        make_run(bank=bank)


@needs_trl
def test_a_folder_of_another_run_is_refused(make_run: Callable[..., GrpoRun]) -> None:
    make_run()
    with pytest.raises(TrainingError, match="other settings"):
        make_run(config=GrpoConfig(1e-3))


@needs_trl
@foreign_warnings
def test_a_hugging_face_model_is_tuned_by_conversation_and_exported_with_a_template(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arts_lite.train.grpo.reward_function", letters)
    source = read_policy(str(base), device=CPU)
    source.tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    source.model.save_pretrained(tmp_path / "hf")
    source.tokenizer.save_pretrained(tmp_path / "hf")
    policy = read_policy(str(tmp_path / "hf"), device=CPU, system="Think.")
    assert bytes(policy.encode("1 + 1?")) == b"system: Think.\nuser: 1 + 1?\n"
    questions = [Question(make_task("jsonl"), Problem(str(n), f"{n} + 1?", str(n + 1))) for n in range(4)]
    config = replace(CONFIG, num_steps=1)
    run = GrpoRun(config, policy, questions, [], tmp_path / "run", template=base)
    path = run.train()
    assert path == tmp_path / "run" / "policy.gguf"
    again = read_policy(str(tmp_path / "run" / "policy"), device=CPU)
    tokens = list(b"system: Think.")
    with torch.no_grad():
        expected = again.model(torch.tensor([tokens])).logits[0]
        base_logits = source.model(torch.tensor([tokens])).logits[0]
    assert (expected - base_logits).abs().max() > 1e-2
    with hidden_states(path, kv_type="f32") as compute:
        _, found = compute(tokens)
    torch.testing.assert_close(torch.from_numpy(found.copy()), expected, atol=1e-4, rtol=1e-4)
    assert read_header(path).metadata["arts.system"] == "Think."


@needs_trl
@foreign_warnings
def test_a_template_of_another_model_is_refused_before_the_first_step(base: Path, tmp_path: Path) -> None:
    source = read_policy(str(base), device=CPU)
    source.tokenizer.chat_template = "{{ messages[-1].content }}"
    source.model.save_pretrained(tmp_path / "hf")
    source.tokenizer.save_pretrained(tmp_path / "hf")
    other = tmp_path / "other.gguf"
    write_gguf(other, random_transformer(shape=replace(SHAPE, num_layers=1)), {}, file_type="F32")
    question = Question(make_task("jsonl"), Problem("1", "1 + 1?", "2"))
    with pytest.raises(TrainingError, match="not of this base"):
        GrpoRun(CONFIG, read_policy(str(tmp_path / "hf"), device=CPU), [question], [], tmp_path / "run", template=other)


def test_a_checkpoint_that_was_not_written_whole_is_passed_over(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path / "missing") is None
    for step in (5, 10, 90, 100):
        (tmp_path / f"checkpoint-{step}").mkdir()
    assert newest_checkpoint(tmp_path) is None
    for step in (5, 10, 90):
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").touch()
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-90"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate is 0.0, but must be in"),
        ({"norm_learning_rate": 1.0}, "norm_learning_rate is 1.0, but must be in"),
        ({"learning_rate": float("nan")}, "learning_rate is nan, but must be in"),
        ({"beta": -1.0}, "beta -1.0 must be >= 0"),
        ({"num_generations": 1}, "num_generations is 1, but must be >= 2"),
        ({"num_steps": 0}, "num_steps is 0, but must be >= 1"),
        ({"rows_at_once": 7}, "rows_at_once is 7, but must divide num_prompts [*] num_generations = 64"),
        ({"loss_type": "ppo"}, "loss_type is 'ppo', but must be one of dapo, grpo, dr_grpo, bnpo"),
        ({"precision": "fp8"}, "precision is 'fp8'"),
        ({"file_type": "Q2_K"}, "file_type is 'Q2_K'"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GrpoConfig(**{"learning_rate": 1e-4, **settings})


def test_without_trl_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from arts_lite.train import policy

    monkeypatch.setattr(policy, "find_spec", lambda _name: None)
    with pytest.raises(ImportError, match=r"pip install 'arts-lite\[grpo\]'"):
        GrpoRun(CONFIG, None, [], [], tmp_path)  # type: ignore[arg-type]


@needs_trl
@foreign_warnings
def test_a_sweep_trains_one_policy_for_each_learning_rate_and_compares_them(base: Path, tmp_path: Path) -> None:
    from arts_lite.cli import main

    options = ["--steps", "1", "--prompts", "1", "--generations", "2", "--max-tokens", "4", "--num-dev", "2"]
    rates = ["--learning-rate", "1e-4", "--learning-rate", "1e-3"]
    command = ["train", "grpo", "--base", str(base), "--task", "countdown", "--task", "arithmetic", *options, *rates]
    result = CliRunner().invoke(main, [*command, "--out", str(tmp_path / "sweep"), "--threads", "1"])
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert [row["learning_rate"] for row in found] == [1e-4, 1e-3]
    for row in found:
        assert Path(row["policy"]).is_file()
        assert (row["dev_before"], row["dev_after"]) == (0.0, 0.0)  # a random model solves nothing


def test_trl_is_told_to_tell_its_makers_nothing() -> None:
    """Read when huggingface_hub loads, hence in a process of its own."""
    code = "import arts_lite.train; from huggingface_hub import constants; print(constants.HF_HUB_DISABLE_TELEMETRY)"
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_DISABLE_TELEMETRY"}
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "True"
