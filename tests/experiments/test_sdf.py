from __future__ import annotations

import dataclasses
import json
import warnings
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

import jsonschema
import numpy as np
import pytest
from experiments.killed_sdf import NUM_PROBLEMS, make_run
from experiments.killing import killed_at_random
from fakes.cells import FakeCells
from fakes.engine import FakeEngine
from fakes.models import rambling
from fakes.proposer import FakeProposer
from hypothesis import given, settings
from hypothesis import strategies as st

from arts_lite.errors import TraceFormatError
from arts_lite.experiments import SdfConfig, SdfRun, dataset_stats
from arts_lite.experiments.folder import DatasetError, read_folder
from arts_lite.tasks import Problem, make_task
from arts_lite.tree import Tree, traces_of, tree_to_json


def small_run(folder: Path, num: int = 12, engine: FakeEngine | None = None, **options: object) -> SdfRun:
    named = {name: options.pop(name) for name in ("fork_prob", "max_fork_depth", "seed") if name in options}
    problems = [Problem(f"p{number}", f"question {number}?", str(number % 4)) for number in range(num)]
    task = make_task("jsonl", grader=lambda answer, gold: answer.strip() == gold)
    config = SdfConfig(num_traces=4, **named)  # type: ignore[arg-type]
    return SdfRun(FakeProposer(engine or FakeEngine(rambling())), task, problems, folder, config, **options)  # type: ignore[arg-type]


def ids(folder: Path) -> list[str]:
    return [str((tree.origin.problem or {})["id"]) for tree in read_folder(folder)]


def plain(tree: Tree) -> str:
    return json.dumps(tree_to_json(tree), sort_keys=True)


def test_every_problem_has_one_tree_with_graded_leaves_and_the_rewards(tmp_path: Path) -> None:
    *_, last = small_run(tmp_path).run()
    trees = list(read_folder(tmp_path))
    assert sorted(ids(tmp_path)) == sorted(f"p{number}" for number in range(12))
    assert (last.num_done, last.num_before, last.num_failed) == (12, 0, 0)
    assert last.num_leaves == sum(tree.num_traces for tree in trees)
    for tree in trees:
        assert tree.origin.rewards == {"correct": 10.0, "wrong": 0.1}
        assert sum(parent < 0 for parent in tree.trace_parent) == 4
        for end in tree.ends:
            assert end.reward == (10.0 if end.correct else 0.1)
            assert end.correct == (
                end.answer is not None and end.answer.strip() == (tree.origin.problem or {})["answer"]
            )
    assert any(end.correct for tree in trees for end in tree.ends)


def test_tokens_decoded_are_those_of_the_nodes_times_their_draws(tmp_path: Path) -> None:
    *_, last = small_run(tmp_path).run()
    counted = 0
    for tree in read_folder(tmp_path):
        counted += int(np.sum(tree.num_draws[1:] * np.diff(tree.step_offsets)[1:]))
    assert last.num_tokens == counted == dataset_stats(tmp_path).num_tokens_decoded


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.floats(0, 1), st.integers(0, 3))
def test_every_main_trace_is_a_path_from_the_root_to_a_leaf(seed: int, fork_prob: float, max_fork_depth: int) -> None:
    with TemporaryDirectory() as folder:
        list(small_run(Path(folder), 3, seed=seed, fork_prob=fork_prob, max_fork_depth=max_fork_depth).run())
        trees = list(read_folder(folder))
    assert len(trees) == 3
    for tree in trees:
        traces = traces_of(tree)
        assert sum(trace.parent is None for trace in traces) == 4
        for index, trace in enumerate(traces):
            leaf = int(tree.trace_node[index])
            path = tree.path(leaf)
            assert tree.parent[path[0]] == 0 or path[0] == 0
            assert [token for node in path for token in tree.tokens(node)] == trace.tokens.tolist()
            assert leaf not in tree.parent
            assert tree.is_leaf[leaf]


def test_forks_start_at_intermediate_boundaries_of_main_traces(tmp_path: Path) -> None:
    list(small_run(tmp_path).run())
    num_forks = 0
    for tree in read_folder(tmp_path):
        for index in np.flatnonzero(tree.trace_parent >= 0):
            parent = int(tree.trace_parent[index])
            path = tree.path(int(tree.trace_node[parent]))
            ends = np.cumsum([len(tree.tokens(node)) for node in path])
            assert tree.trace_parent[parent] < 0
            assert tree.trace_shared[index] in ends[1:-1]
            num_forks += 1
    assert num_forks > 10


def test_deeper_forks_come_with_the_option(tmp_path: Path) -> None:
    list(small_run(tmp_path, max_fork_depth=2).run())
    assert any(
        (tree.trace_parent[tree.trace_parent[tree.trace_parent >= 0]] >= 0).any() for tree in read_folder(tmp_path)
    )


def test_neither_scarce_cells_nor_going_on_with_fewer_changes_a_tree(tmp_path: Path) -> None:
    list(small_run(tmp_path / "ample", 24).run())
    run = small_run(tmp_path / "scarce", 24, FakeCells(rambling(), num_cells=600, max_rows=48))
    for progress in run.run():
        if progress.num_done >= 3:
            run.cancel()
    fewer = FakeCells(rambling(), num_cells=200, max_rows=48)
    list(small_run(tmp_path / "scarce", 24, fewer).run())
    assert fewer.num_parked > 0
    assert sorted(map(plain, read_folder(tmp_path / "scarce"))) == sorted(map(plain, read_folder(tmp_path / "ample")))


