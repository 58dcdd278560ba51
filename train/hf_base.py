"""Bodies from transformers: folders, hub names and GGUF files; adapters by peft."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from arts_lite.errors import TrainingError
from arts_lite.train.base import CHAT_RULES, Base, TuningConfig
from arts_lite.train.gguf_vocab import GGUFTokeniser
from arts_lite.verifier.text import InputRules, Tokenise


def load_hf_base(name: str, tuning: TuningConfig, *, rules: InputRules | None, dtype: torch.dtype) -> Base:
    """Load a causal language model's body. Raises TrainingError: it, or a package that is needed, cannot be loaded."""
    try:
        import transformers
    except ImportError as error:
        raise TrainingError(
            f"base {name!r} needs transformers, which is not installed. Run: pip install 'arts-lite[train]'"
        ) from error
    where, options = _source(name)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(where, **options)
        # float32 where all learns; frozen weights can be narrow
        kept = torch.float32 if tuning.tuning == "full" else dtype
        load = transformers.AutoModelForCausalLM.from_pretrained
        whole = load(where, dtype=kept, attn_implementation="sdpa", **options)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise TrainingError(
            f"base {name!r} cannot be loaded ({reason[0]}); give a GGUF file that transformers can read, a folder or a "
            "hub name, or 'tiny'"
        ) from error
    body: Any = whole.get_decoder()
    body.requires_grad_(tuning.tuning == "full")
    with warnings.catch_warnings():
        for kind in (UserWarning, FutureWarning):  # peft's about transformers, and of old names of both
            warnings.simplefilter("ignore", kind)
        if tuning.checkpointing:
            body.gradient_checkpointing_enable({"use_reentrant": False})
        if tuning.tuning == "lora":
            body = _with_adapters(body, tuning)

    tokenise, bos = _tokeniser(name, tokenizer)
    return Base(
        name,
        body,
        int(whole.config.hidden_size),
        int(whole.config.max_position_embeddings),
        rules or dataclasses.replace(CHAT_RULES, bos=bos),
        tokenise,
        computing(body),
        is_tiny=False,
    )


def computing(body: Any) -> Callable[[Tensor, Tensor | None, Tensor], Tensor]:
    """Say how a body of transformers turns tokens into hidden states: see `Base.compute`."""

    def compute(tokens: Tensor, visible: Tensor | None, positions: Tensor) -> Tensor:
        mask = None
        if visible is not None:  # additive: what every attention implementation of transformers takes
            mask = torch.zeros(visible.shape, dtype=body.dtype, device=tokens.device)
            mask = mask.masked_fill(~visible, torch.finfo(body.dtype).min)
        hidden: Tensor = body(
            input_ids=tokens, attention_mask=mask, position_ids=positions, use_cache=False
        ).last_hidden_state
        return hidden

    return compute


def merged_state(base: Base) -> dict[str, Tensor]:
    """Weights of a body as its language model names them, adapters merged."""
    body: Any = base.module
    if hasattr(body, "merge_and_unload"):
        body = body.merge_and_unload()
    return {f"model.{name}": weight for name, weight in body.state_dict().items()}


def _tokeniser(name: str, tokenizer: Any) -> tuple[Tokenise, int | None]:
    """How text becomes tokens, and the token that belongs in front: without it, some models understand nothing.

    A GGUF's tokenizer is llama.cpp's to apply: transformers may read it otherwise (such as with a space in front).
    """
    if name.endswith(".gguf"):
        own = GGUFTokeniser(Path(name))
        return own, own.bos

    def tokenise(text: str) -> list[int]:
        ids: list[int] = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return ids

    bos: int | None = tokenizer.bos_token_id
    return tokenise, bos if bos is not None and tokenizer("a")["input_ids"][:1] == [bos] else None


def _source(name: str) -> tuple[str, dict[str, Any]]:
    path = Path(name)
    if path.suffix == ".gguf":
        if not path.is_file():
            raise TrainingError(f"base {name!r} is no file")
        return str(path.parent), {"gguf_file": path.name}
    return name, {}


def _with_adapters(body: Any, tuning: TuningConfig) -> Any:
    try:
        import peft
    except ImportError as error:
        raise TrainingError("LoRA needs peft, which is not installed. Run: pip install 'arts-lite[train]'") from error
    config = peft.LoraConfig(
        r=tuning.lora_rank,
        lora_alpha=tuning.lora_alpha,
        lora_dropout=tuning.lora_dropout,
        target_modules="all-linear",
        task_type="FEATURE_EXTRACTION",
    )
    adapted = peft.get_peft_model(body, config)
    for weight in adapted.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    return adapted
