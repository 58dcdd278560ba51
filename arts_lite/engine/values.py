"""Values in an engine: a probe while generating, a verifier's reading of given tokens, hidden states."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from arts_lite import _core
from arts_lite.engine.model import Model
from arts_lite.engine.translate import check_number, position_array, token_array
from arts_lite.types import BranchId

Positions: TypeAlias = "Sequence[int] | NDArray[np.int32]"


class ValueReader:
    """Base of `Engine`: value heads, given tokens, hidden states.

    The value of a position p is what the head says of tokens[0:p], read at the row of token p - 1.
    """

    model: Model
    _core: _core.Engine

    @property
    def num_embd(self) -> int:
        """Elements of a hidden state."""
        return self._core.num_embd

    def set_head(self, weight: ArrayLike, bias: float = 0.0) -> None:
        """Read values as hidden_state . weight + bias, the state being the one after the final norm.

        From now on each branch records its value at the last token of each step and at its end while it generates, at
        no row more: a step's event comes when the step's last token is decoded. Values are dot products in double
        precision; what is sampled stays as it is.

        Args:
            weight: [num_embd], kept as float32.
            bias: added to the dot product.

        Raises:
            ValueError: another size, numbers that are not finite in single precision, or branches are open.
        """
        array = np.asarray(weight)
        if array.ndim != 1:
            raise ValueError(f"the head's weight has {array.ndim} dimensions, but must be [{self.num_embd}]")
        if array.dtype.kind not in "fiu":
            raise TypeError(f"the head's weight is {array.dtype}, but must be numbers")
        with np.errstate(over="ignore"):  # the extension refuses what is infinite then
            single = np.ascontiguousarray(array, dtype=np.float32)
        self._core.set_linear_head(single, _bias(bias))

    def set_head_token(self, token: int, bias: float = 0.0) -> None:
        """Read values as the logit of an unused token + bias; that token is never drawn from now on.

        Cheaper than `set_head` where many given tokens are marked: only marked rows run the output layer.

        Raises:
            ValueError: the vocabulary lacks the token, `bias` is not finite, or branches are open.
        """
        check_number("token", token, 0, self.model.vocab.num_tokens - 1)
        self._core.set_token_head(token, _bias(bias))

    def remove_head(self) -> None:
        """Read no values any more. Raises ValueError: branches are open."""
        self._core.remove_head()

    def append(
        self,
        branch: BranchId,
        tokens: Sequence[int] | NDArray[np.int32] = (),
        *,
        marks: Positions = (),
        keep_states: bool = False,
    ) -> None:
        """Give a branch that is not running more tokens; the next calls of `advance` decode all that it holds.

        Branches are decoded together; a prefix that another branch holds is decoded once. An APPENDED event tells that
        all is decoded and read; until then the branch is 'running', and `pause` or `park` take it out (`append` with no
        tokens takes it up again, and decodes a prompt that was only opened). Given tokens count against no quota and
        not against `max_tokens`; they have no log-probabilities, and step rules read them as text of the branch.

        Args:
            tokens: token ids; an ended branch takes none, but may be marked.
            marks: positions in [1, new length] to read a value at. What follows a position that was decoded unmarked is
                decoded once more.
            keep_states: keep the hidden states at the marks, too; these need no head.

        Raises:
            ValueError: the branch is running or has ended, a token or a position that there is not, marks without a
                head and without `keep_states`.
            ContextOverflowError: the trace would be longer than `ctx_size`.
        """
        self._core.append(
            branch,
            token_array(tokens, self.model.vocab.num_tokens, may_be_empty=True),
            position_array("marks", marks),
            bool(keep_states),
        )

    def values(self, branch: BranchId, positions: Positions) -> NDArray[np.float64]:
        """Values at positions in [1, length], shape [len(positions)]; NaN where none was read (or not yet)."""
        return self._core.values(branch, position_array("positions", positions))

    def step_values(self, branch: BranchId) -> NDArray[np.float64]:
        """Values at the `boundaries` and, of an ended trace, at its end; shape [num_steps], NaN where none was read.

        The end is read at the last token that was decoded, which is the last of the text where the model ended it, and
        one earlier at a limit or a stop string; at the very last token if that was marked.
        """
        return self._core.step_values(branch)

    def hidden_states(self, branch: BranchId, positions: Positions) -> NDArray[np.float32]:
        """Hidden states after the final norm, shape [len(positions), num_embd]. Raises ValueError: one was not kept."""
        return self._core.hidden_states(branch, position_array("positions", positions))


def _bias(bias: float) -> float:
    if isinstance(bias, bool) or not isinstance(bias, (int, float, np.integer, np.floating)):
        raise TypeError(f"the head's bias is {bias!r}, but must be a number")
    if not math.isfinite(bias) or abs(bias) > np.finfo(np.float32).max:
        raise ValueError(f"the head's bias is {bias}, but must be finite in single precision")
    return float(bias)
