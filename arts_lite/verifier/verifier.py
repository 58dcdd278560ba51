"""A verifier at work: a second model with its own cache, which mirrors the proposer's tree in its own tokens."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from arts_lite.engine import Engine, EngineConfig, ModelDescription, describe
from arts_lite.engine.config import DEFAULT_CONFIG
from arts_lite.engine.forced import TokenTree, read_both
from arts_lite.errors import ContextOverflowError, VerifierError
from arts_lite.types import BranchId, EventKind, SamplingParams, StepRules
from arts_lite.verifier.format import VerifierFormat, read_verifier
from arts_lite.verifier.output import rewards_of

_SAMPLING = SamplingParams()  # a verifier draws nothing
_RULES = StepRules(delimiters=())
_PARITY_QUESTION = "What is (3 + 4) * 5?"
_PARITY_STEPS = ("3 + 4 = 7", "7 * 5 = 35", "The answer is 35.")
_PARITY = 2e-3  # of calibrated values: what rounding the head to F16 may do


class Verifier:
    """Reads log-flows of prefixes.

    Attributes:
        engine: of the verifier's own model; closed by `close`.
        format: what the file says of itself.
        reads_slot: whether values are logits of the file's slot (docs/verifier-format.md), and not of the exact head.
    """

    def __init__(self, engine: Engine, verifier: VerifierFormat) -> None:
        """Take over an engine without branches. Raises VerifierError: the head does not fit its model."""
        self.engine = engine
        self.format = verifier
        self.reads_slot = self._slot_agrees()
        if self.reads_slot:
            return
        try:
            engine.set_head(verifier.head.weight, verifier.head.bias)
        except ValueError as error:
            raise VerifierError(f"{engine.model.path}: {error}; export it again") from error

    def _slot_agrees(self) -> bool:
        """Set the slot as head and compare it with the exact one on a short text, in one batch."""
        told = self.format
        if told.slot is None or len(told.head.weight) != self.engine.num_embd:
            return False
        trace = told.rules.encode(_PARITY_QUESTION, _PARITY_STEPS, self.tokenise)
        if len(trace.tokens) >= self.engine.ctx_size:
            return False
        self.engine.set_head_token(told.slot, told.head.bias)
        ends = [0, *(end + 1 for end in trace.ends)]
        tokens = [np.array(trace.tokens[first:last], np.int32) for first, last in pairwise(ends)]
        [(by_slot, states)] = read_both(self.engine, [TokenTree(tokens, range(-1, len(tokens) - 1))])
        return bool(np.all(told.scale * np.abs(by_slot - told.head(states)) <= _PARITY))

    @classmethod
    def from_gguf(cls, path: str | os.PathLike[str], config: EngineConfig = DEFAULT_CONFIG) -> Verifier:
        """Load a verifier's file.

        Raises:
            VerifierError: it is no verifier, or a damaged one.
            ModelLoadError, UnsupportedModelError: it is no usable model; see `Engine.from_gguf`.
        """
        engine = Engine.from_gguf(path, config)
        try:
            return cls(engine, read_verifier(engine.model.header))
        except BaseException:
            engine.shutdown()
            raise

    @property
    def aggregation(self) -> str:
        """What suits the objective: the weakest step for a process reward model (the paper's choice), else the last."""
        return "min" if self.format.objective == "prm" else "last"

    @property
    def rewards(self) -> tuple[float, float] | None:
        """Flows of a wrong and of a right leaf; None: its values are no flows, only their order counts."""
        return rewards_of(self.format)

    @property
    def log_prob_weight(self) -> float:
        """What a nat of a trace's log-prob under the proposer adds to its log-flow, >= 0."""
        return self.format.log_prob_weight

    @functools.cached_property
    def info(self) -> ModelDescription:
        """What the model file is."""
        return describe(self.engine.model.path, self.engine.config)

    def tokenise(self, text: str) -> list[int]:
        """Turn plain text into the verifier's tokens."""
        return self.engine.model.vocab.tokenise(text, parse_special=False)

    def tree(self, question: str, delimiters: Sequence[str] = ()) -> VerifierTree:
        """Begin a mirror of one question's tree.

        Raises:
            ValueError: the question gives no token.
            ContextOverflowError: it leaves no room for a step.
        """
        return VerifierTree(self, question, delimiters)

    def log_flows(
        self, question: str, traces: Sequence[Sequence[str]], delimiters: Sequence[str] = ()
    ) -> list[NDArray[np.float64]]:
        """Read traces of one question, in one batch: per trace float64[num_steps], the log-flow after each step.

        Raises:
            ValueError: the question or a step gives no token.
            ContextOverflowError: the question leaves no room for a step.
        """
        with self.tree(question, delimiters) as tree:
            return tree.log_flows(traces)

    def close(self) -> None:
        """Shut the engine down. Idempotent."""
        self.engine.shutdown()

    def __enter__(self) -> Verifier:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


@dataclass(slots=True)
class _Node:
    """A prefix that has been, or is being, read."""

    branch: BranchId
    end: int  # tokens up to here
    children: dict[str, _Node] = field(default_factory=dict)
    value: float = float("nan")


class VerifierTree:
    """The mirror of one question's tree: every prefix is decoded once, however many traces share it.

    Attributes:
        num_tokens: decoded so far, the question's included.
    """

    def __init__(self, verifier: Verifier, question: str, delimiters: Sequence[str] = ()) -> None:
        self._verifier = verifier
        self._engine = verifier.engine
        self._rules = verifier.format.rules
        self._delimiters = tuple(delimiters)
        self._question = self._rules.question_tokens(question, verifier.tokenise)
        if len(self._question) >= self._engine.ctx_size:
            raise ContextOverflowError(
                f"the question has {len(self._question)} of the verifier's tokens, but its context holds "
                f"{self._engine.ctx_size}, and a step must follow; shorten it, or take a verifier with a longer context"
            )
        self._branches: list[BranchId] = []
        self._root: _Node | None = None
        self._unread: list[_Node] = []  # what a call that failed left behind is read by the next one
        self.num_tokens = 0

    def log_flows(self, traces: Sequence[Sequence[str]]) -> list[NDArray[np.float64]]:
        """Read traces, those steps only that no earlier call has read: per trace float64[num_steps].

        A trace that is longer than the verifier's context is read as far as it fits; later steps repeat the last value
        that could be read, for there is none of their own.
        """
        for steps in traces:
            self._unread += self._grow(steps)
        if self._unread:
            self._decode({node.branch for node in self._unread})
            for node in self._unread:
                node.value = float(self._engine.values(node.branch, [node.end])[0])
            self._unread.clear()
        found = [self._read(steps) for steps in traces]
        return [self._verifier.format.log_flow(values) for values in found]

    def close(self) -> None:
        """Let go of the cache. Idempotent."""
        for branch in self._branches:
            self._engine.close(branch)
        self._branches.clear()
        self._unread.clear()
        self._root = None

    def __enter__(self) -> VerifierTree:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _grow(self, steps: Sequence[str]) -> list[_Node]:
        """Add the nodes of a trace that are new, on a branch that shares what is not."""
        node = self._root
        known = 0
        while node is not None and known < len(steps) and (child := node.children.get(steps[known])) is not None:
            node, known = child, known + 1
        room = self._engine.ctx_size - (len(self._question) if node is None else node.end)
        tokens: list[int] = []
        marks: list[int] = []
        for step in steps[known:]:
            own = self._rules.step_tokens(step, self._verifier.tokenise, self._delimiters)
            if len(tokens) + len(own) > room:
                break
            tokens += own
            marks.append(len(tokens))
        if node is not None and not marks:
            return []
        fresh: list[_Node] = []
        if node is None:
            node = self._root = _Node(self._open(), len(self._question))
            fresh.append(node)
        branch = self._fork(node) if fresh == [] else node.branch
        start = node.end
        for mark, step in zip(marks, steps[known:], strict=False):
            child = _Node(branch, start + mark)
            node.children[step] = child
            node = child
            fresh.append(child)
        self._engine.append(branch, tokens, marks=[one.end for one in fresh])
        self.num_tokens += len(tokens)
        return fresh

    def _open(self) -> BranchId:
        branch = self._engine.open(
            self._question, sampling=_SAMPLING, rules=_RULES, seed=0, stream=len(self._branches), max_tokens=1
        )
        self._branches.append(branch)
        self.num_tokens += len(self._question)
        return branch

    def _fork(self, node: _Node) -> BranchId:
        branch = self._engine.fork(node.branch, node.end)
        self._branches.append(branch)
        return branch

    def _decode(self, waiting: set[BranchId]) -> None:
        while waiting:
            for event in self._engine.advance():
                if event.kind is EventKind.APPENDED and event.branch is not None:
                    waiting.discard(event.branch)

    def _read(self, steps: Sequence[str]) -> list[float]:
        node, values = self._root, list[float]()
        for step in steps:
            child = None if node is None else node.children.get(step)
            if node is None or child is None:  # beyond the context, and so is all that follows
                last = float("nan") if node is None else node.value
                return values + [last] * (len(steps) - len(values))
            node = child
            values.append(child.value)
        return values
