"""The deciding experiment: which of ARTS's own ingredients earns its keep.

Flow matching (expected, bce) with the Monte-Carlo target and without sibling ranking is the soft PRM. What ARTS adds is
varied here: bootstrapping (lambda 0 or 1) x sibling ranking (beta 0 or 1) x number of trees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arts_lite.experiments.figures import Evaluation, difference, mean
from arts_lite.experiments.lines import write_whole
from arts_lite.experiments.miniature_report import shown, timing_table
from arts_lite.experiments.pipeline import Stage, Timing, write_json
from arts_lite.experiments.sizes import RATES, AblationSizes, Rates
from arts_lite.experiments.versions import versions
from arts_lite.report.document import Block, Heading, Paragraph, Table, markdown, page

ARMS: Mapping[str, tuple[int, int]] = {
    "bootstrapped": (0, 0),
    "bootstrapped, siblings ranked": (0, 1),
    "monte-carlo": (1, 0),
    "monte-carlo, siblings ranked": (1, 1),
}
"""Name -> (lambda, beta): share of Monte-Carlo in the target, weight of the ranking of siblings."""
REFERENCE = "monte-carlo"
_COLUMNS = ("best_of_n", "weighted_vote", "difference")
_LEAVES = 2.5
_PROGRAM = ("-m", "arts_lite")
_MAX_TOKENS = ("--max-tokens", "320")


@dataclass(frozen=True)
class Ablation:
    """Makes the stages.

    Attributes:
        sizes: of everything.
        seeds: of the training, >= 1; the trees and the pool are the same for all.
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
        runs = [
            self._verifier(num, epochs, arm, seed)
            for num, epochs in zip(self.sizes.num_trees, self.sizes.epochs, strict=True)
            for arm in ARMS
            for seed in range(self.seeds)
        ]
        return [self._trees(), *runs, self._evaluation([one.name for one in runs])]

    def _trees(self) -> Stage:
        sizes, num = self.sizes, -(-max(self.sizes.num_trees) * 10 // 9)  # a tenth is held out
        command = (
            *(*_PROGRAM, "sdf", *self._problems(num, "train"), "--num-traces", str(sizes.num_traces), *_MAX_TOKENS),
            *(*self._proposer(), "--out", "trees"),
        )
        seconds = num * sizes.num_traces * _LEAVES * self.rates.trace
        return Stage("trees", command, (), ("trees/settings.json",), seconds / 60, self._settings())

    def _verifier(self, num_trees: int, epochs: float, arm: str, seed: int) -> Stage:
        mc_share, sibling_weight = ARMS[arm]
        name = run_name(num_trees, arm, seed)
        threads = () if self.threads is None else ("--threads", str(self.threads))
        command = (
            *(*_PROGRAM, "train", "verifier", "--trees", "trees", "--base", self.proposer or "embedded"),
            *("--objective", "flow", "--estimator", "expected", "--mc-share", str(mc_share)),
            *("--sibling-weight", str(sibling_weight), "--max-train-trees", str(num_trees)),
            *("--epochs", f"{epochs:g}", "--batch-tokens", str(self.sizes.batch_tokens), "--evals", "5"),
            *("--seed", str(seed), "--out", name, *threads),
        )
        seconds = self.rates.start_training + num_trees * epochs * self.rates.tree_epoch
        return Stage(name, command, ("trees",), (f"{name}/verifier.gguf",), seconds / 60, self._settings())

    def _evaluation(self, names: Sequence[str]) -> Stage:
        sizes = self.sizes
        files = [part for name in names for part in ("--verifier", f"{name}={name}/verifier.gguf")]
        ks = ",".join(str(k) for k in (2, 4, 8, 16) if k <= sizes.num_samples)
        command = (
            *(*_PROGRAM, "eval", *self._problems(sizes.num_problems, "test"), *self._proposer(), *files, "--n", ks),
            *("--strategies", "best-of-n,weighted-vote", *_MAX_TOKENS, "--seed", "1000", "--out", "eval"),
        )
        seconds = sizes.num_problems * (sizes.num_samples * self.rates.trace + len(names) * self.rates.reading)
        return Stage("eval", command, tuple(names), ("eval/results.json",), seconds / 60, self._settings())

    def _problems(self, num: int, split: str) -> tuple[str, ...]:
        problems = ("--task", "arithmetic", "--difficulty", self.sizes.difficulty)
        return (*problems, "--num-problems", str(num), "--split", split)

    def _proposer(self) -> tuple[str, ...]:
        return () if self.proposer is None else ("--proposer", self.proposer)

    def _settings(self) -> dict[str, Any]:
        return {"proposer_sha256": self.proposer_sha256}


def run_name(num_trees: int, arm: str, seed: int) -> str:
    """Name the stage of one training."""
    return f"{arm.replace(', ', '-').replace(' ', '-')}-{num_trees}-{seed}"


def measure_ablation(folder: Path, sizes: AblationSizes, seeds: int) -> dict[str, Any]:
    """Compare all runs on the pool, and write results.json.

    Raises:
        DatasetError, LinesError: the evaluation is missing or damaged.
    """
    evaluation = Evaluation.load(folder / "eval")
    k = evaluation.top_k
    rows = []
    for num in sizes.num_trees:
        columns = {
            arm: [evaluation.at(f"best-of-n:{run_name(num, arm, seed)}", k) for seed in range(seeds)] for arm in ARMS
        }
        votes = {
            arm: [evaluation.at(f"weighted-vote:{run_name(num, arm, seed)}", k) for seed in range(seeds)]
            for arm in ARMS
        }
        for arm in ARMS:
            rows.append(
                {
                    "num_trees": num,
                    "arm": arm,
                    "best_of_n": mean(columns[arm]).to_dict(),
                    "weighted_vote": mean(votes[arm]).to_dict(),
                    "difference": difference(columns[arm], columns[REFERENCE]).to_dict(),
                }
            )
    plain = {name: mean([evaluation.at(name, k)]).to_dict() for name in ("random", "majority", "oracle")}
    results = {
        "schema": "arts-lite.ablation",
        "version": 1,
        "k": k,
        "seeds": seeds,
        "runs": rows,
        "plain": plain,
        "versions": versions(),
    }
    write_json(folder / "results.json", results)
    return results


def write_ablation_report(folder: Path, results: Mapping[str, Any], timings: Sequence[Timing]) -> list[Path]:
    """Write report.md and report.html."""
    k = results["k"]
    blocks: list[Block] = [
        Heading("Which of ARTS's ingredients earns its keep", 1),
        Paragraph(
            f"Best-of-{k} and votes of {k} samples weighted by flow, on one pool of arithmetic; differences are paired "
            f"by problem, against {REFERENCE} without ranking on as many trees, which is a soft PRM. 95 % intervals."
        ),
        Table(
            ["trees", "target", f"best-of-{k}", f"weighted vote of {k}", "best-of-n, difference"],
            [
                [f"{row['num_trees']:,}", row["arm"], *(shown(row[name]) for name in _COLUMNS)]
                for row in results["runs"]
            ],
        ),
        Paragraph("; ".join(f"{name}: {shown(figure)}" for name, figure in results["plain"].items())),
        Heading("Minutes"),
        timing_table(timings),
    ]
    paths = [folder / "report.md", folder / "report.html"]
    write_whole(paths[0], markdown(blocks, folder))
    write_whole(paths[1], page(blocks))
    return paths
