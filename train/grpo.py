"""GRPO (arXiv 2402.03300) on the tasks' own prompts and graders: a thin run around TRL's trainer.

Each step draws G completions of each of P prompts at temperature 1 and takes one gradient step on them:

    A_i = (R_i - mean of the group's R) / (standard deviation of the group's R + 1e-4)
    loss = -(1 / N) sum over completions i and their tokens t of ratio_it A_i  [+ beta KL(policy || base)]

R is 1 for a complete and correct answer, else 0. With one step per rollout the ratio is 1 and its clipping idle. N is
the loss's normaliser, see `LOSS_NORMALISERS`. A group of equal rewards has no gradient: the share of these is logged.
Without a KL term the passes through them are spared, by "dapo": the others' normalisers count the rows that are passed.
"""

from __future__ import annotations

import dataclasses
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from arts_lite.errors import TrainingError
from arts_lite.train.export import FILE_TYPES
from arts_lite.train.extinction import BankTrace, ExtinctionProbe, check_same_model, trace_log_probs
from arts_lite.train.policy import Policy, need
from arts_lite.train.reward import Question, reward_function
from arts_lite.train.rundir import RunDirectory, append_line, keep_lines_until

LOSS_NORMALISERS: Mapping[str, str] = {
    "dapo": "tokens of all completions of the step",
    "grpo": "completions of the step, each one's tokens averaged first",
    "dr_grpo": "completions of the step times max_tokens",
    "bnpo": "tokens of the completions that are computed at once",
}
_LOGGED: Mapping[str, str] = {
    "loss": "loss",
    "reward": "reward",
    "reward_std": "reward_std",
    "frac_reward_zero_std": "frac_reward_zero_std",
    "entropy": "entropy",
    "kl": "kl",
    "completion_length": "completions/mean_length",
    "frac_cut": "completions/clipped_ratio",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
    "num_tokens": "num_tokens",
    "seconds": "step_time",
}
"""Our names of metrics -> TRL's. Entropy is in nats per token, over the completions that are passed through the model;
length is in tokens; `frac_cut` is cut at max_tokens."""
_STATE = "trainer_state.json"  # the last file of a checkpoint to be written


@dataclass(frozen=True, slots=True)
class GrpoConfig:
    """One run.

    Attributes:
        learning_rate: AdamW's, constant after `warmup_steps`. 1e-6 does for billions of parameters, and does not move
            2 million.
        norm_learning_rate: of the last norm, whose size is the temperature; None: the same. That it should grow is what
            a group's rewards say most clearly, but a rate that matrices bear hardly moves it.
        num_steps: gradient steps, >= 1.
        num_prompts: different prompts per step, >= 1.
        num_generations: completions per prompt (G), >= 2; 8 or more for a fair baseline.
        max_tokens: of a completion; a longer one is cut and earns nothing.
        loss_type: a key of `LOSS_NORMALISERS`.
        beta: weight of the KL term, >= 0.
        max_norm: gradients are scaled down to it.
        rows_at_once: completions whose gradient is computed at once; divides num_prompts * num_generations.
        dev_every, num_dev: pass@1 of `num_dev` dev problems (num_generations samples each) is measured at the start and
            after so many steps; 0 dev problems: never.
        probe_every, save_every: in steps.
        precision: "fp32" or "bf16" (of activations; weights and their updates stay float32).
        file_type: of the exported GGUF: F32, F16 or Q8_0.
        seed: of the order of prompts and the draws.

    Raises:
        ValueError: a value is outside its range.
    """

    learning_rate: float
    norm_learning_rate: float | None = None
    num_steps: int = 300
    num_prompts: int = 8
    num_generations: int = 8
    max_tokens: int = 320
    loss_type: str = "dapo"
    beta: float = 0.0
    warmup_steps: int = 5
    max_norm: float = 1.0
    rows_at_once: int = 64
    dev_every: int = 50
    num_dev: int = 64
    probe_every: int = 25
    save_every: int = 25
    precision: str = "fp32"
    file_type: str = "F16"
    seed: int = 0

    def __post_init__(self) -> None:
        lowest = dict.fromkeys(("num_steps", "num_prompts", "max_tokens", "rows_at_once"), 1)
        lowest |= dict.fromkeys(("dev_every", "probe_every", "save_every"), 1)
        lowest |= {"num_generations": 2, "warmup_steps": 0, "num_dev": 0, "seed": 0}
        for name, low in lowest.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be >= {low}")
        for name, rate in (("learning_rate", self.learning_rate), ("norm_learning_rate", self.norm_learning_rate)):
            if rate is not None and not 0 < rate < 1:
                raise ValueError(f"{name} is {rate}, but must be in (0, 1)")
        if self.beta < 0 or not self.max_norm > 0:
            raise ValueError(f"beta {self.beta} must be >= 0 and max_norm {self.max_norm} > 0")
        if self.num_rows % self.rows_at_once:
            raise ValueError(
                f"rows_at_once is {self.rows_at_once}, but must divide num_prompts * num_generations = {self.num_rows}"
            )
        choices = {"loss_type": tuple(LOSS_NORMALISERS), "precision": ("fp32", "bf16"), "file_type": tuple(FILE_TYPES)}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}, but must be one of {', '.join(known)}")

    @property
    def num_rows(self) -> int:
        """Completions of a step."""
        return self.num_prompts * self.num_generations


