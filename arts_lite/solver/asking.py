"""From questions to search requests, and from search results to solutions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from arts_lite.errors import ArtsError
from arts_lite.search import SearchRequest, SearchResult
from arts_lite.solver.config import SolverConfig
from arts_lite.solver.protocols import Proposer
from arts_lite.solver.results import Solution, Solved, solution_of


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
    ) -> None:
        self._proposer = proposer
        self._config = config
        self._extract = extract
        self._same = same
        self._sampling = proposer.default_sampling if config.sampling is None else config.sampling
        self._rules = proposer.default_rules if config.rules is None else config.rules
        self._scorer = config.make_scorer()
        resolved = config.with_defaults(self._sampling, self._rules)
        self._settings = {**resolved.to_dict(), **settings}
        self._versions = versions
        self._open: dict[int, str] = {}
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
                tokens = self._proposer.encode_prompt(question, self._config.system)
            except (ArtsError, ValueError) as error:
                self.fail(number, error)
                continue
            yield SearchRequest(
                number,
                tokens,
                self._config.make_strategy(),
                self._scorer,
                extract=self._extract,
                same=self._same,
                sampling=self._sampling,
                rules=self._rules,
                seed=self._config.seed,
                max_tokens=self._config.max_tokens,
                budget=self._config.make_budget(),
            )

    def solved(self, result: SearchResult) -> Solved:
        """Make the last event of a question that has been searched."""
        question = self._open.pop(result.question)
        solution = solution_of(question, result, settings=self._settings, versions=self._versions)
        return Solved(result.question, solution)

    def fail(self, number: int, error: ArtsError | ValueError) -> None:
        """Note that a question cannot be searched."""
        question = self._open.pop(number)
        solution = Solution(question, settings=self._settings, versions=self._versions, error=error)
        self._failed.append(Solved(number, solution))

    def take_failed(self, *, raises: bool = False) -> list[Solved]:
        """Hand over, or raise, what failed since the last time."""
        failed, self._failed = self._failed, []
        for solved in failed:
            if raises and solved.solution.error is not None:
                raise solved.solution.error
        return failed