def test_tokens_are_told_before_the_first_tree_is_complete(tmp_path: Path) -> None:
    ticking = iter(range(10**6))
    told = [one for one in small_run(tmp_path, clock=lambda: float(next(ticking))).run() if one.num_done == 0]
    assert max(one.num_tokens for one in told) > 0


def test_running_again_repeats_nothing(tmp_path: Path) -> None:
    list(small_run(tmp_path).run())
    before = (tmp_path / "trees.jsonl.gz").read_bytes()
    *_, last = small_run(tmp_path).run()
    assert (tmp_path / "trees.jsonl.gz").read_bytes() == before
    assert (last.num_done, last.num_before) == (12, 12)


def test_a_cancelled_run_keeps_whole_trees_and_is_continued_token_by_token(tmp_path: Path) -> None:
    list(small_run(tmp_path / "whole").run())
    run = small_run(tmp_path / "cut")
    for progress in run.run():
        if progress.num_done >= 3:
            run.cancel()
    kept = ids(tmp_path / "cut")
    assert 3 <= len(kept) < 12
    list(small_run(tmp_path / "cut").run())
    assert ids(tmp_path / "cut")[: len(kept)] == kept
    assert sorted(map(plain, read_folder(tmp_path / "cut"))) == sorted(map(plain, read_folder(tmp_path / "whole")))


def test_killed_at_twenty_moments_and_resumed_it_holds_every_tree_once(tmp_path: Path) -> None:
    list(make_run(tmp_path / "whole").run())
    wanted = sorted(map(plain, read_folder(tmp_path / "whole")))
    assert len(wanted) == NUM_PROBLEMS
    for folder in killed_at_random(tmp_path, 20, 0.12):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a torn last line is told
            list(make_run(folder).run())
        assert sorted(map(plain, read_folder(folder))) == wanted


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"fork_prob": 0.25}, {"num": 13}, {"shard": (1, 2)}, {"suffix": ".jsonl"}, {"model_sha256": "ab"}],
)
def test_other_settings_are_refused_and_named(tmp_path: Path, change: dict[str, object]) -> None:
    list(small_run(tmp_path).run())
    with pytest.raises(DatasetError, match="other settings"):
        list(small_run(tmp_path, **change).run())  # type: ignore[arg-type]


def test_a_folder_of_foreign_trees_is_refused(tmp_path: Path) -> None:
    list(small_run(tmp_path).run())
    (tmp_path / "settings.json").unlink()
    with pytest.raises(DatasetError, match=r"no settings\.json"):
        list(small_run(tmp_path).run())


def test_two_writers_of_one_shard_are_refused(tmp_path: Path) -> None:
    first = small_run(tmp_path).run()
    next(first)
    with pytest.raises(TraceFormatError, match="another process"):
        list(small_run(tmp_path).run())
    first.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst"])
def test_shards_share_the_problems_and_make_the_same_trees(tmp_path: Path, suffix: str) -> None:
    for shard in ((1, 3), (2, 3), (3, 3)):
        list(small_run(tmp_path / "shards", shard=shard, suffix=suffix).run())
    list(small_run(tmp_path / "whole").run())
    assert len(list((tmp_path / "shards").glob(f"trees-*{suffix}"))) == 3
    assert sorted(map(plain, read_folder(tmp_path / "shards"))) == sorted(map(plain, read_folder(tmp_path / "whole")))


def test_a_problem_that_does_not_fit_fails_alone(tmp_path: Path) -> None:
    run = small_run(tmp_path)
    run._problems[5] = dataclasses.replace(run._problems[5], question="long " * 2000)
    *_, last = run.run()
    assert (last.num_done, last.num_failed) == (11, 1)
    assert "10000 tokens" in last.why


def test_the_counts_of_a_dataset_agree_with_its_trees(tmp_path: Path) -> None:
    list(small_run(tmp_path).run())
    stats, trees = dataset_stats(tmp_path), list(read_folder(tmp_path))
    assert stats.num_trees == 12
    assert stats.num_leaves == sum(tree.num_traces for tree in trees)
    mixed = [len({end.correct for end in tree.ends}) == 2 for tree in trees]
    assert stats.share_mixed == sum(mixed) / 12
    assert 0 < stats.share_saved < 1
    assert stats.branching > 1


def test_the_fork_rate_is_the_one_asked_for_over_a_thousand_trees(tmp_path: Path) -> None:
    list(small_run(tmp_path, 1000, fork_prob=0.3, suffix=".jsonl").run())
    num_forks = num_boundaries = 0
    for tree in read_folder(tmp_path):
        mains = tree.trace_parent < 0
        num_forks += int((~mains).sum())
        num_boundaries += int(np.maximum(tree.depth[tree.trace_node[mains]] - 1, 0).sum())
    deviation = 4 * (0.3 * 0.7 / num_boundaries) ** 0.5
    assert abs(num_forks / num_boundaries - 0.3) < deviation


def test_every_line_holds_to_the_published_schema(tmp_path: Path) -> None:
    list(small_run(tmp_path, suffix=".jsonl").run())
    schema = json.loads(files("arts_lite.tree").joinpath("tree.schema.json").read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    for line in (tmp_path / "trees.jsonl").read_text(encoding="utf-8").splitlines():
        validator.validate(json.loads(line))
