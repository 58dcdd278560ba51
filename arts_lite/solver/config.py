"""How a question is searched."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from arts_lite.search import (
    NEED_STEP_SCORES,
    Budget,
    FlowRange,
    Scorer,
    StepScorer,
    Strategy,
    StrategySettings,
    make_scorer,
    make_strategy,
)
from arts_lite.types import SamplingParams, StepRules


@dataclass(frozen=True)
class SolverConfig:
    """Settings of a search.

    Attributes:
        strategy: "best-of-n", "vote", "weighted-vote", "sdf", and with step scores (a verifier's, or a scorer's with
            `score_steps`) "flow", "beam", "dvts" or "mcts"; None: "weighted-vote" with a verifier, else "vote".
        n: main traces, >= 1; "flow": the budget, in tokens of so many traces; beams ("beam", "dvts": in all subtrees
            together) or simulations ("mcts").
        fork_prob: chance of a fork at an intermediate step boundary, in [0, 1] ("sdf").
        max_fork_depth: how many forks may lie above a leaf; 1: forks do not fork ("sdf").
        early_stop: stop once no other answer can win ("vote"), or where `confidence` says so.
        confidence: stop when an answer is right with this probability, in [0, 1); 0: never; None: what suits the
            strategy ("flow": 0.95; "best-of-n", "weighted-vote", "vote": never). By a verifier's flows, which "flow",
            "best-of-n" and "weighted-vote" need for it; "vote" by its votes.
        concurrency: traces that run side by side, >= 1; None: all, or, where `confidence` may end the search, waves:
            half as many as have ended, at least one.
        prune_below: a trace is left when its flow, for what it still costs, falls below this share of what a place
            above promises, in [0, 1]; 0: never ("flow").
        flow_temperature: how freely the next place is drawn, >= 0; 1: in proportion to flow, 0: the best ("flow").
        log_prob_weight: what a nat of a trace's log-prob under the proposer adds to its log-flow, >= 0, wherever a
            verifier chooses, guides or ends a search; None: what the verifier's file says.
        beam_width: next steps drawn of each prefix that is expanded, >= 1 ("beam", "dvts", "mcts").
        c_puct: weight of exploration, >= 0 ("mcts").
        scorer: what a trace is worth: "logprob", "logprob-sum", "length" (shorter is better) or an object with `score`.
            It chooses the answer of "best-of-n" and "weighted-vote", and of "sdf" if it is given; otherwise the leaves
            vote, and it only chooses which trace is shown. None: the verifier, or "logprob" without one.
        aggregation: how step scores make one score, a verifier's of a trace, and of a prefix ("beam", "dvts", "mcts"):
            "last", "min", "mean" or "product"; None: what suits the verifier, else "last".
        sampling, rules: how tokens are drawn and where steps end; None: the proposer's own.
        max_tokens: most tokens that one trace may generate, >= 1.
        budget_tokens, budget_seconds, budget_nodes: what one question may cost in all; None: no bound.
        seed: >= 0. Draws are a function of it and of the branch, the same for every question.
        system: system prompt; None: the proposer's own; "": none.
        prompt_template: text or file used instead of the model's chat template; read by `Solver.from_gguf` only.
        max_open: most questions that `solve_many` searches at once, >= 1.

    Raises:
        ValueError: a value is outside its range, or a name is unknown.
    """

    strategy: str | None = None
    n: int = 16
    fork_prob: float = 0.5
    max_fork_depth: int = 1
    early_stop: bool = True
    confidence: float | None = None
    concurrency: int | None = None
    prune_below: float = 0.5
    flow_temperature: float = 0.3
    log_prob_weight: float | None = None
    beam_width: int = 4
    c_puct: float = 1.25
    scorer: str | Scorer | None = None
    aggregation: str | None = None
    sampling: SamplingParams | None = None
    rules: StepRules | None = None
    max_tokens: int = 1024
    budget_tokens: int | None = None
    budget_seconds: float | None = None
    budget_nodes: int | None = None
    seed: int = 0
    system: str | None = None
    prompt_template: str | Path | None = None
    max_open: int = 64

    def __post_init__(self) -> None:
        self.make_strategy()
        self.make_scorer()
        self.make_budget()
        for name, low in (("max_tokens", 1), ("seed", 0), ("max_open", 1)):
            value = getattr(self, name)
            if value < low:
                raise ValueError(f"{name} is {value}, but must be >= {low}")
        if self.seed >= 1 << 63:
            raise ValueError(f"seed is {self.seed}, but must be below 2**63")

    def make_strategy(
        self,
        *,
        has_verifier: bool = False,
        aggregation: str = "last",
        flows: FlowRange | None = None,
        log_prob_weight: float = 0.0,
    ) -> Strategy:
        """Make the strategy of one question; `aggregation` and `log_prob_weight` are used unless the settings tell."""
        settings = StrategySettings(
            n=self.n,
            fork_prob=self.fork_prob,
            max_fork_depth=self.max_fork_depth,
            by_score=self.scorer is not None or has_verifier,
            early_stop=self.early_stop,
            confidence=self.confidence,
            concurrency=self.concurrency,
            prune_below=self.prune_below,
            flow_temperature=self.flow_temperature,
            log_prob_weight=log_prob_weight if self.log_prob_weight is None else self.log_prob_weight,
            beam_width=self.beam_width,
            c_puct=self.c_puct,
            aggregation=aggregation if self.aggregation is None else self.aggregation,
            flows=flows,
        )
        return make_strategy(self.strategy or default_strategy(has_verifier=has_verifier), settings)

    def make_scorer(self) -> Scorer:
        """Make the scorer, or take the one that was given."""
        scorer = "logprob" if self.scorer is None else self.scorer
        return make_scorer(scorer) if isinstance(scorer, str) else scorer

    def require_step_scores(self, *, has_verifier: bool) -> None:
        """Raise ValueError if the strategy is guided by step scores and there will be none."""
        if self.strategy not in NEED_STEP_SCORES:
            return
        if isinstance(self.make_scorer(), StepScorer) or (has_verifier and self.scorer is None):
            return
        lack = "there is no verifier" if self.scorer is None else f"the scorer ({self._scorer_name}) has none"
        raise ValueError(
            f"strategy {self.strategy!r} is guided by the score of every step, but {lack}; give a verifier "
            "(--verifier FILE) or a probe and no scorer, or a scorer with `score_steps`, or choose another strategy"
        )

    @property
    def wants_verifier(self) -> bool:
        """Whether a verifier would be asked: there is no scorer in its place, and it is not the votes that choose."""
        return self.scorer is None and self.strategy != "vote"

    def make_budget(self) -> Budget:
        """Bundle the bounds."""
        return Budget(self.budget_tokens, self.budget_seconds, self.budget_nodes)

    def judged(self) -> SolverConfig:
        """Say what a verifier's presence decides."""
        return (
            self
            if self.strategy is not None
            else dataclasses.replace(self, strategy=default_strategy(has_verifier=True))
        )

    def with_defaults(self, sampling: SamplingParams, rules: StepRules) -> SolverConfig:
        """Fill in what was left to the proposer."""
        strategy = self.strategy or default_strategy(has_verifier=False)
        return dataclasses.replace(
            self, strategy=strategy, sampling=self.sampling or sampling, rules=self.rules or rules
        )

    @property
    def _scorer_name(self) -> str | None:
        return self.scorer if isinstance(self.scorer, str | None) else type(self.scorer).__name__

    def to_dict(self) -> dict[str, object]:
        """Plain data, for JSON."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for name in ("sampling", "rules"):
            if values[name] is not None:
                values[name] = _plain(values[name])
        values["scorer"] = self._scorer_name
        if isinstance(self.prompt_template, Path):
            values["prompt_template"] = str(self.prompt_template)
        return values


def default_strategy(*, has_verifier: bool) -> str:
    """Name the strategy that is used where none was asked for."""
    return "weighted-vote" if has_verifier else "vote"


def _plain(params: SamplingParams | StepRules) -> dict[str, object]:
    values = dataclasses.asdict(params)
    if isinstance(params, SamplingParams):  # JSON has no infinity and no numbers as keys
        bias = {str(token): max(amount, -1e9) for token, amount in params.logit_bias.items()}
        values |= {"logit_bias": bias, "banned_tokens": list(params.banned_tokens)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
