"""What the tiny proposer learns: families of generated problems at set shares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from random import Random

from arts_lite.tasks.arithmetic import ArithmeticDifficulty
from arts_lite.tasks.countdown import CountdownDifficulty
from arts_lite.tasks.traces import Sample, arithmetic_samples, countdown_samples

Difficulty = CountdownDifficulty | ArithmeticDifficulty


@dataclass(frozen=True, slots=True)
class Part:
    """One kind of problem and its share of the samples.

    Attributes:
        difficulty: whose type says the family.
        share: > 0; shares of a mixture need not sum to 1.
        missed: of Countdown's traces, the share of legal ones that miss the target, in [0, 1].
    """

    difficulty: Difficulty
    share: float
    missed: float = 0.25


_PLAIN = {"styles": False, "max_number": 999, "max_value": 999, "operators": "+-*/"}

MIXTURE: tuple[Part, ...] = (
    Part(CountdownDifficulty(num_numbers=3), 0.10),
    Part(CountdownDifficulty(num_numbers=4), 0.44),
    Part(CountdownDifficulty(num_numbers=5), 0.08),
    Part(CountdownDifficulty(num_numbers=4, max_number=50, max_target=200), 0.04),
    Part(ArithmeticDifficulty(num_operators=4, max_value=999), 0.03),
    Part(ArithmeticDifficulty(num_operators=3, max_value=9999), 0.04),
    Part(ArithmeticDifficulty(num_operators=4, max_value=9999), 0.13),
    Part(ArithmeticDifficulty(num_operators=5, max_value=9999), 0.05),
    Part(ArithmeticDifficulty(num_operators=6, max_value=999), 0.02),
    Part(ArithmeticDifficulty(num_operators=1, **_PLAIN), 0.03),  # type: ignore[arg-type]
    Part(ArithmeticDifficulty(num_operators=2, **_PLAIN), 0.02),  # type: ignore[arg-type]
    Part(ArithmeticDifficulty(num_operators=3, **_PLAIN), 0.02),  # type: ignore[arg-type]
)
"""Problems around the two families' default difficulties, easier and harder ones, and plain sums.

Countdown has two thirds: its steps are to be right, whereas errors are what arithmetic is for. Each problem is drawn
anew, so that nothing is learnt by heart but the facts.
"""


def mixture_samples(
    seed: int, step: int, *, split: str = "train", parts: tuple[Part, ...] = MIXTURE
) -> Iterator[Sample]:
    """Draw samples without end; a function of the arguments alone, so that a resumed run sees what it would have."""
    key = int.from_bytes(blake2b(f"{seed} {step} {split}".encode(), digest_size=7).digest(), "big")
    rng = Random(key)
    streams = [_samples(part, key, split) for part in parts]
    shares = [part.share for part in parts]
    while True:
        [stream] = rng.choices(streams, shares)
        yield next(stream)


def _samples(part: Part, seed: int, split: str) -> Iterator[Sample]:
    if isinstance(part.difficulty, CountdownDifficulty):
        return countdown_samples(seed, part.difficulty, split=split, missed=part.missed)
    return arithmetic_samples(seed, part.difficulty, split=split)


def describe_mixture(parts: tuple[Part, ...] = MIXTURE) -> list[Mapping[str, object]]:
    """Plain data, for a run's configuration and the model card."""
    return [
        {"family": type(part.difficulty).__name__, "difficulty": repr(part.difficulty), "share": part.share}
        | ({"missed": part.missed} if isinstance(part.difficulty, CountdownDifficulty) else {})
        for part in parts
    ]
