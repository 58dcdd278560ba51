"""A verifier of one family for a proposer of another: between them there is only text."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from arts_lite.engine import EngineConfig
from arts_lite.solver import Solver, SolverConfig
from arts_lite.train.dataset import DataConfig, read_dataset
from arts_lite.verifier.verifier import Verifier

# Sampled traces differ from machine to machine: hardly one misses the first answer, none reaches the second.
PROBLEMS = (
    ("What is 2 + 3? Answer with one short line.", "2 + 3\n#### 5"),
    ("What is the capital of France? Answer with one short line.", "no trace says this\n#### 862915.25"),
)


def arts_lite(folder: Path, *args: object) -> None:
    command = [sys.executable, "-m", "arts_lite", *map(str, args)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False, cwd=folder)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.model
@pytest.mark.timeout(1800)  # transformers dequantises 135 M weights with numpy
def test_a_verifier_from_smollm2_judges_what_qwen_writes(real_model: Callable[[str], Path], tmp_path: Path) -> None:
    for package in ("transformers", "accelerate"):
        pytest.importorskip(package)
    proposer, base = real_model("qwen2.5-coder-1.5b"), real_model("smollm2-135m")
    rows = [{"question": text, "answer": gold} for text, gold in PROBLEMS]
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    task = ("--task", "gsm8k", "--data", "problems.jsonl", "--proposer", proposer, "--out", "trees")
    size = ("--num-traces", 2, "--max-tokens", 48, "--step-delimiter", r"\n", "--ctx-size", 512, "--threads", 1)
    arts_lite(tmp_path, "sdf", *task, *size)
    learning = (
        "--tuning",
        "head",
        "--epochs",
        4,
        "--batch-tokens",
        512,
        "--dev-share",
        0,
        "--head-learning-rate",
        0.05,
    )
    files = ("--trees", "trees", "--base", base, "--out", "run", "--file-type", "F16", "--threads", 1)
    arts_lite(tmp_path, "train", "verifier", *files, *learning)

    trees = read_dataset([str(tmp_path / "trees")], DataConfig(dev_share=0)).train
    assert len(trees) == len(PROBLEMS)
    mean_flows = {}
    with Verifier.from_gguf(tmp_path / "run" / "verifier.gguf", EngineConfig(threads=1, ctx_size=512)) as verifier:
        for tree in trees:
            traces = [[tree.texts[node] for node in tree.path(node)[1:]] for node in range(1, tree.num_nodes)]
            flows = [values[-1] for values in verifier.log_flows(tree.question, traces, tree.delimiters)]
            assert np.isfinite(flows).all()
            mean_flows[tree.question] = np.mean(flows)
    answered, missed = (mean_flows[text] for text, _ in PROBLEMS)
    assert answered > missed  # it has learnt to tell the two apart, not one value for all

    config = SolverConfig(strategy="best-of-n", n=2, max_tokens=24)
    with Solver.from_gguf(proposer, tmp_path / "run" / "verifier.gguf", config, threads=1, ctx_size=512) as solver:
        tree = solver.solve(PROBLEMS[0][0]).tree
    assert tree is not None
    scores = [end.score for end in tree.ends]
    assert len(scores) == 2
    assert np.isfinite(np.array(scores, np.float64)).all()
