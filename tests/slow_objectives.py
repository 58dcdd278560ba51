"""The objectives once more, in plain Python on traces: slow, and with nothing in common with the fast ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

from arts_lite.tree import Tree, traces_of

State = tuple[str, ...]
"""A prefix: its steps."""


class SlowTree:
    """One tree as dictionaries of prefixes."""

    def __init__(self, tree: Tree) -> None:
        self.question = tree.origin.question
        self.ends: dict[State, list[tuple[float, bool]]] = {}
        self.draws: dict[State, int] = {}
        self.log_pf: dict[State, float] = {(): 0.0}
        for trace in traces_of(tree):
            steps = trace.step_texts
            for place in range(len(steps)):
                state = steps[: place + 1]
                self.draws.setdefault(state, 0)
                self.draws[state] += trace.step_ends[place] > trace.num_tokens_shared
                self.log_pf[state] = float(trace.log_pf_sampling[place])
            self.ends.setdefault(steps, []).append((trace.end.reward or 0.0, bool(trace.end.correct)))
        self.states: list[State] = [(), *self.draws]

    def children(self, state: State) -> list[State]:
        return [other for other in self.draws if other[:-1] == state]

    def is_leaf(self, state: State) -> bool:
        return not self.children(state)

    def below(self, state: State) -> list[tuple[float, bool]]:
        """Reward and verdict of each leaf at or below."""
        return [end for place, ends in self.ends.items() if place[: len(state)] == state for end in ends]

    def share(self, state: State) -> float:
        leaves = self.below(state)
        return sum(correct for _, correct in leaves) / len(leaves)

    def mean_reward(self, state: State) -> float:
        leaves = self.below(state)
        return sum(reward for reward, _ in leaves) / len(leaves)

    def sum_reward(self, state: State) -> float:
        """Over distinct leaves."""
        own = [reward for reward, _ in self.ends.get(state, [])]
        return (sum(own) / len(own) if own else 0.0) + sum(map(self.sum_reward, self.children(state)))


Values = Mapping[State, float]


def slow_loss(name: str, trees: Sequence[SlowTree], values: Sequence[Values], options: Mapping[str, Any]) -> float:
    """Loss of a batch, for targets that are the values themselves."""
    problems: dict[str, list[tuple[SlowTree, Values]]] = {}
    for tree, own in zip(trees, values, strict=True):
        problems.setdefault(tree.question, []).append((tree, own))
    groups = [_TERMS[name](problem, options) for problem in problems.values()]
    total = 0.0
    for kind in groups[0]:
        if options["per_problem"]:
            total += sum(_mean(group[kind]) for group in groups) / len(groups)
        else:
            total += _mean([term for group in groups for term in group[kind]])
    return total


Terms = dict[str, list[tuple[float, float]]]
"""(weight, term) by kind; each kind is averaged on its own."""


def _flow(problem: Sequence[tuple[SlowTree, Values]], options: Mapping[str, Any]) -> Terms:
    terms: Terms = {"inner": [], "leaf": [], "sibling": []}
    for tree, values in problem:
        for state in tree.states:
            if not state and not options["root"]:
                continue
            weight = len(tree.below(state)) ** options["leaf_power"]
            if tree.is_leaf(state):
                term = _flow_leaf(tree, values, state, options)
                if options["leaf_weight"] is None:
                    terms["inner"].append((weight, term))
                else:
                    terms["leaf"].append((weight, options["leaf_weight"] * term))
            else:
                terms["inner"].append((weight, _flow_inner(tree, values, state, options)))
        for first, second in combinations(tree.draws, 2):
            if first[:-1] == second[:-1] and abs(tree.mean_reward(first) - tree.mean_reward(second)) > 1e-9:
                better, worse = sorted((first, second), key=tree.mean_reward, reverse=True)
                term = math.log(1 + math.exp(values[worse] - values[better]))
                weight = 2 / len(tree.children(first[:-1]))
                terms["sibling"].append((weight, options["sibling_weight"] * term))
    terms["pair"] = [(weight, options["ranking_weight"] * term) for weight, term in _rm(problem, options)["pair"]]
    return terms


def _flow_leaf(tree: SlowTree, values: Values, state: State, options: Mapping[str, Any]) -> float:
    if options["deviance"] == "bce":
        return _bce(tree.share(state), values[state])
    return _DEVIANCES[options["deviance"]](tree.mean_reward(state), math.exp(values[state]))


def _flow_inner(tree: SlowTree, values: Values, state: State, options: Mapping[str, Any]) -> float:
    is_bce = options["deviance"] == "bce"
    below: list[tuple[float, float]] = []  # draws, flow
    for child in tree.children(state):
        if tree.is_leaf(child):
            flow = tree.share(child) if is_bce else tree.mean_reward(child)
        else:
            flow = _sigmoid(values[child]) if is_bce else math.exp(values[child])
        below.append((tree.draws[child], flow))
    if own := tree.ends.get(state):
        flow = sum(correct if is_bce else reward for reward, correct in own) / len(own)
        below.append((len(own), flow))
    if options["estimator"] == "sum":
        bootstrapped = sum(flow for _, flow in below)
        monte_carlo = tree.sum_reward(state)
    else:
        bootstrapped = sum(draws * flow for draws, flow in below) / sum(draws for draws, _ in below)
        monte_carlo = tree.share(state) if is_bce else tree.mean_reward(state)
    target = (1 - options["mc_share"]) * bootstrapped + options["mc_share"] * monte_carlo
    if is_bce:
        return _bce(target, values[state])
    return _DEVIANCES[options["deviance"]](target, math.exp(values[state]))


def _detailed_balance(problem: Sequence[tuple[SlowTree, Values]], options: Mapping[str, Any]) -> Terms:
    terms: Terms = {"edge": [], "leaf": []}
    for tree, values in problem:
        for child, draws in tree.draws.items():
            if child[:-1] or options["root"]:
                terms["edge"].append((draws, _residual(tree, values, child[:-1], child, options) ** 2))
        terms["leaf"] += _log_leaves(tree, values, options)
    return terms


def _subtb(problem: Sequence[tuple[SlowTree, Values]], options: Mapping[str, Any]) -> Terms:
    terms: Terms = {"stretch": [], "leaf": []}
    for tree, values in problem:
        for end, traces in tree.ends.items():
            if not tree.is_leaf(end):
                continue
            states = [end[:place] for place in range(len(end) + 1)][0 if options["root"] else 1 :]
            pairs = list(combinations(range(len(states)), 2))
            total = sum(options["decay"] ** (last - first) for first, last in pairs)
            for first, last in pairs:
                weight = len(traces) * options["decay"] ** (last - first) / total
                terms["stretch"].append((weight, _residual(tree, values, states[first], states[last], options) ** 2))
        terms["leaf"] += _log_leaves(tree, values, options)
    return terms


def _residual(tree: SlowTree, values: Values, above: State, below: State, options: Mapping[str, Any]) -> float:
    after = math.log(tree.mean_reward(below)) if tree.is_leaf(below) else values[below]
    residual = values[above] - after
    if options["estimator"] == "sum":
        residual += sum(tree.log_pf[below[: place + 1]] for place in range(len(above), len(below)))
    return residual


def _log_leaves(tree: SlowTree, values: Values, options: Mapping[str, Any]) -> list[tuple[float, float]]:
    leaves = [state for state in tree.states if tree.is_leaf(state)]
    return [(1, options["leaf_weight"] * (values[one] - math.log(tree.mean_reward(one))) ** 2) for one in leaves]


def _prm(problem: Sequence[tuple[SlowTree, Values]], options: Mapping[str, Any]) -> Terms:
    terms: Terms = {"inner": [], "leaf": []}
    for tree, values in problem:
        for state in tree.states:
            if not state and not options["root"]:
                continue
            weight = len(tree.below(state)) ** options["leaf_power"]
            label = tree.share(state)
            if options["labels"] == "hard":
                label = float(any(correct for _, correct in tree.below(state)))
            term = _bce(label, values[state])
            if tree.is_leaf(state) and options["leaf_weight"] is not None:
                terms["leaf"].append((weight, options["leaf_weight"] * term))
            else:
                terms["inner"].append((weight, term))
    return terms


def _orm(problem: Sequence[tuple[SlowTree, Values]], options: Mapping[str, Any]) -> Terms:
    return {
        "leaf": [
            (len(tree.ends[state]) ** options["leaf_power"], _bce(tree.share(state), values[state]))
            for tree, values in problem
            for state in tree.states
            if tree.is_leaf(state)
        ]
    }


def _rm(problem: Sequence[tuple[SlowTree, Values]], options: Mapping[str, Any]) -> Terms:
    leaves = [(tree, values, state) for tree, values in problem for state in tree.states if tree.is_leaf(state)]
    pairs = []
    for first, values, right in leaves:
        for second, others, wrong in leaves:
            if first.share(right) > second.share(wrong):
                weight = (len(first.ends[right]) * len(second.ends[wrong])) ** options["leaf_power"]
                pairs.append((weight, -math.log(_sigmoid(values[right] - others[wrong]))))
    return {"pair": pairs}


_TERMS: Mapping[str, Callable[[Sequence[tuple[SlowTree, Values]], Mapping[str, Any]], Terms]] = {
    "flow": _flow,
    "detailed-balance": _detailed_balance,
    "subtb": _subtb,
    "prm": _prm,
    "orm": _orm,
    "rm": _rm,
}
_DEVIANCES: Mapping[str, Callable[[float, float], float]] = {
    "squared-log": lambda target, flow: (math.log(target) - math.log(flow)) ** 2,
    "gamma": lambda target, flow: target / flow - math.log(target / flow) - 1,
    "poisson": lambda target, flow: target * math.log(target / flow) - target + flow,
}


def _bce(label: float, logit: float) -> float:
    return -label * math.log(_sigmoid(logit)) - (1 - label) * math.log(1 - _sigmoid(logit))


def _sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def _mean(terms: Sequence[tuple[float, float]]) -> float:
    return sum(weight * term for weight, term in terms) / sum(weight for weight, _ in terms) if terms else 0.0
