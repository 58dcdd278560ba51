"""The solver: one proposer, many questions."""

from __future__ import annotations

import os
import platform
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from functools import cache
from importlib import metadata
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from arts_lite.search import SearchLoop
from arts_lite.search.events import QuestionFailed, QuestionFinished
from arts_lite.solver.asking import Asking
from arts_lite.solver.asynchronous import items_of
from arts_lite.solver.call import Call, Turn
from arts_lite.solver.config import SolverConfig
from arts_lite.solver.loops import make_loop
from arts_lite.solver.protocols import Probe, Proposer, Verifier
from arts_lite.solver.results import Solution, Solved, SolverEvent
from arts_lite.tasks.answers import extract_answer, same_answer
from arts_lite.types import StopReason

if TYPE_CHECKING:
    from arts_lite.engine import EngineConfig

DEFAULT_CONFIG = SolverConfig()
_TEMPLATE = "prompt_template is read by Solver.from_gguf only; set it there, or give it to the proposer"


class Solver:
    """Answers questions by searching a proposer's traces.

    May be used from several threads: one call works at a time, the others wait for their turn. A stream has its turn
    until it is exhausted, closed or forgotten; a thread in the middle of one gets RuntimeError if it makes another
    call. Every method but `close` raises BranchClosedError once the solver is closed.

    Args:
        proposer: asked for prompts and traces; closed by `close`.
        verifier: judges the traces; closed by `close`. None: they vote, or a scorer judges.
        config: how questions are searched, unless a call says otherwise.
        probe: on the proposer's own engine; scores the steps. Without a verifier it judges the traces, too.
        extract: finds the answer in a trace's text; None: no answer. A proposer that was made for certain tasks
            (`Proposer.tasks`) is asked in their plain forms, and their own `extract` and `same` are used.
        same: tells whether two answers are equal; an equivalence.

    Raises:
        ValueError: the configuration names a prompt template, which is the proposer's to know; or a strategy that needs
            step scores, and nothing gives any.
    """

    def __init__(
        self,
        proposer: Proposer,
        verifier: Verifier | None = None,
        config: SolverConfig = DEFAULT_CONFIG,
        *,
        probe: Probe | None = None,
        extract: Callable[[str], str | None] = extract_answer,
        same: Callable[[str, str], bool] = same_answer,
    ) -> None:
        if config.prompt_template is not None:
            raise ValueError(_TEMPLATE)
        config.require_step_scores(has_verifier=verifier is not None or probe is not None)
        self.proposer = proposer
        self.verifier = verifier
        self.probe = probe
        self.config = config
        self._extract = extract
        self._same = same
        self._engine_options: Mapping[str, object] = {}
        self._turn = Turn()

    @classmethod
    def from_gguf(
        cls,
        proposer: str | os.PathLike[str] | None = None,
        verifier: str | os.PathLike[str] | Literal[False] | None = None,
        config: SolverConfig = DEFAULT_CONFIG,
        *,
        probe: str | os.PathLike[str] | None = None,
        extract: Callable[[str], str | None] = extract_answer,
        same: Callable[[str, str], bool] = same_answer,
        **engine_options: Any,
    ) -> Solver:
        """Load a proposer; options are those of `EngineConfig`.

        Args:
            proposer: a GGUF file or ``hf:OWNER/REPO[:FILE]``; None: the embedded one, for Countdown and arithmetic.
            verifier: a GGUF file of `arts-lite train verifier`; False: none; None: with the embedded proposer the one
                that was trained on its traces, if the configuration has a use for it, and none with any other.
            probe: a GGUF file of `arts-lite train probe`, made for this very proposer.
            config, extract, same: see `Solver`.

        Raises what `Proposer.from_gguf`, `Verifier.from_gguf`, `Probe.from_gguf`, `EngineConfig` and `Solver` raise.
        """
        # Here and not above: the rooms below bind a native library, which a solver over another proposer does not need.
        from arts_lite.engine import EngineConfig
        from arts_lite.proposer import Proposer as GGUFProposer
        from arts_lite.proposer import embedded_proposer
        from arts_lite.verifier import embedded_verifier
        from arts_lite.verifier.probe import Probe as GGUFProbe
        from arts_lite.verifier.verifier import Verifier as GGUFVerifier

        if verifier is None and proposer is None and probe is None and config.wants_verifier:
            verifier = embedded_verifier()
        verifier = None if verifier is False else verifier
        config.require_step_scores(has_verifier=verifier is not None or probe is not None)
        engine_config = EngineConfig(**{"num_traces": config.n, **engine_options})
        with ExitStack() as undone:
            model = GGUFProposer.from_gguf(
                proposer or embedded_proposer(), prompt_template=config.prompt_template, config=engine_config
            )
            undone.callback(model.close)
            steps = None if probe is None else GGUFProbe.from_gguf(probe, model.engine)
            judge = None
            if verifier is not None:
                judge = GGUFVerifier.from_gguf(verifier, _of_verifier(engine_config))
                undone.callback(judge.close)
            solver = cls(model, judge, replace(config, prompt_template=None), probe=steps, extract=extract, same=same)
            undone.pop_all()
        solver._engine_options = {name: str(value) for name, value in engine_options.items()}
        return solver

    def solve(self, question: str, config: SolverConfig | None = None) -> Solution:
        """Search one question. A spent budget or `cancel` is a result with the best answer so far.

        Raises:
            ValueError: the question is blank.
            ContextOverflowError: the prompt leaves no room for an answer.
            UnsupportedQuestionError: the proposer was made for other tasks.
        """
        solution = Solution(question, stopped_by=StopReason.INTERRUPTED)  # if cancelled before it was begun
        with self._call([question], config, follow_steps=False) as events:
            for event in events:
                if isinstance(event, Solved):
                    solution = event.solution
        if solution.error is not None:
            raise solution.error
        return solution

    def solve_many(self, questions: Iterable[str], config: SolverConfig | None = None) -> Iterator[Solution]:
        """Search questions side by side; yields their solutions in question order, as soon as that allows.

        A question that fails (blank, too long, unsupported) yields a solution with `error` set; the others go on.
        After `cancel` those that had been begun come with their best answers so far, the rest is left out.
        `questions` may be lazy: it is read as the batch needs it.
        """
        if isinstance(questions, str):
            raise TypeError("solve_many takes several questions, not one text; use solve for one")
        return self._in_order(self._call(questions, config, follow_steps=False))

    def stream(self, question: str, config: SolverConfig | None = None) -> Call[SolverEvent]:
        """Search one question; iterate over its events, the last of which is `Solved`. Close it to leave early.

        Raises what `solve` raises, at the first item.
        """
        return self._call([question], config, follow_steps=True, raises=True)

    def stream_many(self, questions: Iterable[str], config: SolverConfig | None = None) -> Call[SolverEvent]:
        """Search questions side by side; iterate over all events, with one `Solved` for each question."""
        return self._call(questions, config, follow_steps=True)

    def astream(self, question: str, config: SolverConfig | None = None) -> AsyncGenerator[SolverEvent, None]:
        """Search one question for `async for`. The event loop is not blocked; leaving the loop cancels the search."""
        return items_of(self.stream(question, config))

    def cancel(self) -> None:
        """End the call that is at work with its best answers so far. From any thread and from signal handlers."""
        call = self._turn.holder
        if call is not None:
            call.cancel()

    def close(self) -> None:
        """Cancel what is at work, refuse further calls and close the proposer. Idempotent."""
        self._turn.close()
        self.proposer.close()
        if self.verifier is not None:
            self.verifier.close()

    def __enter__(self) -> Solver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _call(
        self, questions: Iterable[str], config: SolverConfig | None, *, follow_steps: bool, raises: bool = False
    ) -> Call[SolverEvent]:
        self._turn.require_open()
        config = self.config if config is None else config
        if config.prompt_template is not None:
            raise ValueError(_TEMPLATE)
        loop = make_loop(self.proposer.engine, max_open=config.max_open, follow_steps=follow_steps)
        return Call(self._turn, self._events(questions, config, loop, raises=raises), loop)

    def _events(
        self, questions: Iterable[str], config: SolverConfig, loop: SearchLoop, *, raises: bool
    ) -> Generator[SolverEvent, None, None]:
        asking = Asking(
            self.proposer,
            config,
            extract=self._extract,
            same=self._same,
            settings=self._settings(),
            versions=_versions(),
            verifier=self.verifier,
            probe=self.probe,
        )
        with closing(asking), closing(loop.run(asking.requests(questions))) as events:
            for event in events:
                if isinstance(event, QuestionFailed):
                    asking.fail(event.question, event.error)
                elif isinstance(event, QuestionFinished):
                    yield asking.solved(event.result)
                else:
                    yield event
                yield from asking.take_failed(raises=raises)
        yield from asking.take_failed(raises=raises)

    def _settings(self) -> dict[str, object]:
        """What the solutions tell of the models."""
        told: dict[str, object] = {"proposer": _summary(self.proposer), "engine": self._engine_options}
        for name, judge in (("verifier", self.verifier), ("probe", self.probe)):
            if judge is not None:
                told[name] = _summary(judge)
        return told

    def _in_order(self, events: Call[SolverEvent]) -> Iterator[Solution]:
        waiting: dict[int, Solution] = {}
        next_question = 0
        with events:
            for event in events:
                if isinstance(event, Solved):
                    waiting[event.question] = event.solution
                while next_question in waiting:
                    yield waiting.pop(next_question)
                    next_question += 1
        for question in sorted(waiting):
            yield waiting[question]


def _of_verifier(config: EngineConfig) -> EngineConfig:
    """What a verifier's engine shares with the proposer's: where it computes, and how large a tree is."""
    return replace(config, ctx_size=None, num_cells=None, lora=())


def _summary(model: Proposer | Verifier | Probe) -> dict[str, object]:
    """What the model is, without its long texts."""
    return {name: value for name, value in model.info.to_dict().items() if name not in ("chat_template", "arts")}


@cache
def _versions() -> Mapping[str, str]:
    versions = {"python": platform.python_version()}
    for package in ("arts-lite", "llama-cpp-python"):
        with suppress(metadata.PackageNotFoundError):  # a checkout that is not installed; another proposer
            versions[package] = metadata.version(package)
    return versions
