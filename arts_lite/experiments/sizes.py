"""How large the experiments are: the one table from which the stages, their expected minutes and the docs follow."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of the paper in miniature.

    Attributes:
        difficulty: of arithmetic, in all stages; see docs/tasks.md.
        countdown: whether Countdown is part of it.
        num_trees, num_traces, fork_prob: of one seed's trees to learn from; main traces of each.
        epochs, batch_tokens: of a verifier's training: about 160 steps. Many problems teach more than many traces of
            each: GRPO's prompts are learnt by heart when they come again, and a tree of 16 main traces has only twice
            the tokens of one of 4.
        grpo_steps, grpo_prompts, generations: of GRPO; its problems are those of the trees.
        grpo_tokens: of GRPO's completions, at most: a batch is drawn until its longest one ends, and a right one with
            five operators is longer once in 500.
        learning_rate, norm_learning_rate: of GRPO's matrices, and of the last norm. On 400 problems x 16 samples the
            gradient of the last norm's size stands 20 standard errors from 0, whereas a step's gradient of the
            matrices is 250 times as much noise as signal (squared): 5e-5 for all raised the reward of problems that
            came again, and within 100 steps nothing on fresh ones.
        num_bank, bank_traces, max_bank, probe_every: problems of the extinction probe, main traces of each, traces
            that are followed, and steps between probes.
        num_dev, dev_every: of GRPO's own measure of pass@1.
        num_problems, num_samples: of an evaluation's pool.
        num_search, search_n: problems that are searched live, and with how many traces.
        num_extinct, max_asked: problems of an extinction set, and how many are asked at most to find them; the frozen
            proposer solves 8 % of them in none of 16 samples.
        proposer_samples: of a proposer from scratch.
    """

    difficulty: str = "num_operators=5"
    countdown: bool = True
    num_trees: int = 1000
    num_traces: int = 4
    fork_prob: float = 0.5
    epochs: float = 1
    batch_tokens: int = 2048
    grpo_steps: int = 300
    grpo_prompts: int = 4
    generations: int = 8
    grpo_tokens: int = 192
    learning_rate: float = 1e-5
    norm_learning_rate: float = 1e-2
    num_bank: int = 200
    bank_traces: int = 32
    max_bank: int = 400
    probe_every: int = 25
    num_dev: int = 32
    dev_every: int = 150
    num_problems: int = 500
    num_samples: int = 16
    num_search: int = 250
    search_n: tuple[int, ...] = (2, 4, 8, 16)
    num_extinct: int = 300
    max_asked: int = 6000
    proposer_samples: int = 600_000


FULL = Sizes()
QUICK = Sizes(
    countdown=False,
    num_trees=100,
    num_traces=8,
    epochs=2,
    grpo_steps=40,
    grpo_prompts=4,
    num_bank=40,
    bank_traces=16,
    max_bank=150,
    probe_every=10,
    num_dev=16,
    dev_every=20,
    num_problems=100,
    num_samples=8,
    num_search=40,
    search_n=(2, 4, 8),
    num_extinct=30,
    max_asked=500,
    proposer_samples=20_000,
)


@dataclass(frozen=True, slots=True)
class AblationSizes:
    """Of the deciding experiment.

    Attributes:
        num_trees: of both families, half of each, grown once; each run takes so many of them, smaller numbers parts of
            larger ones.
        epochs: passes over them, for each number: small sets are seen more often.
        num_traces: main traces of a tree. Many problems teach more than many traces of each.
        batch_tokens, num_problems, num_samples: as of `Sizes`, the problems for each family.
        num_prefixes: of each problem, labelled by 16 rollouts.
    """

    num_trees: tuple[int, ...] = (100, 1000, 10_000)
    epochs: tuple[float, ...] = (20, 4, 1)
    num_traces: int = 4
    batch_tokens: int = 4096
    num_problems: int = 500
    num_samples: int = 16
    num_prefixes: int = 4


FULL_ABLATION = AblationSizes()
QUICK_ABLATION = AblationSizes((20, 60), (2, 1), num_problems=60, num_samples=8, num_prefixes=2)


@dataclass(frozen=True, slots=True)
class Rates:
    """Seconds that a unit of work takes on two CPU cores without AVX-512, with a tiny model; a stage's minutes follow.

    Attributes:
        start: of a command; start_training: of one that imports torch.
        problem: generated, of the test split, which a twentieth of all belong to.
        trace: drawn and graded by the engine.
        tree_epoch: one tree of 4 main traces learnt once, its part of the dev measurements included.
        trace_epoch: one main trace of a tree with its forks learnt once, Countdown's and arithmetic's on average.
        reading: of one problem's 16 traces by one verifier, and what is computed of its values.
        live: one problem searched live with 16 traces.
        completion: drawn by GRPO's trainer, and its gradient.
        probed: one trace's likelihood.
        dev_completion: drawn by GRPO's trainer.
        sample: that a proposer from scratch learns.
    """

    start: float = 2.0
    start_training: float = 12.0
    problem: float = 0.008
    trace: float = 0.006
    tree_epoch: float = 0.085
    trace_epoch: float = 0.033
    reading: float = 0.035
    live: float = 0.12
    completion: float = 0.085
    probed: float = 0.006
    dev_completion: float = 0.018
    sample: float = 0.0085


RATES = Rates()
