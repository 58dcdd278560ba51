"""Small SDF trees with known answers, drawn without any model."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import numpy as np

from arts_lite.tasks import Rewards
from arts_lite.tree import Origin, Trace, TraceEnd, Tree, tree_of

REWARDS = Rewards()
Step = str
Policy = Callable[[Random, tuple[Step, ...]], "Step | None"]
"""Draws the next step after some steps; None ends the trace."""


def rambling(num_choices: int = 3, stop: float = 0.35, max_steps: int = 4) -> Policy:
    """Steps "a", "b", ...; a trace may end anywhere, also where others go on."""

    def draw(rng: Random, steps: tuple[Step, ...]) -> Step | None:
        if steps and (len(steps) == max_steps or rng.random() < stop):
            return None
        return "abcdefgh"[rng.randrange(num_choices)]

    return draw


def lines(num_choices: int = 6, stop: float = 0.35, max_steps: int = 4) -> Policy:
    """As `rambling`, but a trace's last step is a capital letter, so that no trace ends where another goes on."""
    draw = rambling(num_choices, stop, max_steps - 1)

    def draw_marked(rng: Random, steps: tuple[Step, ...]) -> Step | None:
        if steps and steps[-1].isupper():
            return None
        return draw(rng, steps) or "ABCDEFGH"[rng.randrange(num_choices)]

    return draw_marked


def verdict(question: str, steps: tuple[Step, ...]) -> bool:
    """Half of all traces are correct, by their text alone."""
    return Random(f"{question} {steps}").random() < 0.5


def sdf_tree(
    rng: Random,
    *,
    question: str = "1 + 1",
    num_mains: int = 4,
    fork_prob: float = 0.5,
    policy: Policy | None = None,
    is_correct: Callable[[str, tuple[Step, ...]], bool] = verdict,
    rewards: Rewards | None = REWARDS,
) -> Tree:
    """Draw a tree as Sparse Deep Fork does: main traces, and forks at their intermediate boundaries."""
    policy = policy or rambling()
    drawn: list[tuple[tuple[Step, ...], int | None, int]] = []  # steps, parent, steps taken over
    for _ in range(num_mains):
        main = _run(rng, policy, ())
        index = len(drawn)
        drawn.append((main, None, 0))
        for place in range(1, len(main)):
            if rng.random() < fork_prob:
                drawn.append((_run(rng, policy, main[:place]), index, place))
    traces = []
    for steps, parent, shared in drawn:
        correct = is_correct(question, steps)
        reward = None if rewards is None else rewards.of(correct)
        traces.append(trace(steps, parent, shared, TraceEnd(correct=correct, reward=reward)))
    told = None if rewards is None else rewards.to_dict()
    return tree_of(traces, Origin(question, problem={"question": question, "task": "sums"}, rewards=told))


def trace(
    steps: tuple[Step, ...], parent: int | None = None, num_shared: int = 0, end: TraceEnd | None = None
) -> Trace:
    """A trace of one-token steps; log-probs are functions of the prefix."""
    tokens = np.array([ord(step[0]) for step in steps], np.int32)
    log_pf = np.array([-sum(map(ord, steps[: place + 1])) % 97 / 50 - 2 for place in range(len(steps))], np.float64)
    ends = tuple(range(1, len(steps) + 1))
    return Trace(tokens, ends, steps, log_pf * 1.5, log_pf, parent, num_shared, end or TraceEnd())


def sdf_trees(seed: int, num_trees: int = 3, **settings: object) -> list[Tree]:
    """Several trees; the last two are of one problem."""
    rng = Random(seed)
    questions = [f"{seed} + {number}" for number in range(num_trees)]
    questions[-1] = questions[max(0, num_trees - 2)]
    return [sdf_tree(rng, question=question, **settings) for question in questions]  # type: ignore[arg-type]


def _run(rng: Random, policy: Policy, steps: tuple[Step, ...]) -> tuple[Step, ...]:
    while (step := policy(rng, steps)) is not None:
        steps = (*steps, step)
    return steps