class GrpoRun:
    """One run: resumes from its folder's newest whole checkpoint, ends with the tuned policy there.

    Args:
        questions: of the training, cycled where they do not last.
        dev: of the dev metric; the first `num_dev` of them.
        folder: config.json, metrics.jsonl, extinction.jsonl, bank.jsonl, checkpoints/, and at the end policy.gguf (of a
            tiny model) or policy/ (of a Hugging Face model; with a template policy.gguf too).
        bank: traces of the extinction probe; none: no probe.
        template: GGUF of a Hugging Face base, with which policy.gguf is written too.
        tell: called after each step with (steps done, one line of metrics).

    Raises:
        ImportError: TRL is not installed.
        TrainingError: the folder holds another run, or the bank is not of this base.
    """

    def __init__(
        self,
        config: GrpoConfig,
        policy: Policy,
        questions: Sequence[Question],
        dev: Sequence[Question],
        folder: Path,
        *,
        bank: Sequence[BankTrace] = (),
        template: Path | None = None,
        tell: Callable[[int, str], None] = lambda _done, _text: None,
    ) -> None:
        need("trl", "datasets", "accelerate")
        if not questions:
            raise TrainingError("there is no problem to train on")
        if template is not None:
            policy.check_template(template)  # now, not after hours
        self._template = template
        self.config = config
        self.policy = policy
        self.is_stopped = False
        self._questions = [*questions, *dev[: config.num_dev]]
        self._num_train = len(questions)
        self._tell = tell
        self._folder = folder
        self._run = RunDirectory(folder, self._settings(bank))
        self.path = folder / ("policy" if policy.shape is None and template is None else "policy.gguf")
        self._probe = self._ready_probe(bank)

    def stop(self) -> None:
        """End after the step at work, with a checkpoint. Callable from a signal handler."""
        self.is_stopped = True

    def train(self) -> Path | None:
        """Go on to the end and save the policy; None: it was stopped before."""
        checkpoint = newest_checkpoint(self._folder / "checkpoints")
        step = 0 if checkpoint is None else step_of(checkpoint)
        self._run.forget_metrics_after(step if checkpoint else -1)
        keep_lines_until(self._extinction, step if checkpoint else -1)
        if checkpoint is not None and step >= self.config.num_steps:
            self._load(checkpoint)
            return self._save_policy()
        trainer = self._trainer(is_fresh=checkpoint is None)
        if checkpoint is None:
            self.probe(0)
        with warnings.catch_warnings(), _told_of_full_disks(self._folder):
            warnings.simplefilter("ignore", FutureWarning)  # of TRL about transformers, which are not ours to heed
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        return self._save_policy() if trainer.state.global_step >= self.config.num_steps else None

    def probe(self, step: int) -> None:
        """Append rows of the extinction probe."""
        if self._probe is not None:
            now = trace_log_probs(self.policy.model, self._probe.traces, pad=self._pad)
            for row in self._probe.rows(step, now):
                append_line(self._extinction, row)

    def told(self, step: int, logs: Mapping[str, Any]) -> None:
        """Take in what TRL logs: one line of metrics per step, and one per dev measurement."""
        if "eval_reward" in logs:
            self._run.log(step=step, dev_pass_at_1=logs["eval_reward"], num_dev=len(self._questions) - self._num_train)
        elif "reward" in logs:
            values = {name: logs.get(key) for name, key in _LOGGED.items()}
            self._run.log(step=step, **values)
            self._tell(step, f"reward {values['reward']:.3f}, entropy {values['entropy']:.3f}")

    @property
    def _extinction(self) -> Path:
        return self._folder / "extinction.jsonl"

    @property
    def _pad(self) -> int:
        pad = self.policy.tokenizer.pad_token_id
        return int(self.policy.tokenizer.eos_token_id if pad is None else pad)

    def _settings(self, bank: Sequence[BankTrace]) -> dict[str, Any]:
        problems = [(one.task.name, one.problem.id, one.problem.question) for one in self._questions]
        return {
            "kind": "grpo",
            "base": self.policy.base,
            "base_sha256": self.policy.sha256,
            **dataclasses.asdict(self.config),
            "system": self.policy.system if self.policy.shape is None else "",
            "temperature": 1.0,
            "top_p": 1.0,
            "loss_normaliser": LOSS_NORMALISERS[self.config.loss_type],
            "problems": {"num": self._num_train, "sha256": sha256(repr(problems).encode()).hexdigest()},
            "bank": {"num": len(bank), "sha256": sha256(repr(list(bank)).encode()).hexdigest()},
        }

    def _ready_probe(self, bank: Sequence[BankTrace]) -> ExtinctionProbe | None:
        """Fix the bank under the base, or read how it was fixed when the run began."""
        path = self._folder / "bank.jsonl"
        if not bank or path.exists():
            return ExtinctionProbe.load(path) if bank else None
        base = trace_log_probs(self.policy.model, bank, pad=self._pad)
        check_same_model(np.array([one.log_prob for one in bank]), base)
        probe = ExtinctionProbe.of_base(bank, base)
        probe.save(path)
        return probe

    def _trainer(self, *, is_fresh: bool) -> Any:
        from arts_lite.train.grpo_trl import make_trainer

        rows = [
            {"prompt": self.policy.prompt(one.task, one.problem), "question": number}
            for number, one in enumerate(self._questions)
        ]
        return make_trainer(
            self,
            self._folder / "checkpoints",
            reward_function(self._questions, self.policy.end_tokens),
            [rows[number] for number in self._order()],
            rows[self._num_train :],
            is_fresh=is_fresh,
        )

    def _order(self) -> list[int]:
        """Questions of all steps: shuffled anew each time that all were asked.

        As one long epoch, since a trainer that resumes in a later epoch forgets how earlier ones were shuffled.
        """
        rng = np.random.default_rng(self.config.seed)
        wanted = self.config.num_steps * self.config.num_prompts
        num_rounds = -(-wanted // self._num_train)
        return [int(number) for _ in range(num_rounds) for number in rng.permutation(self._num_train)][:wanted]

    def _load(self, checkpoint: Path) -> None:
        model = type(self.policy.model).from_pretrained(checkpoint)
        self.policy.model.load_state_dict(model.state_dict())

    def _save_policy(self) -> Path:
        metadata = {"arts.grpo.num_steps": self.config.num_steps, "arts.grpo.learning_rate": self.config.learning_rate}
        if self.policy.shape is None:
            self._save_folder(self._folder / "policy")
        if self.policy.shape is not None or self._template is not None:
            file_type = self.config.file_type
            self.policy.write_gguf(self._folder / "policy.gguf", metadata, file_type=file_type, template=self._template)
        return self.path

    def _save_folder(self, path: Path) -> None:
        """Write a Hugging Face model, whole or not at all."""
        draft = path.with_name(f"{path.name}.new")
        self.policy.model.save_pretrained(draft)
        self.policy.tokenizer.save_pretrained(draft)
        shutil.rmtree(path, ignore_errors=True)
        draft.rename(path)


def newest_checkpoint(folder: Path) -> Path | None:
    """Find the newest whole checkpoint; one whose writing was cut short is passed over."""
    whole = [path.parent for path in folder.glob(f"checkpoint-*/{_STATE}")]
    return max(whole, key=step_of, default=None)


def step_of(checkpoint: Path) -> int:
    """Steps that a checkpoint has behind it."""
    return int(checkpoint.name.rpartition("-")[2])


@contextmanager
def _told_of_full_disks(folder: Path) -> Iterator[None]:
    """Turn what a failed checkpoint raises into a TrainingError; each library has an error of its own."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "PytorchStreamWriter" not in str(error):
            raise
        reason = str(error).splitlines()[0]
        raise TrainingError(
            f"a checkpoint could not be written to {folder} ({reason}); the one before is whole. Make room and run the "
            "same command again"
        ) from error
