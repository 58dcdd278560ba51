"""Long experiments as stages: commands, each of which can be interrupted and gone on with, in their order.

A stage's command resumes by itself; what the pipeline adds is the order, a mark for what is finished, how long it took,
and the refusal to mix results of different settings. Stages that do not need each other can run side by side: small
models keep one core busy, and two of them two, better than one model does.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from threading import Event
from typing import Any

from arts_lite.errors import ArtsError
from arts_lite.experiments.child import Child, ready
from arts_lite.experiments.lines import write_whole
from arts_lite.experiments.stage import Running, Stage
from arts_lite.experiments.versions import versions

_MARKS = "stages"
_SAVE_EVERY_S = 10.0
_WAIT_S = 30.0


class PipelineError(ArtsError):
    """A stage failed, or the folder holds stages of other settings, or is in use."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a stage took, interrupted runs included."""

    stage: str
    seconds: float
    expected_s: float


class Pipeline:
    """Runs stages in a folder.

    Args:
        folder: made if it is missing; gets `stages/NAME.json` for each stage that is done, NAME.log with what its
            command printed, and `timings.json`.
        stages: in the order in which they run.
        tell: called with (number from 1, stage, line) for each line that a command prints.
        begin: called with (number from 1, stage, is_done) before a stage, also one that is skipped.
        jobs: how many stages run side by side at most, >= 1, each on its share of the cores (of all while it is begun
            alone); more than one needs POSIX.
        clock: seconds, monotonic.

    Raises:
        ValueError: two stages have one name, one needs a stage that is not an earlier one, or jobs < 1.
    """

    def __init__(
        self,
        folder: Path,
        stages: Sequence[Stage],
        *,
        tell: Callable[[int, Stage, str], None] = lambda _number, _stage, _line: None,
        begin: Callable[[int, Stage, bool], None] = lambda _number, _stage, _is_done: None,
        jobs: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder
        self.stages = tuple(stages)
        self._tell = tell
        self._begin = begin
        self._clock = clock
        if jobs < 1:
            raise ValueError(f"jobs is {jobs}, but must be >= 1")
        self._jobs = jobs if os.name == "posix" else 1
        self._running: list[Running] = []
        self._stop = Event()
        self._digests: dict[str, str] = {}
        for stage in stages:
            if stage.name in self._digests:
                raise ValueError(f"two stages have the name {stage.name!r}")
            if unknown := sorted(set(stage.needs) - set(self._digests)):
                raise ValueError(f"stage {stage.name!r} needs {', '.join(unknown)}, which is no earlier stage")
            content = [stage.command, stage.settings, [self._digests[name] for name in stage.needs]]
            self._digests[stage.name] = sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def run(self, *, redo: bool = False) -> bool:
        """Run what is not done yet. Returns whether all is done; False: it was interrupted.

        Args:
            redo: stages of other settings are removed and done again, with all that need them; else they are refused.

        Raises:
            PipelineError: a stage failed, was made with other settings, or another process works in the folder.
        """
        with self._locked() as lock:
            self._settle(redo)
            try:
                self._run_all(lock)
            except BaseException:
                self._end_all()
                raise
            if self._stop.is_set():
                return False
            self._write_timings()
        return True

    def interrupt(self) -> bool:
        """End soon; the command at work is told and ends in its own way. Callable from a signal handler."""
        self._stop.set()
        for running in self._running:
            running.child.interrupt()
        return True

    def is_done(self, stage: Stage) -> bool:
        """Whether a stage is marked as done, with these settings, and its results are still there."""
        mark = self._mark(stage)
        return mark.get("is_done") is True and mark["digest"] == self._digests[stage.name] and not self._missing(stage)

    def changed(self) -> list[Stage]:
        """Name stages that were begun with other settings."""
        marked = [(stage, self._mark(stage)) for stage in self.stages]
        return [stage for stage, mark in marked if mark and mark["digest"] != self._digests[stage.name]]

    def timings(self) -> list[Timing]:
        """How long each stage took that was begun."""
        marked = [(stage, self._mark(stage)) for stage in self.stages]
        return [Timing(stage.name, mark["seconds"], stage.minutes * 60) for stage, mark in marked if mark]

    def _settle(self, redo: bool) -> None:
        changed = self.changed()
        if not changed:
            return
        if not redo:
            raise PipelineError(
                f"{self.folder} holds stages of other settings: {_told(self._difference(one) for one in changed)}; "
                "give the same settings, choose another folder, or do these again with --redo"
            )
        for stage in changed:
            shutil.rmtree(self.folder / stage.name, ignore_errors=True)
            self._path(stage).unlink()

    def _difference(self, stage: Stage) -> str:
        """Say in a few words what is other about a stage."""
        mark = self._mark(stage)
        before, now = mark["command"], list(stage.command)
        others = [f"{old} there, {new} here" for old, new in zip(before, now, strict=False) if old != new]
        others += [f"{name} differs" for name in stage.settings if mark["settings"].get(name) != stage.settings[name]]
        if len(before) != len(now):
            others = [f"{' '.join(before)} there, {' '.join(now)} here"]
        return f"{stage.name} ({'; '.join(others[:3]) or 'a stage that it needs'})"

    def _run_all(self, lock: int | None) -> None:
        waiting = list(enumerate(self.stages, 1))
        done: set[str] = set()
        while True:
            self._start(waiting, done, lock)
            if not self._running:
                return
            for child in ready([running.child for running in self._running]):
                running = next(one for one in self._running if one.child is child)
                lines = child.read()
                for line in lines or ():
                    self._take(running, line)
                if lines is None and self._finish(running):
                    done.add(running.stage.name)

    def _start(self, waiting: list[tuple[int, Stage]], done: set[str], lock: int | None) -> None:
        """Begin, in their order, stages whose needs are there, as many as may run; those that are done are skipped."""
        for number, stage in list(waiting):
            if self._stop.is_set() or len(self._running) >= self._jobs:
                return
            if not done.issuperset(stage.needs):
                continue
            waiting.remove((number, stage))
            is_done = self.is_done(stage)
            self._begin(number, stage, is_done)
            if is_done:
                done.add(stage.name)
                continue
            can_others = any(not self.is_done(other) and done.issuperset(other.needs) for _, other in waiting)
            before_s = self._mark(stage).get("seconds", 0.0)
            self._save(stage, before_s)
            keep_open = () if lock is None else (lock,)
            cores = self._cores(can_others)
            child = Child(stage.command, self.folder, keep_open=keep_open, cores=cores)
            log = self.folder / _MARKS / f"{stage.name}.log"
            now_s = self._clock()
            self._running.append(Running(number, stage, child, log, cores=cores, before_s=before_s, now_s=now_s))
        if self._stop.is_set():  # it came while a process was being made
            for running in self._running:
                running.child.interrupt()

    def _cores(self, has_company: bool) -> list[int] | None:
        """Choose a stage's cores: those that the fewest others have, one job's share; None: all."""
        if self._jobs == 1 or not hasattr(os, "sched_getaffinity") or not (has_company or self._running):
            return None
        cores = sorted(os.sched_getaffinity(0))
        shares = [cores[place :: self._jobs] for place in range(min(self._jobs, len(cores)))]
        taken = [running.cores for running in self._running]
        return min(shares, key=lambda share: sum(one is None or one == share for one in taken))

    def _take(self, running: Running, line: str) -> None:
        running.note(line)
        now_s = self._clock()
        if now_s - running.saved_s >= _SAVE_EVERY_S:  # so that a killed run's time is known
            running.saved_s = now_s
            self._save(running.stage, running.seconds(now_s))
        self._tell(running.number, running.stage, line)

    def _finish(self, running: Running) -> bool:
        """Take note of a stage's end; False: it was interrupted. Raises PipelineError: it has failed."""
        code, stage = running.close(), running.stage
        self._running.remove(running)
        seconds = running.seconds(self._clock())
        self._save(stage, seconds)
        if code != 0 and self._stop.is_set():
            return False
        missing = self._missing(stage)
        if code != 0 or missing:
            why = f"exit code {code}" if code else f"it did not write {', '.join(missing)}"
            raise PipelineError(
                f"stage {stage.name} failed ({why}): python {' '.join(stage.command)}\n" + "\n".join(running.last)
            )
        self._save(stage, seconds, is_done=True)
        return True

    def _end_all(self) -> None:
        """After a failure: let the other stages save what they have, as at Ctrl-C; kill those that do not end soon."""
        for running in self._running:
            running.child.interrupt()
        until_s = self._clock() + _WAIT_S
        while self._running:
            running = self._running[0]
            if not running.child.ends_within(until_s - self._clock()):
                running.child.kill()
            running.close()
            self._save(running.stage, running.seconds(self._clock()))
            self._running.remove(running)

    def _missing(self, stage: Stage) -> list[str]:
        return [name for name in stage.outputs if not (self.folder / name).exists()]

    def _path(self, stage: Stage) -> Path:
        return self.folder / _MARKS / f"{stage.name}.json"

    def _mark(self, stage: Stage) -> dict[str, Any]:
        path = self._path(stage)
        try:
            mark: Any = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise PipelineError(f"{path} is damaged ({error}); remove it to do this stage again") from error
        if not isinstance(mark, dict) or not {"digest", "seconds", "command", "settings"} <= set(mark):
            raise PipelineError(f"{path} is no mark of a stage; remove it to do this stage again")
        return dict(mark)

    def _save(self, stage: Stage, seconds: float, *, is_done: bool = False) -> None:
        mark = {
            "stage": stage.name,
            "is_done": is_done,
            "digest": self._digests[stage.name],
            "command": list(stage.command),
            "settings": dict(stage.settings),
            "seconds": round(seconds, 2),
            "versions": versions(),
        }
        write_json(self._path(stage), mark)

    def _write_timings(self) -> None:
        told = self.timings()
        rows = [{"stage": one.stage, "seconds": one.seconds, "expected_seconds": one.expected_s} for one in told]
        write_json(self.folder / "timings.json", {"stages": rows, "seconds": sum(one.seconds for one in told)})

    @contextmanager
    def _locked(self) -> Iterator[int | None]:
        """Keep other processes out, and wait for the command of a killed one, which inherited its lock, to end."""
        try:
            (self.folder / _MARKS).mkdir(parents=True, exist_ok=True)
            file = (self.folder / _MARKS / "lock").open("w")
        except OSError as error:
            raise PipelineError(f"{self.folder} cannot be used: {error.strerror or error}; choose another") from error
        with file:
            try:
                import fcntl
            except ImportError:  # not a POSIX system
                yield None
                return
            until_s = self._clock() + _WAIT_S
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError as error:
                    if self._clock() > until_s:
                        raise PipelineError(
                            f"another process works in {self.folder}; wait for it, or choose another folder"
                        ) from error
                    time.sleep(0.1)
            yield file.fileno()


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file whole or not at all. Raises LinesError: the disk does not take it."""
    write_whole(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _told(parts: Iterator[str]) -> str:
    told = list(parts)
    return "; ".join(told[:4]) + (f" and {len(told) - 4} more" if len(told) > 4 else "")
