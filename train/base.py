"""What a verifier is trained from: a language model's body, its tokenizer, and how much of it learns."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from arts_lite.engine.gguf import read_header
from arts_lite.errors import ModelLoadError, TrainingError
from arts_lite.train.byte_vocab import NUM_TOKENS
from arts_lite.train.export import load_tensors, read_gguf
from arts_lite.train.transformer import Shape, Transformer
from arts_lite.verifier.text import InputRules, Tokenise

TUNINGS = ("full", "lora", "head")
TINY_RULES = InputRules("{question}\n", "\n")
"""The tiny models' input: exactly what the tiny proposer writes."""
CHAT_RULES = InputRules("Question: {question}\n\nSolution:\n\n", "\n\n")
"""Input of verifiers from other models, unless another is asked for."""


@dataclass(frozen=True, slots=True)
class TuningConfig:
    """What learns.

    Attributes:
        tuning: "full", "lora" (adapters on all linear layers but the output's, by peft) or "head" (the head alone).
        lora_rank, lora_alpha, lora_dropout: of the adapters (arXiv 2106.09685).
        checkpointing: compute activations again in the backward pass instead of keeping them; not of tiny models.

    Raises:
        ValueError: a value is outside its range.
    """

    tuning: str = "full"
    lora_rank: int = 16
    lora_alpha: float = 32.0
    lora_dropout: float = 0.1
    checkpointing: bool = False

    def __post_init__(self) -> None:
        if self.tuning not in TUNINGS:
            raise ValueError(f"tuning is {self.tuning!r}, but must be one of {', '.join(TUNINGS)}")
        if self.lora_rank < 1 or not 0 < self.lora_alpha < math.inf or not 0 <= self.lora_dropout < 1:
            raise ValueError(
                f"lora_rank {self.lora_rank} must be >= 1, lora_alpha {self.lora_alpha} > 0 and finite, and "
                f"lora_dropout {self.lora_dropout} in [0, 1)"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for a run's configuration."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Base:
    """A body with its tokenizer.

    Attributes:
        name: as it was asked for.
        module: the body; what learns in it has requires_grad.
        dim: width of its hidden states.
        max_tokens: of one input.
        rules, tokenise: how its input is made.
        compute: (tokens, visible, positions) -> hidden states after the final norm, see `Transformer.hidden`.
        is_tiny: whether it is one of our own (exported from scratch, without a template).
    """

    name: str
    module: nn.Module
    dim: int
    max_tokens: int
    rules: InputRules
    tokenise: Tokenise
    compute: Callable[[Tensor, Tensor | None, Tensor], Tensor]
    is_tiny: bool


def load_base(
    name: str,
    tuning: TuningConfig | None = None,
    *,
    rules: InputRules | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Base:
    """Load a base.

    Args:
        name: "tiny" (the embedded architecture from scratch), "embedded" (the embedded proposer's weights), a GGUF
            file, or a Hugging Face folder or hub name. A GGUF of ours is loaded without transformers.
        rules: of the input; None: the base's own, with a BOS if its tokenizer puts one in front of a text.
        seed: of new weights.
        dtype: of a foreign body's frozen weights; what learns is float32.

    Raises:
        TrainingError: it cannot be loaded.
    """
    tuning = tuning or TuningConfig()
    torch.manual_seed(seed)
    tiny = _tiny(name)
    if tiny is not None:
        return _tiny_base(name, tiny, tuning, rules or TINY_RULES)
    from arts_lite.train.hf_base import load_hf_base  # transformers and peft, which the tiny models do without

    return load_hf_base(name, tuning, rules=rules, dtype=dtype)


def _tiny(name: str) -> Transformer | None:
    if name == "tiny":
        return Transformer(Shape())
    path = Path(name)
    if name == "embedded":
        from arts_lite.proposer import embedded_proposer

        path = embedded_proposer()
    elif path.suffix != ".gguf":
        return None
    try:
        read_header(path)
        shape, weights = read_gguf(path)
    except (ModelLoadError, OSError) as error:
        raise TrainingError(f"base {name!r} cannot be read: {error}") from error
    except ValueError:  # another architecture: transformers may know it
        return None
    if shape.num_tokens != NUM_TOKENS or "blk.0.attn_q.bias" in weights:
        return None
    model = Transformer(shape)
    load_tensors(model, weights)
    return model


def _tiny_base(name: str, model: Transformer, tuning: TuningConfig, rules: InputRules) -> Base:
    if tuning.tuning == "lora":
        raise TrainingError(f"base {name!r} is so small that adapters make no sense; choose tuning full or head")
    if tuning.checkpointing:
        raise TrainingError(f"base {name!r} is so small that checkpointing saves nothing; leave it out")
    model.requires_grad_(tuning.tuning == "full")

    def compute(tokens: Tensor, visible: Tensor | None, positions: Tensor) -> Tensor:
        return model.hidden(tokens, mask=visible, positions=positions)

    return Base(
        name,
        model,
        model.shape.dim,
        model.shape.max_positions,
        rules,
        lambda text: list(text.encode("utf-8", "replace")),
        compute,
        is_tiny=True,
    )
