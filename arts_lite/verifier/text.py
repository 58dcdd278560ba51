"""What a verifier reads: the question in its template, then the steps, each tokenised on its own.

Training and inference both come through here, so that they cannot differ in a token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

Tokenise = Callable[[str], list[int]]
"""Text to the verifier's tokens: plain text, no special token is parsed and no BOS added."""


@dataclass(frozen=True, slots=True)
class EncodedTrace:
    """A verifier's input.

    Attributes:
        tokens: the question's, then each step's.
        ends: where values are read: the index of the question's last token, then of each step's. [num_steps + 1]
    """

    tokens: list[int]
    ends: list[int]


@dataclass(frozen=True, slots=True)
class InputRules:
    """How a question and its steps become tokens.

    Attributes:
        question_template: text with one or more ``{question}``; all other braces stay.
        step_separator: closes every step, the last one of a trace included.
        bos: token that opens every input; None: there is none.

    Raises:
        ValueError: the template lacks ``{question}``, the separator is empty, or `bos` is negative.
    """

    question_template: str
    step_separator: str
    bos: int | None = None

    def __post_init__(self) -> None:
        if "{question}" not in self.question_template:
            raise ValueError(
                f"question_template is {self.question_template!r}, but must contain {{question}}, where the question "
                "goes"
            )
        if not self.step_separator:
            raise ValueError(
                "step_separator is empty, but values are read at its last token; give a text such as '\\n'"
            )
        if self.bos is not None and self.bos < 0:
            raise ValueError(f"bos is {self.bos}, but must be a token's id, or None for no token")

    def question_tokens(self, question: str, tokenise: Tokenise) -> list[int]:
        """Tokenise a question, stripped, in its template. Raises ValueError: it gives no token at all."""
        text = self.question_template.replace("{question}", question.strip())
        tokens = [] if self.bos is None else [self.bos]
        tokens += tokenise(text)
        if not tokens:
            raise ValueError(f"the question {question!r} gives no token, but its value is read at the last one")
        return tokens

    def step_tokens(self, step: str, tokenise: Tokenise, delimiters: Sequence[str] = ()) -> list[int]:
        """Tokenise one step, closed by the separator instead of the proposer's own delimiter.

        Raises:
            ValueError: the step gives no token.
        """
        tokens = tokenise(stripped(step, delimiters) + self.step_separator)
        if not tokens:
            raise ValueError(
                f"the step {step!r} and the separator {self.step_separator!r} give no token, but a value is read at "
                "the last one; choose a separator that the tokenizer keeps"
            )
        return tokens

    def encode(
        self, question: str, steps: Iterable[str], tokenise: Tokenise, delimiters: Sequence[str] = ()
    ) -> EncodedTrace:
        """Tokenise a prefix or a whole trace; a longer one begins with the tokens of its prefixes.

        Args:
            question: as the user asked it.
            steps: as the proposer wrote them, delimiters included or not.
            tokenise: the verifier's own tokenizer.
            delimiters: the proposer's (`StepRules.delimiters`); white space is stripped in any case.

        Raises:
            ValueError: the question or a step gives no token.
        """
        tokens = self.question_tokens(question, tokenise)
        ends = [len(tokens) - 1]
        for step in steps:
            tokens += self.step_tokens(step, tokenise, delimiters)
            ends.append(len(tokens) - 1)
        return EncodedTrace(tokens, ends)


def stripped(step: str, delimiters: Sequence[str] = ()) -> str:
    """Cut white space and at most one visible delimiter off a step's end."""
    text = step.rstrip()
    visible = {delimiter.rstrip() for delimiter in delimiters} - {""}
    for delimiter in sorted(visible, key=len, reverse=True):
        if text.endswith(delimiter):
            return text[: -len(delimiter)].rstrip()
    return text
