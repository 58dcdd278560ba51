"""Encoding trees for training: path by path, or paths that share a row (`train verifier --row-tokens`).

Sparse Deep Fork trees of the embedded proposer are encoded at several row lengths by bodies of three widths with new
weights: `tiny` (192), `135m` (576, SmolLM2's shape) and `1.5b` (1536, Qwen2.5's shape; only `--layers` of its layers,
since they all cost the same). One step is forward and backward over all trees. Token ids are bytes for all of them, so
that trees have the same lengths: about 20 tokens a step.
"""

from __future__ import annotations

import tempfile
import time
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from harness import interleaved, median, parser, report, settings, whole_numbers
from torch import nn

from arts_lite.experiments import SdfConfig, SdfRun
from arts_lite.proposer import Proposer, embedded_proposer
from arts_lite.tasks import make_task
from arts_lite.train.base import TINY_RULES, Base, load_base
from arts_lite.train.dataset import DataConfig, read_dataset
from arts_lite.train.encoding import EncodedTree, encode_tree
from arts_lite.train.hf_base import computing
from arts_lite.train.trees import TrainingTree
from arts_lite.train.values import ValueModel, parts_of


def grow(num_trees: int, num_traces: int) -> list[TrainingTree]:
    """Trees of arithmetic problems, as `arts-lite sdf` grows them."""
    task = make_task("arithmetic")
    assert task.generate is not None
    problems = list(islice(task.generate(0, "train"), num_trees))
    with tempfile.TemporaryDirectory() as folder, Proposer.from_gguf(embedded_proposer()) as proposer:
        for _ in SdfRun(proposer, task, problems, Path(folder), SdfConfig(num_traces=num_traces)).run():
            pass
        return list(read_dataset([folder], DataConfig(dev_share=0)).train)


def body(shape: str, num_layers: int) -> Base:
    """A base of this shape with new weights."""
    if shape == "tiny":
        return load_base("tiny")
    import transformers

    common: dict[str, Any] = {"vocab_size": 288, "max_position_embeddings": 2048}
    config: Any
    if shape == "135m":
        config = transformers.LlamaConfig(
            hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
            **common,
        )  # fmt: skip
    else:
        config = transformers.Qwen2Config(
            hidden_size=1536, intermediate_size=8960, num_hidden_layers=num_layers, num_attention_heads=12,
            num_key_value_heads=2, **common,
        )  # fmt: skip
    module: nn.Module = transformers.AutoModel.from_config(config, attn_implementation="sdpa")
    return Base(
        shape, module, config.hidden_size, 2048, TINY_RULES, lambda text: list(text.encode()), computing(module), False
    )


def seconds_of_step(model: ValueModel, trees: list[EncodedTree], part_tokens: int) -> float:
    """Forward and backward over all trees."""
    start = time.perf_counter()
    for _, rows in parts_of(trees, part_tokens):
        model(rows).sum().backward()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    model.zero_grad(set_to_none=True)
    return seconds


def main() -> None:
    options = parser(__doc__.splitlines()[0], needs_model=False)
    options.add_argument("--shapes", default="tiny,135m,1.5b")
    options.add_argument("--row-tokens", type=whole_numbers, default=[0, 128, 256, 512, 1024])
    options.add_argument("--trees", type=int, default=4)
    options.add_argument("--traces", type=int, default=16, help="main traces of a tree")
    options.add_argument("--layers", type=int, default=2, help="of the 1.5b shape")
    options.add_argument("--part-tokens", type=int, default=4096, help="computed at once")
    given = options.parse_args()
    if given.quick:
        given.trees, given.traces, given.repeats = 1, 2, 1
    if given.threads is not None:
        torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    trees = grow(given.trees, given.traces)
    rows = []
    for shape in given.shapes.split(","):
        model = ValueModel(body(shape, given.layers)).to(device)
        rules, tokenise = model.base.rules, model.base.tokenise
        laid = {
            size: [encode_tree(tree, rules, tokenise, row_tokens=size) for tree in trees] for size in given.row_tokens
        }
        seconds_of_step(model, laid[given.row_tokens[0]], given.part_tokens)  # warm
        measured = interleaved(
            given.repeats,
            {str(size): partial(seconds_of_step, model, laid[size], given.part_tokens) for size in given.row_tokens},
        )
        by_path = median(measured[str(given.row_tokens[0])])
        for size in given.row_tokens:
            seconds = median(measured[str(size)])
            rows.append(
                {
                    "shape": shape,
                    "row_tokens": size,
                    "tokens": sum(tree.num_tokens for tree in laid[size]),
                    "seconds": seconds,
                    "times faster": by_path / seconds,
                }
            )
    config = settings(
        embedded_proposer(),
        device=str(device),
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        trees=given.trees,
        traces=given.traces,
        leaves=sum(int(tree.num_leaves[0]) for tree in trees),
        layers_of_1_5b=given.layers,
        part_tokens=given.part_tokens,
        repeats=given.repeats,
    )
    report("packing", config, rows, given.json)


if __name__ == "__main__":
    main()
