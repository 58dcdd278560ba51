"""The paper in miniature, as stages: trees, verifiers, GRPO, and evaluations of all of them in one engine.

Arithmetic decides: several seeds, GRPO included. Countdown is done once, without GRPO. What is drawn where:

* trees to learn from, and GRPO's prompts: the same problems of the train split, by seed;
* the extinction probe's bank: of the dev split; the evaluations: of the test split;
* each extinction set: on samples of that seed's policy; what is measured on it: fresh samples of the frozen proposer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from arts_lite.experiments.sizes import RATES, Rates, Sizes
from arts_lite.experiments.stage import Stage

VERIFIERS: Mapping[str, tuple[str, ...]] = {
    "arts-sum": ("--objective", "flow", "--estimator", "sum", "--deviance", "squared-log"),
    "arts-expected": ("--objective", "flow", "--estimator", "expected"),
    "prm-soft": ("--objective", "prm", "--labels", "soft"),
    "prm-hard": ("--objective", "prm", "--labels", "hard"),
    "rm": ("--objective", "rm"),
    "orm": ("--objective", "orm"),
}
"""Names of the verifiers -> what is told to the trainer; all see the same trees in the same batches."""
POLICY_VERIFIERS = ("arts-sum", "arts-expected")
_LEAVES = 2.5  # of a tree, per main trace, at a fork probability of one half
_UNTIL_RIGHT = 6.0  # traces of a problem, of at most 16, until one is right
_PROGRAM = ("-m", "arts_lite")
_MAX_TOKENS = ("--max-tokens", "320")
_EVAL_SEED, _POLICY_SEED, _FRESH_SEED, _SEARCH_SEED = 1000, 2000, 3000, 4000


@dataclass(frozen=True)
class Miniature:
    """Makes the stages.

    Attributes:
        sizes: of everything.
        seeds: >= 1: 0, 1, ...
        threads: of the trainers; None: torch's choice.
        proposer: a GGUF; None: the embedded one.
        proposer_sha256: of that file.
        from_scratch: a proposer is trained first, and used instead.
        rates: by which minutes are expected.
    """

    sizes: Sizes
    seeds: int = 3
    threads: int | None = None
    proposer: str | None = None
    proposer_sha256: str | None = None
    from_scratch: bool = False
    rates: Rates = RATES

    def stages(self) -> list[Stage]:
        """List all stages, in their order."""
        stages = [self._scratch()] if self.from_scratch else []
        for seed in range(self.seeds):
            stages.append(self._trees("arithmetic", seed))
            stages += [self._verifier("arithmetic", seed, name) for name in VERIFIERS]
        stages.append(self._bank())
        stages += [self._grpo(seed) for seed in range(self.seeds)]
        stages.append(self._evaluation("arithmetic", self.seeds))
        stages.append(self._search())
        stages += [self._policy(seed) for seed in range(self.seeds)]
        for seed in range(self.seeds):
            stages += [self._extinct(seed), self._recovery(seed)]
        if self.sizes.countdown:
            stages.append(self._trees("countdown", 0))
            stages += [self._verifier("countdown", 0, name) for name in VERIFIERS]
            stages.append(self._evaluation("countdown", 1))
        return [*stages, self._pictures([stage.name for stage in stages])]

    def settings(self) -> dict[str, Any]:
        """Say what the run is, for its report."""
        return {"seeds": self.seeds, "from_scratch": self.from_scratch, "proposer_sha256": self.proposer_sha256}

    def _scratch(self) -> Stage:
        num = self.sizes.proposer_samples
        command = (*_PROGRAM, "train", "proposer", "--out", "proposer", "--samples", str(num), *self._threads())
        seconds = self.rates.start_training + num * self.rates.sample
        return Stage("proposer", command, (), ("proposer/proposer.gguf",), seconds / 60)

    def _trees(self, task: str, seed: int) -> Stage:
        sizes, name = self.sizes, f"trees-{task}-{seed}"
        command = (
            *(*_PROGRAM, "sdf", *self._problems(task, sizes.num_trees, "train", seed)),
            *("--num-traces", str(sizes.num_traces), "--fork-prob", f"{sizes.fork_prob:g}"),
            *(*_MAX_TOKENS, *self._proposer(), "--seed", str(seed), "--out", name),
        )
        return self._stage(name, command, seconds=sizes.num_trees * sizes.num_traces * _LEAVES * self.rates.trace)

    def _verifier(self, task: str, seed: int, kind: str) -> Stage:
        sizes, name, trees = self.sizes, verifier_stage(task, seed, kind), f"trees-{task}-{seed}"
        command = (
            *(*_PROGRAM, "train", "verifier", "--trees", trees, "--base", self._base(), "--out", name),
            *(*VERIFIERS[kind], "--epochs", f"{sizes.epochs:g}", "--batch-tokens", str(sizes.batch_tokens)),
            *("--evals", "2", "--seed", str(seed), *self._threads()),
        )
        seconds = self.rates.start_training + sizes.num_trees * sizes.epochs * self.rates.tree_epoch
        return self._stage(name, command, (trees,), ("verifier.gguf",), seconds)

    def _bank(self) -> Stage:
        sizes = self.sizes
        command = (
            *(*_PROGRAM, "sdf", *self._problems("arithmetic", sizes.num_bank, "dev", 0)),
            *("--num-traces", str(sizes.bank_traces), "--fork-prob", "0", *_MAX_TOKENS, *self._proposer()),
            *("--out", "bank"),
        )
        return self._stage("bank", command, seconds=sizes.num_bank * sizes.bank_traces * self.rates.trace)

    def _grpo(self, seed: int) -> Stage:
        sizes, name = self.sizes, f"grpo-{seed}"
        command = (
            *(*_PROGRAM, "train", "grpo", "--base", self._base(), "--task", "arithmetic"),
            *("--difficulty", sizes.difficulty, "--num-problems", str(sizes.num_trees), "--problem-seed", str(seed)),
            *("--bank", "bank", "--max-bank", str(sizes.max_bank), "--probe-every", str(sizes.probe_every)),
            *("--steps", str(sizes.grpo_steps), "--prompts", str(sizes.grpo_prompts)),
            *("--generations", str(sizes.generations), "--max-tokens", str(sizes.grpo_tokens)),
            *("--learning-rate", f"{sizes.learning_rate:g}"),
            *("--norm-learning-rate", f"{sizes.norm_learning_rate:g}"),
            *("--num-dev", str(sizes.num_dev), "--dev-every", str(sizes.dev_every), "--seed", str(seed)),
            *("--out", name, *self._threads()),
        )
        num_completions = sizes.grpo_steps * sizes.grpo_prompts * sizes.generations
        num_dev = sizes.num_dev * sizes.generations * (1 + -(-sizes.grpo_steps // sizes.dev_every))
        num_probed = sizes.max_bank * (2 + sizes.grpo_steps // sizes.probe_every)
        seconds = self.rates.start_training + num_completions * self.rates.completion
        seconds += num_dev * self.rates.dev_completion + num_probed * self.rates.probed
        return self._stage(name, command, ("bank",), ("policy.gguf", "metrics.jsonl", "extinction.jsonl"), seconds)

    def _evaluation(self, task: str, num_seeds: int) -> Stage:
        """All verifiers of all seeds on one pool of the frozen proposer."""
        sizes = self.sizes
        verifiers = {f"{kind}-{seed}": (task, seed, kind) for seed in range(num_seeds) for kind in VERIFIERS}
        return self._eval(f"eval-{task}", task, sizes.num_problems, verifiers, _EVAL_SEED)

    def _search(self) -> Stage:
        """Flow search, and best-of-n with the same early stop, on part of the problems."""
        sizes = self.sizes
        ks = ",".join(map(str, sizes.search_n))
        more = ("--n", ks, "--num-samples", str(sizes.num_samples), "--strategies", "best-of-n,flow,best-of-n+stop")
        verifiers = {"arts-expected-0": ("arithmetic", 0, "arts-expected")}
        searched = 2 * sum(sizes.search_n) / 16 * sizes.num_search * self.rates.live
        return self._eval("search", "arithmetic", sizes.num_search, verifiers, _SEARCH_SEED, more, seconds=searched)

    def _policy(self, seed: int) -> Stage:
        verifiers = {kind: ("arithmetic", seed, kind) for kind in POLICY_VERIFIERS}
        return self._eval(
            *(f"eval-policy-{seed}", "arithmetic", self.sizes.num_problems, verifiers, _EVAL_SEED),
            proposer=f"grpo-{seed}",
        )

    def _extinct(self, seed: int) -> Stage:
        sizes, name = self.sizes, f"extinct-{seed}"
        command = (
            *(*_PROGRAM, "extinct", "--task", "arithmetic", "--difficulty", sizes.difficulty, "--problem-seed", "1"),
            *("--proposer", f"grpo-{seed}/policy.gguf", "--num-traces", "16", *_MAX_TOKENS),
            *("--num-wanted", str(sizes.num_extinct), "--max-problems", str(sizes.max_asked)),
            *("--seed", str(_POLICY_SEED + seed), "--out", name),
        )
        seconds = sizes.max_asked * 0.6 * (_UNTIL_RIGHT * self.rates.trace + self.rates.problem)
        return self._stage(name, command, (f"grpo-{seed}",), ("extinct.txt",), seconds)

    def _recovery(self, seed: int) -> Stage:
        verifiers = {kind: ("arithmetic", seed, kind) for kind in VERIFIERS}
        more = ("--only", f"extinct-{seed}/extinct.txt")
        return self._eval(
            *(f"eval-extinct-{seed}", "arithmetic", self.sizes.num_extinct, verifiers, _FRESH_SEED + seed, more),
            only=f"extinct-{seed}",
        )

    def _pictures(self, names: Sequence[str]) -> Stage:
        """Plots of everything that was measured."""
        shown = [name for name in names if name.startswith(("eval-", "search", "grpo")) and "extinct" not in name]
        recovered = [name for name in names if name.startswith("eval-extinct")]
        more = [part for name in recovered for part in ("--extinct", name)]
        command = (*_PROGRAM, "report", *shown, *more, "-o", "pictures")
        return self._stage("pictures", command, (*shown, *recovered), ("report.html",), 45.0)

    def _eval(
        self,
        name: str,
        task: str,
        num_problems: int,
        verifiers: Mapping[str, tuple[str, int, str]],
        seed: int,
        more: Sequence[str] = (),
        *,
        proposer: str | None = None,
        only: str | None = None,
        seconds: float = 0.0,
    ) -> Stage:
        files = {label: verifier_stage(*key) for label, key in verifiers.items()}
        named = [part for label, stage in files.items() for part in ("--verifier", f"{label}={stage}/verifier.gguf")]
        asked = self.sizes.max_asked if only else num_problems
        model = ("--proposer", f"{proposer}/policy.gguf") if proposer else self._proposer()
        ks = () if "--n" in more else ("--n", ",".join(str(k) for k in (2, 4, 8, 16) if k <= self.sizes.num_samples))
        strategies = () if "--strategies" in more else ("--strategies", "best-of-n,weighted-vote")
        command = (
            *(*_PROGRAM, "eval", *self._problems(task, asked, "test", 1 if only else 0), *model, *named, *ks),
            *(*strategies, *more, *_MAX_TOKENS, "--seed", str(seed), "--out", name),
        )
        needs = (*files.values(), *(one for one in (proposer, only) if one))
        drawn = num_problems * self.sizes.num_samples * self.rates.trace + asked * self.rates.problem
        read = num_problems * self.sizes.num_samples / 16 * len(files) * self.rates.reading
        return self._stage(name, command, needs, ("results.json", "problems.jsonl"), drawn + read + seconds)

    def _stage(
        self,
        name: str,
        command: tuple[str, ...],
        needs: Sequence[str] = (),
        outputs: Sequence[str] = ("settings.json",),
        seconds: float = 0.0,
    ) -> Stage:
        first = ("proposer",) if self.from_scratch else ()
        settings = {} if self.from_scratch else {"proposer_sha256": self.proposer_sha256}
        written = tuple(f"{name}/{output}" for output in outputs)
        minutes = (self.rates.start + seconds) / 60
        return Stage(name, command, (*first, *needs), written, minutes, settings)

    def _problems(self, task: str, num: int, split: str, seed: int) -> tuple[str, ...]:
        difficulty = ("--difficulty", self.sizes.difficulty) if task == "arithmetic" else ()
        return (
            *("--task", task, *difficulty, "--num-problems", str(num), "--split", split),
            *("--problem-seed", str(seed)),
        )

    def _threads(self) -> tuple[str, ...]:
        return () if self.threads is None else ("--threads", str(self.threads))

    def _proposer(self) -> tuple[str, ...]:
        base = self._base()
        return () if base == "embedded" else ("--proposer", base)

    def _base(self) -> str:
        return "proposer/proposer.gguf" if self.from_scratch else (self.proposer or "embedded")


def verifier_stage(task: str, seed: int, kind: str) -> str:
    """Name the stage that trains a verifier."""
    return f"verifier-{task}-{seed}-{kind}"
