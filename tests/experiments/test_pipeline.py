"""Stages run in order, once, and survive whatever ends them; on commands of a few lines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from arts_lite.experiments.pipeline import Pipeline, PipelineError
from arts_lite.experiments.stage import Stage

NOTE = "open('told', 'a').write({name!r} + '\\n'); open({name!r} + '.out', 'w').write('x'); print('line of', {name!r})"
RESUMING = """
import os, sys, time
count = len(open('steps').read()) if os.path.exists('steps') else 0
for step in range(count, 6):
    open('steps', 'a').write('.')
    print('step', step, flush=True)
    if step == 2 and not os.path.exists('go'):
        while True:
            time.sleep(0.01)
"""


def noted(name: str, *needs: str, more: str = "", **settings: object) -> Stage:
    command = ("-c", NOTE.format(name=name) + more)
    return Stage(name, command, needs, (f"{name}.out",), minutes=1, settings=settings)


def told(folder: Path) -> list[str]:
    return (folder / "told").read_text().split()


def test_stages_run_in_order_and_their_lines_are_passed_on(tmp_path: Path) -> None:
    lines: list[tuple[int, str, str]] = []
    stages = [noted("a"), noted("b", "a"), noted("c", "a", "b")]
    pipeline = Pipeline(tmp_path, stages, tell=lambda number, stage, line: lines.append((number, stage.name, line)))
    assert pipeline.run()
    assert told(tmp_path) == ["a", "b", "c"]
    assert lines == [(1, "a", "line of a"), (2, "b", "line of b"), (3, "c", "line of c")]
    times = json.loads((tmp_path / "timings.json").read_text())
    assert [row["stage"] for row in times["stages"]] == ["a", "b", "c"]
    assert all(row["seconds"] > 0 and row["expected_seconds"] == 60 for row in times["stages"])
    assert (tmp_path / "stages" / "b.log").read_text() == "line of b\n"
    mark = json.loads((tmp_path / "stages" / "b.json").read_text())
    assert mark["versions"]["python"]


MEETS = """
import os, sys, time
open(sys.argv[1] + '.came', 'w')
until = time.monotonic() + 20
while not os.path.exists(sys.argv[2] + '.came') and time.monotonic() < until:
    time.sleep(0.01)
