from __future__ import annotations

import json

import pytest

from arts_lite.search.scorers import Length, LogProb
from arts_lite.search.sdf import SparseDeepFork
from arts_lite.solver import SolverConfig
from arts_lite.types import SamplingParams, StepRules


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"strategy": "luck"}, "strategy is 'luck', but must be one of best-of-n, vote, weighted-vote, sdf"),
        ({"scorer": "luck"}, "scorer is 'luck', but must be one of logprob, logprob-sum, length"),
        ({"n": 0}, "n is 0"),
        ({"fork_prob": -0.1}, "fork_prob is -0.1"),
        ({"max_tokens": 0}, "max_tokens is 0, but must be >= 1"),
        ({"seed": -1}, "seed is -1, but must be >= 0"),
        ({"seed": 1 << 63}, r"below 2\*\*63"),
        ({"max_open": 0}, "max_open is 0"),
        ({"budget_tokens": 0}, "budget of 0 tokens"),
        ({"budget_seconds": -1.0}, "budget of -1.0 seconds"),
        ({"budget_nodes": 1}, "budget of 1 nodes"),
    ],
)
def test_a_wrong_setting_is_refused_when_it_is_made(setting: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SolverConfig(**setting)


def test_a_scorer_may_be_named_given_or_left_out() -> None:
    own = Length()
    assert isinstance(SolverConfig().make_scorer(), LogProb)
    assert isinstance(SolverConfig(scorer="length").make_scorer(), Length)
    assert SolverConfig(scorer=own).make_scorer() is own


def test_each_question_gets_a_strategy_of_its_own() -> None:
    config = SolverConfig(strategy="sdf")
    assert isinstance(config.make_strategy(), SparseDeepFork)
    assert config.make_strategy() is not config.make_strategy()


def test_settings_are_written_as_plain_data() -> None:
    sampling = SamplingParams(logit_bias={3: 1.5, 4: float("-inf")}, banned_tokens=(7,))
    config = SolverConfig(scorer=Length(), seed=5).with_defaults(sampling, StepRules(stop_strings=("END",)))
    plain = json.loads(json.dumps(config.to_dict(), allow_nan=False))
    assert (plain["scorer"], plain["seed"]) == ("Length", 5)
    assert plain["sampling"]["logit_bias"] == {"3": 1.5, "4": -1e9}
    assert plain["sampling"]["banned_tokens"] == [7]
    assert plain["rules"] == {"delimiters": ["\n\n"], "min_step_bytes": 1, "stop_strings": ["END"]}


def test_what_the_user_says_comes_before_the_proposers_defaults() -> None:
    mine, theirs = SamplingParams(temperature=0.1), SamplingParams(temperature=0.9)
    assert SolverConfig(sampling=mine).with_defaults(theirs, StepRules()).sampling is mine
    assert SolverConfig().with_defaults(theirs, StepRules()).sampling is theirs
