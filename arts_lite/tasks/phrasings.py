"""Problems of the generated tasks in people's own words: a question in, the problem out.

Reading is strict: every word has to be one that such questions are made of. So a story with numbers in it ("Tom has 3
apples ...") is never taken for a sum.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from arts_lite.tasks.arithmetic import arithmetic_problem
from arts_lite.tasks.countdown import countdown_problem
from arts_lite.tasks.expression import tidy
from arts_lite.tasks.problem import Problem
from arts_lite.tasks.reduction import Token, read_tokens, write_tokens

_MAX_QUESTION_CHARS = 1000
_MAX_NUMBERS = 12
_MAX_DIGITS = 9


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_POLITE = _words(
    """a answer answers arithmetic can can't could do does equation exactly expression find for give have hello help
    here hey hi i i'd i'll is it let let's lets me math maths my need now of please problem question result show so
    solve solution tell thank thanks that the then this to total try us value want we what what's whats would you"""
)
_TARGET_CUES = _words(
    """= achieve build construct countdown create equal equals form get gets getting give gives goal hit make makes
    making need obtain produce reach reaches reaching target to total want yield yields"""
)
_LIST_CUES = _words("by combine combining from given have numbers only out use using via with")
_COUNTDOWN_WORDS = (
    _TARGET_CUES
    | _LIST_CUES
    | _POLITE
    | _words(
        """add addition all allowed an and any are as at available basic be come comes divide division each every
        five four game how if in into just may minus most multiplication multiply must number once one operation
        operations operator operators or plus possible puzzle six subtract subtraction sure them these they those
        three time times two up used uses way which will write your"""
    )
)
_NUMBER_LIST = re.compile(r"[0-9]+(?:(?:\s*(?:[,;&|]|\band\b))+\s*[0-9]+|\s+[0-9]+)+")
_PLAIN_COUNTDOWN = re.compile(r"\s*([0-9]{1,9})\s*:\s*([0-9]{1,9}(?:\s+[0-9]{1,9})+)\s*")
_TARGET_WITH_COMMAS = re.compile(
    r"\b((?:make|reach|get|hit|target|to|total)(?:[\s:=]|\b(?:is|of|the|number|a|total|exactly)\b)*)"
    r"([0-9]{1,3}(?:,[0-9]{3})+)(?![0-9,])"
)
_NO_COUNTDOWN = re.compile(  # decimals, sums, signed numbers, amounts, units
    r"[0-9][.^][0-9]|[0-9]\s*[-+*/^]\s*[0-9]|[-+*/^$%]\s?[0-9]|[0-9]\s?%|[0-9][a-z]|[a-z][0-9]"
)

_BEFORE_SUM = _POLITE | _words("calculate compute determine equal equals evaluate how many much out simplify work")
_AFTER_SUM = _words("answer come equal equals give gives is make makes please result thank thanks to what you")
_OPERATOR_WORDS = (
    (re.compile(r"\b(?:multiplied by|times)\b"), "*"),
    (re.compile(r"\b(?:divided by|over)\b"), "/"),
    (re.compile(r"\b(?:plus|added to)\b"), "+"),
    (re.compile(r"\b(?:minus|take away|negative)\b"), "-"),
    (re.compile(r"(?<=[0-9)\s])x(?=[0-9(\s-])"), "*"),
)
_OF_TWO = tuple(
    (re.compile(rf"{words} (-?[0-9]+) {between} (-?[0-9]+)"), form)
    for words, between, form in (
        ("(?:sum of|add|adding)", "(?:and|to|with)", "({0})+({1})"),
        ("(?:difference (?:between|of))", "and", "({0})-({1})"),
        ("(?:product of|multiply|multiplying)", "(?:and|by|with)", "({0})*({1})"),
        ("(?:quotient of|divide|dividing)", "(?:and|by)", "({0})/({1})"),
        ("(?:subtract|subtracting|take)", "from", "({1})-({0})"),
    )
)
_THOUSANDS = re.compile(r"(?<![0-9,.])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9]|[,.][0-9])")
_SIGNS: dict[int, str] = str.maketrans(
    {
        **dict.fromkeys("\u2019\u2018\u02bc", "'"),
        **dict.fromkeys('"`\u201c\u201d\u00a0\u2009\u202f\u3000', " "),
        **dict.fromkeys("\u2010\u2011\u2012\u2014\u2015\ufe63", "-"),
        **dict.fromkeys("\u2217\u2219\u2022\u2715\u2716", "*"),
        **dict.fromkeys("\u2215\u2044\u2797", "/"),
        **{chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},  # full-width forms of ASCII
        **dict.fromkeys("\u2192\u21d2", ">"),
        "{": "(",
        "}": ")",
        "\u2795": "+",
        "\u2796": "-",
    }
)