print('met', os.path.exists(sys.argv[2] + '.came'), sorted(os.sched_getaffinity(0)), end='')
open(sys.argv[1] + '.out', 'w')
"""


def meeting(name: str, other: str) -> Stage:
    """Ends well once the other has begun."""
    return Stage(name, ("-c", MEETS, name, other), (), (f"{name}.out",))


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cores are shared out on Linux")
def test_stages_that_do_not_need_each_other_run_side_by_side_on_cores_of_their_own(tmp_path: Path) -> None:
    lines: dict[str, str] = {}
    stages = [meeting("a", "b"), meeting("b", "a"), noted("c", "a", "b"), noted("d", "c")]
    pipeline = Pipeline(tmp_path, stages, jobs=2, tell=lambda _, stage, line: lines.update({stage.name: line}))
    assert pipeline.run()
    cores = sorted(os.sched_getaffinity(0))
    shares = [str(cores[place::2] or cores) for place in range(2)]
    assert {lines["a"], lines["b"]} == {f"met True {share}" for share in shares}
    assert told(tmp_path) == ["c", "d"]
    assert (tmp_path / "stages" / "a.log").read_text() == lines["a"] + "\n"


def test_a_failure_lets_the_stages_beside_it_keep_what_they_have(tmp_path: Path) -> None:
    failing = Stage(
        "bad", ("-c", "import os, sys, time\nwhile not os.path.exists('steps'): time.sleep(0.01)\nsys.exit(3)")
    )
    slow = Stage("slow", ("-c", RESUMING))
    with pytest.raises(PipelineError, match="stage bad failed"):
        Pipeline(tmp_path, [slow, failing], jobs=2).run()
    num_steps = len((tmp_path / "steps").read_text())
    mark = json.loads((tmp_path / "stages" / "slow.json").read_text())
    assert num_steps >= 1
    assert not mark["is_done"]
    assert mark["seconds"] > 0
    (tmp_path / "go").touch()
    assert Pipeline(tmp_path, [slow], jobs=2).run()
    assert len((tmp_path / "steps").read_text()) == 6


def test_an_interrupt_reaches_all_stages_side_by_side(tmp_path: Path) -> None:
    pipeline: Pipeline
    begun: set[str] = set()

    def tell(_number: int, stage: Stage, _line: str) -> None:
        begun.add(stage.name)
        if len(begun) == 2:
            pipeline.interrupt()

    forever = "import time\nprint('here', flush=True)\nwhile True: time.sleep(0.01)"
    stages = [Stage(name, ("-c", forever)) for name in ("a", "b", "c")]
    pipeline = Pipeline(tmp_path, stages, jobs=2, tell=tell)
    assert not pipeline.run()
    assert begun == {"a", "b"}
    assert not any(json.loads((tmp_path / "stages" / f"{name}.json").read_text())["is_done"] for name in begun)


def test_fewer_than_one_job_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="jobs is 0, but must be >= 1"):
        Pipeline(tmp_path, [noted("a")], jobs=0)


def test_what_is_done_is_skipped(tmp_path: Path) -> None:
    begun: list[tuple[str, bool]] = []
    Pipeline(tmp_path, [noted("a"), noted("b")]).run()
    begin = lambda _number, stage, is_done: begun.append((stage.name, is_done))  # noqa: E731
    Pipeline(tmp_path, [noted("a"), noted("b"), noted("c")], begin=begin).run()
    assert told(tmp_path) == ["a", "b", "c"]
    assert begun == [("a", True), ("b", True), ("c", False)]


def test_a_stage_whose_results_are_gone_runs_again(tmp_path: Path) -> None:
    Pipeline(tmp_path, [noted("a"), noted("b")]).run()
    (tmp_path / "a.out").unlink()
    Pipeline(tmp_path, [noted("a"), noted("b")]).run()
    assert told(tmp_path) == ["a", "b", "a"]


def test_other_settings_are_refused_and_nothing_runs(tmp_path: Path) -> None:
    Pipeline(tmp_path, [noted("a", seed=1), noted("b", "a")]).run()
    changed = [noted("a", seed=2), noted("b", "a"), noted("c")]
    with pytest.raises(PipelineError, match=r"a \(seed differs\); b \(a stage that it needs\).*--redo"):
        Pipeline(tmp_path, changed).run()
    other = [noted("a", more=";3", seed=1), noted("b", "a")]
    with pytest.raises(PipelineError, match=r"there,.*here"):
        Pipeline(tmp_path, other).run()
    assert told(tmp_path) == ["a", "b"]


def test_redo_does_what_changed_and_what_needs_it(tmp_path: Path) -> None:
    Pipeline(tmp_path, [noted("a"), noted("b"), noted("c", "b")]).run()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "old").touch()
    Pipeline(tmp_path, [noted("a"), noted("b", seed=2), noted("c", "b")]).run(redo=True)
    assert told(tmp_path) == ["a", "b", "c", "b", "c"]
    assert not (tmp_path / "b").exists()


def test_a_failure_stops_and_shows_the_last_lines(tmp_path: Path) -> None:
    fails = Stage("b", ("-c", "print('\\n'.join(f'line {n}' for n in range(40))); raise SystemExit(3)"))
    with pytest.raises(PipelineError, match=r"stage b failed \(exit code 3\)") as caught:
        Pipeline(tmp_path, [noted("a"), fails, noted("c")]).run()
    assert str(caught.value).endswith("line 38\nline 39")
    assert "line 10" not in str(caught.value)
    assert told(tmp_path) == ["a"]
    Pipeline(tmp_path, [noted("a"), Stage("b", fails.command), noted("d")]).is_done(fails)
    assert not Pipeline(tmp_path, [fails]).is_done(fails)


def test_a_stage_that_writes_no_results_has_failed(tmp_path: Path) -> None:
    empty = Stage("a", ("-c", ""), outputs=("a/model.gguf",))
    with pytest.raises(PipelineError, match=r"did not write a/model\.gguf"):
        Pipeline(tmp_path, [empty]).run()


def test_an_interrupt_reaches_the_command_and_the_rest_waits(tmp_path: Path) -> None:
    code = (
        "import signal, sys, time; signal.signal(signal.SIGINT, lambda *_: (print('saved'), sys.exit(130)));"
        "print('begun', flush=True)\nwhile True: time.sleep(0.01)"
    )
    lines: list[str] = []

    def tell(_number: int, _stage: Stage, line: str) -> None:
        lines.append(line)
        if line == "begun":
            threading.Thread(target=pipeline.interrupt).start()

    pipeline = Pipeline(tmp_path, [Stage("a", ("-c", code)), noted("b")], tell=tell)
    assert not pipeline.run()
    assert lines == ["begun", "saved"]
    assert not (tmp_path / "told").exists()
    assert not (tmp_path / "timings.json").exists()
    assert pipeline.timings()[0].seconds > 0


def test_a_pipeline_killed_in_mid_stage_goes_on_where_it_was(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from arts_lite.experiments.pipeline import Pipeline;"
        "from arts_lite.experiments.stage import Stage;"
        "stages = [Stage('a', ('-c', sys.argv[2])), Stage('b', ('-c', sys.argv[3]), ('a',))];"
        "Pipeline(Path(sys.argv[1]), stages, tell=lambda n, s, line: print(line, flush=True)).run()"
    )
    arguments = [str(tmp_path), NOTE.format(name="a"), RESUMING]
    paths = os.pathsep.join(path for path in sys.path if path)
    with subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": paths},
    ) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "step 2\n":
            pass
        process.send_signal(signal.SIGKILL)
    (tmp_path / "go").touch()
    stages = [Stage("a", ("-c", arguments[1])), Stage("b", ("-c", RESUMING), ("a",))]
    lines: list[str] = []
    assert Pipeline(tmp_path, stages, tell=lambda _n, _s, line: lines.append(line)).run()
    assert told(tmp_path) == ["a"]
    assert lines == ["step 3", "step 4", "step 5"]  # the killed one's command had ended before
    assert (tmp_path / "steps").read_text() == "......"


def test_damaged_marks_and_plans_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs b"):
        Pipeline(tmp_path, [noted("a", "b"), noted("b")])
    with pytest.raises(ValueError, match="two stages"):
        Pipeline(tmp_path, [noted("a"), noted("a")])
    Pipeline(tmp_path, [noted("a")]).run()
    for content in ("{", "[]", "{}"):
        (tmp_path / "stages" / "a.json").write_text(content)
        with pytest.raises(PipelineError, match="remove it"):
            Pipeline(tmp_path, [noted("a")]).run()


def test_two_pipelines_do_not_work_in_one_folder(tmp_path: Path) -> None:
    now = iter(range(0, 10_000, 20))
    inner: list[str] = []

    def tell(_number: int, _stage: Stage, _line: str) -> None:
        with pytest.raises(PipelineError, match="another process works"):
            Pipeline(tmp_path, [noted("b")], clock=lambda: float(next(now))).run()
        inner.append("refused")

    Pipeline(tmp_path, [noted("a")], tell=tell).run()
    assert inner == ["refused"]
