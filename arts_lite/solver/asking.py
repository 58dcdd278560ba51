"""From questions to search requests, and from search results to solutions."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from arts_lite.errors import ArtsError
from arts_lite.search import Checked, FlowRange, Scorer, SearchRequest, SearchResult, Strategy
from arts_lite.solver.config import SolverConfig
from arts_lite.solver.judging import ProbeScorer, ProbeThenVerifier, VerifierScorer
from arts_lite.solver.protocols import Probe, Proposer, Verifier
from arts_lite.solver.results import Solution, Solved, solution_of
from arts_lite.tasks.plain import read_plain


@dataclass(frozen=True, slots=True)
class Understood:
    """How one question is asked, answered and searched."""

    prompt: str
    system: str | None
    extract: Callable[[str], str | None]
    same: Callable[[str, str], bool]
    strategy: Strategy


class Asking:
    """The questions of one call, those that failed included.

    Args:
        extract, same: see `arts_lite.solver.Solver`.
        settings, versions: for the solutions; `settings` without those of `config`.
    """

    def __init__(
        self,
        proposer: Proposer,
        config: SolverConfig,
        *,
        extract: Callable[[str], str | None],
        same: Callable[[str, str], bool],
        settings: Mapping[str, object],
        versions: Mapping[str, str],
        verifier: Verifier | None = None,
        probe: Probe | None = None,
    ) -> None:
        self._proposer = proposer
        self._verifier = verifier
        self._probe = probe
        self._guide = probe or verifier  # scores the steps
        self._config = config = config if self._guide is None else config.judged()
        config.require_step_scores(has_verifier=self._guide is not None)
        self._extract = extract
        self._same = same
        self._sampling = proposer.default_sampling if config.sampling is None else config.sampling
        self._rules = proposer.default_rules if config.rules is None else config.rules
        self._scorer = config.make_scorer()
        resolved = config.with_defaults(self._sampling, self._rules)
        self._settings = {**resolved.to_dict(), **settings}
        self._versions = versions
        self._open: dict[int, str] = {}
        self._judges: dict[int, VerifierScorer] = {}
        self._failed: list[Solved] = []

    def requests(self, questions: Iterable[str]) -> Iterator[SearchRequest]:
        """Make the requests one by one; questions of which none can be made fail."""
        for number, question in enumerate(questions):
            if not isinstance(question, str):
                raise TypeError(f"question {number} is {question!r}, but must be a text")
            self._open[number] = question
            try:
                if not question.strip():
                    raise ValueError("the question is blank; ask something")
                understood = self._understand(question)
                tokens = self._proposer.encode_prompt(understood.prompt, understood.system)
                scorer = self._scorer_of(number, understood.prompt)
            except (ArtsError, ValueError) as error:
                self.fail(number, error)
                continue
            yield SearchRequest(
                number,
                tokens,
                understood.strategy,
                scorer,
                extract=understood.extract,
                same=understood.same,
                sampling=self._sampling,
                rules=self._rules,
                seed=self._config.seed,
                max_tokens=self._config.max_tokens,
                budget=self._config.make_budget(),
                read_values=None if self._probe is None else self._probe.read,
            )

    def close(self) -> None:
        """Let go of what a verifier still holds of questions that were left."""
        for judge in self._judges.values():
            judge.close()
        self._judges.clear()

    def _scorer_of(self, number: int, asked: str) -> Scorer:
        """Take the scorer that was asked for, else the probe and the verifier, which is told what the proposer is."""
        if self._config.scorer is not None or self._guide is None:
            return self._scorer
        steps = None if self._probe is None else ProbeScorer(self._config.aggregation or self._probe.aggregation)
        if self._verifier is None:
            assert steps is not None  # there is a guide, and it is no verifier
            return steps
        tree = self._verifier.tree(asked, self._rules.delimiters)
        judge = self._judges[number] = VerifierScorer(tree, self._config.aggregation or self._verifier.aggregation)
        return judge if steps is None else ProbeThenVerifier(steps, judge)

    def _forget(self, number: int) -> str:
        """Close a question's books; returns its text."""
        if (judge := self._judges.pop(number, None)) is not None:
            judge.close()
        return self._open.pop(number)

    def _understand(self, question: str) -> Understood:
        """Read a question in the way that the proposer needs. Raises UnsupportedQuestionError: it cannot take it."""
        config = self._config
        if not self._proposer.tasks:
            return Understood(question, config.system, self._extract, self._same, self._strategy(config))
        plain = read_plain(question, self._proposer.tasks)
        if plain.beyond:
            warnings.warn(
                f"{question}: beyond what this small model was trained on ({plain.beyond}); it may well be wrong",
                UserWarning,
                stacklevel=2,
            )
        if config.system:
            warnings.warn("this small model reads no system prompt; it is left out", UserWarning, stacklevel=2)
        strategy = self._strategy(config)
        if plain.checks:  # a vote must not end the search before a right answer has been found
            patient = self._strategy(replace(config, early_stop=False))
            strategy = Checked(patient, plain.accepts, early_stop=config.early_stop)
        return Understood(plain.prompt, "", plain.task.extract, plain.same, strategy)

    def _strategy(self, config: SolverConfig) -> Strategy:
        if self._guide is None:
            return config.make_strategy()
        return config.make_strategy(
            has_verifier=True,
            aggregation=self._guide.aggregation,
            flows=self._flows(),
            log_prob_weight=self._guide.log_prob_weight,
        )

    def _flows(self) -> FlowRange | None:
        """What the scores mean; None: they are no flows, or the probe's and the verifier's are different ones.

        A product of flows is none: it may be beyond what a right leaf has, and would be taken for certainty.
        """
        if self._config.scorer is not None or self._config.aggregation == "product":
            return None
        ranges = {judge.rewards for judge in (self._probe, self._verifier) if judge is not None}
        rewards = ranges.pop() if len(ranges) == 1 else None
        return None if rewards is None else FlowRange(*rewards)

    def solved(self, result: SearchResult) -> Solved:
        """Make the last event of a question that has been searched."""
        question = self._forget(result.question)
        solution = solution_of(question, result, settings=self._settings, versions=self._versions)
        return Solved(result.question, solution)

    def fail(self, number: int, error: ArtsError | ValueError) -> None:
        """Note that a question cannot be searched."""
        question = self._forget(number)
        solution = Solution(question, settings=self._settings, versions=self._versions, error=error)
        self._failed.append(Solved(number, solution))

    def take_failed(self, *, raises: bool = False) -> list[Solved]:
        """Hand over, or raise, what failed since the last time."""
        failed, self._failed = self._failed, []
        for solved in failed:
            if raises and solved.solution.error is not None:
                raise solved.solution.error
        return failed
