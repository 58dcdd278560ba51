"""The deciding experiment: which of ARTS's own ingredients earns its keep, and against which baselines.

Flow matching (expected, bce) with the Monte-Carlo target and without sibling ranking is the soft PRM. What ARTS adds is
varied here: bootstrapping (lambda 0 or 1) x sibling ranking (beta 0 or 1) x number of trees. From the largest number of
the same trees learn flows that rank all leaves of a problem, as a reward model does, and the baselines, the paper's own
flow (a sum over children) among them. All learn both families of
the embedded proposer at once, and are judged in each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arts_lite.experiments.figures import Evaluation, Values, difference, mean, recovered
from arts_lite.experiments.methods import JOINT
from arts_lite.experiments.miniature import VERIFIERS
from arts_lite.experiments.pipeline import write_json
from arts_lite.experiments.sizes import RATES, AblationSizes, Rates
from arts_lite.experiments.stage import Stage
from arts_lite.experiments.versions import versions

TASKS = ("countdown", "arithmetic")
ARMS: Mapping[str, tuple[int, int, int]] = {
    "bootstrapped": (0, 0, 0),
    "bootstrapped, siblings ranked": (0, 1, 0),
    "monte-carlo": (1, 0, 0),
    "monte-carlo, siblings ranked": (1, 1, 0),
    "bootstrapped, leaves ranked": (0, 0, 1),
    "monte-carlo, leaves ranked": (1, 0, 1),
}
"""Name -> (lambda, beta, gamma): share of Monte-Carlo in the target, weights of the rankings of siblings and leaves."""
OF_ALL_SIZES = tuple(name for name, (_, _, ranking) in ARMS.items() if ranking == 0)
REFERENCE = "monte-carlo"
BASELINES = tuple(name for name in VERIFIERS if name != "arts-expected")
"""Those of the miniature; arts-expected is the bootstrapped arm."""
PROBE = "probe"
AGGREGATIONS = ("last", "min", "mean", JOINT)
_LEAVES = 2.5
_PROGRAM = ("-m", "arts_lite")
_MAX_TOKENS = ("--max-tokens", "400")


@dataclass(frozen=True)
class Ablation:
    """Makes the stages.

    Attributes:
        sizes: of everything.
        seeds: of the training, >= 1; the trees and the pools are the same for all.
        threads, proposer, proposer_sha256, rates: as of `Miniature`.
    """

    sizes: AblationSizes
    seeds: int = 1
    threads: int | None = None
    proposer: str | None = None
    proposer_sha256: str | None = None
    rates: Rates = RATES

    def stages(self) -> list[Stage]:
        """List all stages, in their order."""
        trees = [self._trees(task) for task in TASKS]
        runs = [self._verifier(*run) for run in run_keys(self.sizes, self.seeds)]
        runs += [self._probe(seed) for seed in range(self.seeds)]
        names = [one.name for one in runs]
        return [*trees, *runs, *(self._evaluation(task, names) for task in TASKS)]

    def _trees(self, task: str) -> Stage:
        sizes = self.sizes
        num = -(-max(sizes.num_trees) * 10 // (9 * len(TASKS)))  # a tenth is held out
        command = (
            *(*_PROGRAM, "sdf", *self._problems(task, num, "train"), "--num-traces", str(sizes.num_traces)),
            *(*_MAX_TOKENS, *self._proposer(), "--out", f"trees-{task}"),
        )
        seconds = num * sizes.num_traces * _LEAVES * self.rates.trace
        return Stage(f"trees-{task}", command, (), (f"trees-{task}/settings.json",), seconds / 60, self._settings())

    def _verifier(self, num_trees: int, epochs: float, name: str, seed: int) -> Stage:
        run = run_name(num_trees, name, seed)
        command = (
            *(*_PROGRAM, "train", "verifier", *self._learnt(num_trees), "--base", self.proposer or "embedded"),
            *(*_objective(name), "--epochs", f"{epochs:g}", "--batch-tokens", str(self.sizes.batch_tokens)),
            *("--evals", "2", "--seed", str(seed), "--out", run, *self._threads()),
        )
        seconds = self.rates.start_training + num_trees * epochs * self.sizes.num_traces * self.rates.trace_epoch
        return self._stage(run, command, seconds)

    def _probe(self, seed: int) -> Stage:
        num_trees = max(self.sizes.num_trees)
        run = run_name(num_trees, PROBE, seed)
        command = (
            *(*_PROGRAM, "train", "probe", *self._learnt(num_trees), *self._proposer(), "--seed", str(seed)),
            *("--states", "states", "--out", run, *self._threads()),
        )
        seconds = self.rates.start_training + num_trees * self.sizes.num_traces * self.rates.probed
        before = (run_name(num_trees, PROBE, seed - 1),) * bool(seed)  # which reads the states for both
        return self._stage(run, command, seconds, "probe.gguf", before)

    def _evaluation(self, task: str, names: Sequence[str]) -> Stage:
        sizes, rates = self.sizes, self.rates
        files = [
            part
            for name in names
            for part in ("--verifier", f"{name}={name}/{'probe' if name.startswith(PROBE) else 'verifier'}.gguf")
        ]
        ks = ",".join(str(k) for k in (2, 4, 8, 16) if k <= sizes.num_samples)
        command = (
            *(*_PROGRAM, "eval", *self._problems(task, sizes.num_problems, "test"), *self._proposer(), *files),
            *("--n", ks, "--strategies", "best-of-n,weighted-vote", *_MAX_TOKENS, "--seed", "1000", "--prefixes"),
            *("--num-prefixes", str(sizes.num_prefixes), "--num-rollouts", "16", "--out", f"eval-{task}"),
        )
        drawn = sizes.num_samples * rates.trace + sizes.num_prefixes * 16 * rates.trace / 2
        seconds = sizes.num_problems * (rates.problem + drawn + len(names) * rates.reading)
        output = f"eval-{task}/results.json"
        return Stage(f"eval-{task}", command, tuple(names), (output,), seconds / 60, self._settings())

    def _stage(
        self,
        run: str,
        command: tuple[str, ...],
        seconds: float,
        output: str = "verifier.gguf",
        before: tuple[str, ...] = (),
    ) -> Stage:
        needs = (*(f"trees-{task}" for task in TASKS), *before)
        return Stage(run, command, needs, (f"{run}/{output}",), seconds / 60, self._settings())

    def _learnt(self, num_trees: int) -> tuple[str, ...]:
        trees = [part for task in TASKS for part in ("--trees", f"trees-{task}")]
        return (*trees, "--max-train-trees", str(num_trees))

    def _problems(self, task: str, num: int, split: str) -> tuple[str, ...]:
        return ("--task", task, "--num-problems", str(num), "--split", split)

    def _proposer(self) -> tuple[str, ...]:
        return () if self.proposer is None else ("--proposer", self.proposer)

    def _threads(self) -> tuple[str, ...]:
        return () if self.threads is None else ("--threads", str(self.threads))

    def _settings(self) -> dict[str, Any]:
        return {"proposer_sha256": self.proposer_sha256}


def _objective(name: str) -> tuple[str, ...]:
    """What is told to the trainer."""
    if name not in ARMS:
        return VERIFIERS[name]
    mc_share, sibling_weight, ranking_weight = ARMS[name]
    weights = ("--sibling-weight", str(sibling_weight), "--ranking-weight", str(ranking_weight))
    return ("--objective", "flow", "--estimator", "expected", "--mc-share", str(mc_share), *weights)


def run_keys(sizes: AblationSizes, seeds: int) -> Iterator[tuple[int, float, str, int]]:
    """List the verifiers: (number of trees, epochs, name, seed). Those of most trees come first."""
    for num, epochs in sorted(zip(sizes.num_trees, sizes.epochs, strict=True), reverse=True):
        for name in (*ARMS, *BASELINES) if num == max(sizes.num_trees) else OF_ALL_SIZES:
            for seed in range(seeds):
                yield num, epochs, name, seed


def run_name(num_trees: int, name: str, seed: int) -> str:
    """Name the stage of one training."""
    return f"{name.replace(', ', '-').replace(' ', '-')}-{num_trees}-{seed}"


def measure_ablation(folder: Path, sizes: AblationSizes, seeds: int) -> dict[str, Any]:
    """Compare all runs on the pools, and write results.json.

    Raises:
        DatasetError, LinesError: an evaluation is missing or damaged.
    """
    evaluations = {task: Evaluation.load(folder / f"eval-{task}") for task in TASKS}
    k = max(one.top_k for one in evaluations.values())
    results = {
        "schema": "arts-lite.ablation",
        "version": 2,
        "k": k,
        "seeds": seeds,
        "tasks": {task: _measured(one, k, sizes, seeds) for task, one in evaluations.items()},
        "versions": versions(),
    }
    write_json(folder / "results.json", results)
    return results


def _measured(evaluation: Evaluation, k: int, sizes: AblationSizes, seeds: int) -> dict[str, Any]:
    """One family: every run, and what needs no verifier."""
    plain = {name: evaluation.at(name, k) for name in ("random", "majority", "best-of-n:logprob", "oracle")}
    majority = plain["majority"]

    def column(strategy: str, num: int, name: str, suffix: str = "") -> list[Values]:
        return [evaluation.at(f"{strategy}:{run_name(num, name, seed)}{suffix}", k) for seed in range(seeds)]

    keys = dict.fromkeys((num, name) for num, _, name, _ in run_keys(sizes, seeds))
    rows = []
    for num, name in [*keys, (max(sizes.num_trees), PROBE)]:
        best, votes = column("best-of-n", num, name), column("weighted-vote", num, name)
        aggregated = {one: mean(column("best-of-n", num, name, f"/{one}")).to_dict() for one in AGGREGATIONS}
        rows.append(
            {
                "num_trees": num,
                "run": name,
                "best_of_n": mean(best).to_dict(),
                "recovered": recovered(best, [plain["random"]], [plain["oracle"]]).to_dict(),
                "difference": difference(best, column("best-of-n", num, REFERENCE)).to_dict(),
                "weighted_vote": mean(votes).to_dict(),
                "over_majority": difference(votes, [majority]).to_dict(),
                "aggregations": {one: told for one, told in aggregated.items() if told["value"] is not None},
                "prefix_auc": _prefix_auc(evaluation, [run_name(num, name, seed) for seed in range(seeds)]),
            }
        )
    told = {name: mean([values]).to_dict() for name, values in plain.items()}
    return {"plain": told, "runs": rows, "logprob_prefix_auc": _prefix_auc(evaluation, ["logprob"])}


def _prefix_auc(evaluation: Evaluation, names: Sequence[str]) -> dict[str, Any] | None:
    """The first run's AUC on prefixes by the last step's value (log-probs: by their mean); None: not measured."""
    prefixes = evaluation.results.get("prefixes") or {"scorers": []}
    for row in prefixes["scorers"]:
        if row["scorer"] == names[0] and row["aggregation"] in ("last", None):
            return {name: row[name] for name in ("auc", "low", "high")}
    return None