def read_countdown(question: str) -> Problem | None:
    """Read "make 24 from 3, 5, 7, 8" and the like, or `24: 3 5 7 8`; None if the text is no such question."""
    if len(question) > _MAX_QUESTION_CHARS:
        return None
    if plain := _PLAIN_COUNTDOWN.fullmatch(question):
        return _countdown(plain[2], plain[1])
    text = re.sub(r"[-=]?>", " to ", question.lower().translate(_SIGNS))
    text = _TARGET_WITH_COMMAS.sub(lambda match: match[1] + match[2].replace(",", ""), text)
    if _NO_COUNTDOWN.search(text) or not _is_made_of(text, _COUNTDOWN_WORDS):
        return None
    lists = list(_NUMBER_LIST.finditer(text))
    if len(lists) != 1:
        return None
    start, end = lists[0].span()
    targets = [match for match in re.finditer(r"[0-9]+", text) if not start <= match.start() < end]
    if len(targets) != 1 or not _is_target(text, targets[0], start, end):
        return None
    return _countdown(lists[0][0], targets[0][0])


def read_arithmetic(question: str) -> Problem | None:
    """Read "what is 17 * (23 - 5) + 412?" and the like; None if it is no such question, or has no integer value."""
    try:
        expression = find_expression(question)
        return None if expression is None else arithmetic_problem(expression)
    except ValueError:
        return None


def find_expression(question: str) -> str | None:
    """Find the expression whose value a question asks for; None if it asks for something else."""
    if len(question) > _MAX_QUESTION_CHARS:
        return None
    text = tidy(question.translate(_SIGNS)).lower()
    text = _THOUSANDS.sub(lambda match: match[0].replace(",", ""), text)
    words = re.findall(r"[a-z][a-z']*|[0-9]+|\S", text)
    while words and (words[0] in _BEFORE_SUM or words[0] in ".,:;=!?"):
        del words[0]
    while words and (words[-1] in _AFTER_SUM or words[-1] in ".,:;=!?"):
        del words[-1]
    text = " ".join(words)
    for of_two, form in _OF_TWO:
        if match := of_two.fullmatch(text.replace("- ", "-")):
            text = form.format(match[1], match[2])
    for pattern, sign in _OPERATOR_WORDS:
        text = pattern.sub(sign, text)
    if not re.fullmatch(r"[0-9\s()*/+-]*[0-9][0-9\s()*/+-]*", text):
        return None
    try:
        tokens = _without_double_parentheses(read_tokens(_with_every_sign(text)))
    except ValueError:
        return None
    return write_tokens(tokens) if len(tokens) > 1 else None


def _with_every_sign(text: str) -> str:
    """Write `3(4+5)` as `3*(4+5)`, `3*-4` as `3*(-4)` and `-(3+4)` as `0-(3+4)`."""
    text = re.sub(r"([0-9)])\s*\(", r"\1*(", text)
    text = re.sub(r"\)\s*([0-9])", r")*\1", text)
    text = re.sub(r"([-+*/])\s*-\s*([0-9]+)", r"\1(-\2)", text)
    return re.sub(r"(^|\()\s*-\s*\(", r"\g<1>0-(", text)


def _without_double_parentheses(tokens: Sequence[Token]) -> list[Token]:
    """Take off parentheses that hold nothing but another pair, or the whole expression."""
    pairs = _pairs(tokens)
    idle = {place for start, end in pairs.items() if pairs.get(start + 1) == end - 1 for place in (start, end)}
    kept = [token for place, token in enumerate(tokens) if place not in idle]
    return kept[1:-1] if _pairs(kept).get(0) == len(kept) - 1 else kept


def _pairs(tokens: Sequence[Token]) -> dict[int, int]:
    """Place of each opening parenthesis -> that of its closing one."""
    opened: list[int] = []
    pairs = {}
    for place, token in enumerate(tokens):
        if token == "(":
            opened.append(place)
        elif token == ")":
            pairs[opened.pop()] = place
    return pairs


def _countdown(numbers: str, target: str) -> Problem | None:
    found = re.findall(r"[0-9]+", numbers)
    if len(found) > _MAX_NUMBERS or any(len(number) > _MAX_DIGITS for number in (*found, target)):
        return None
    return countdown_problem([int(number) for number in found], int(target))


def _is_made_of(text: str, words: frozenset[str]) -> bool:
    """Whether all words are among these and nothing but digits, punctuation and operators stands between them."""
    return set(re.findall(r"[a-z][a-z']*", text)) <= words and not re.search(r"[^a-z0-9\s'.,;:?!()\[\]=&|+*/-]", text)


def _is_target(text: str, number: re.Match[str], list_start: int, list_end: int) -> bool:
    """Whether the words around a number say that it is to be reached."""
    start = list_end if number.start() > list_end else 0
    end = list_start if number.end() <= list_start else len(text)
    before = re.findall(r"[a-z][a-z']*|=", text[start : number.start()])
    cues = [word for word in before if word in _TARGET_CUES | _LIST_CUES]
    if cues:
        return cues[-1] in _TARGET_CUES
    after = re.findall(r"[a-z][a-z']*|[=:]", text[number.end() : end])
    return bool(after) and (after[0] in _LIST_CUES or after[0] in "=:")
