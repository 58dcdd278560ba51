"""A proposer over the fake engine: the prompt is the question's bytes."""

from __future__ import annotations

from typing import Any

from fakes.engine import FakeEngine

from arts_lite.errors import ContextOverflowError
from arts_lite.types import SamplingParams, StepRules


class FakeInfo:
    """Stands for a model file's description."""

    def to_dict(self) -> dict[str, Any]:
        return {"name": "fake", "chat_template": "a long text"}


class FakeProposer:
    """Implements `arts_lite.solver.protocols.Proposer`."""

    def __init__(self, engine: FakeEngine | None = None) -> None:
        self.engine = engine or FakeEngine()
        self.default_sampling = SamplingParams(temperature=1.0, top_p=1.0)
        self.default_rules = StepRules()
        self.tasks: tuple[str, ...] = ()
        self.info = FakeInfo()
        self.is_closed = False
        self.asked: list[str] = []

    def encode_prompt(self, question: str, system: str | None = None) -> list[int]:
        self.asked.append(question)
        tokens = list(((system or "") + question).encode())
        if len(tokens) >= self.engine.context_size:
            raise ContextOverflowError(
                f"the prompt has {len(tokens)} tokens, but a trace holds at most {self.engine.context_size}"
            )
        return tokens

    def close(self) -> None:
        assert not self.engine.branches, "closed before its branches"
        self.is_closed = True
