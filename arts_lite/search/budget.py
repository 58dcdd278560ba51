"""What one question may cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Budget:
    """Upper bounds for one question; None is no bound.

    Attributes:
        tokens: tokens generated in all branches together, prompts not counted, >= 1.
        seconds: time since the question was opened, > 0.
        nodes: the root (the prompt) and every step drawn, >= 2; what two branches draw alike counts twice.

    Raises:
        ValueError: a bound is outside its range.
    """

    tokens: int | None = None
    seconds: float | None = None
    nodes: int | None = None

    def __post_init__(self) -> None:
        if self.tokens is not None and self.tokens < 1:
            raise ValueError(f"budget of {self.tokens} tokens, but it must be >= 1 (or None: no bound)")
        if self.seconds is not None and not self.seconds > 0:
            raise ValueError(f"budget of {self.seconds} seconds, but it must be > 0 (or None: no bound)")
        if self.nodes is not None and self.nodes < 2:
            raise ValueError(f"budget of {self.nodes} nodes, but it must be >= 2: the root and one step")
