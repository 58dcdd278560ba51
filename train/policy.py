"""A language model that reinforcement tunes: our own tiny GGUF or a Hugging Face model, and its way back to GGUF."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from arts_lite.errors import TrainingError
from arts_lite.proposer.defaults import INSTRUCTION
from arts_lite.tasks import Problem, Task
from arts_lite.tasks.plain import PLAIN_TASKS
from arts_lite.tasks.traces import plain_prompt
from arts_lite.train.byte_vocab import BOS, EOS, PAD, tokenizer_keys
from arts_lite.train.export import load_tensors, read_gguf, write_gguf
from arts_lite.train.gguf_files import Template, rewrite
from arts_lite.train.hf_weights import check_exportable, gguf_weights
from arts_lite.train.transformer import NORM_EPSILON, Shape, Transformer

_LAYER_NAMES = {
    "attention_norm": "input_layernorm",
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "attention_output": "self_attn.o_proj",
    "ff_norm": "post_attention_layernorm",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}


@dataclass(frozen=True)
class Policy:
    """A model and how it is asked.

    Attributes:
        base: where it comes from.
        model: a transformers causal language model.
        tokenizer: the model's.
        shape: of a tiny model of ours; None: a Hugging Face model.
        metadata: the tiny GGUF's own keys (general.*, arts.*), for its tuned successor.
        system: system prompt of chat models; "" for none.
    """

    base: str
    model: Any
    tokenizer: Any
    shape: Shape | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    system: str = INSTRUCTION

    def prompt(self, task: Task, problem: Problem) -> str | list[dict[str, str]]:
        """Write a problem as the model is asked: its plain form for a tiny model, else a conversation."""
        return plain_prompt(problem) if self.shape is not None else self._conversation(task.prompt(problem))

    def encode(self, question: str) -> list[int]:
        """Turn what `prompt` asks, as trees keep it (arts_lite.tree.Origin.question), into tokens."""
        if self.shape is not None:
            return list(question.encode())
        conversation = self._conversation(question)
        encoded = self.tokenizer.apply_chat_template(conversation, add_generation_prompt=True, return_dict=True)
        return list(encoded["input_ids"])

    @property
    def sha256(self) -> str | None:
        """Of a tiny model's file; None: a Hugging Face model."""
        return None if self.shape is None else hashlib.sha256(Path(self.base).read_bytes()).hexdigest()

    @property
    def end_tokens(self) -> frozenset[int]:
        """Tokens that end a completion."""
        told = self.model.generation_config.eos_token_id
        return frozenset([self.tokenizer.eos_token_id, *([told] if isinstance(told, int) else told or ())])

    def check_template(self, template: Path) -> None:
        """Raise TrainingError: a tuned Hugging Face model could not be written by this template."""
        if self.shape is None:
            opened = Template(template)
            check_exportable(opened.architecture)
            gguf_weights(opened, self.model.state_dict())

    def check_task(self, task: Task) -> None:
        """Raise TrainingError: the model cannot be asked such problems."""
        if self.shape is not None and task.name not in PLAIN_TASKS:
            raise TrainingError(
                f"{self.base} reads {' and '.join(PLAIN_TASKS)} problems only, not {task.name}; give another base"
            )

    def write_gguf(
        self, path: Path, metadata: Mapping[str, Any], *, file_type: str = "F16", template: Path | None = None
    ) -> None:
        """Write the tuned model as a GGUF, atomically.

        Args:
            metadata: keys added to the base's own.
            template: GGUF of a Hugging Face base; whatever was not tuned is taken from it.

        Raises:
            TrainingError: the file cannot be written, or the template is missing or not of this model.
        """
        if self.shape is not None:
            model = tiny_model(self.model, self.shape)
            write_gguf(path, model, {**self.metadata, **metadata}, file_type=file_type)
            return
        if template is None:
            raise TrainingError(f"{self.base} is no GGUF; name the GGUF of the same model as --template")
        opened = Template(template)
        weights = gguf_weights(opened, self.model.state_dict())
        # without it, the keys of ours would switch off the instruction that chat models get
        rewrite(opened, path, {"arts.system": self.system, **metadata}, weights=weights, file_type=file_type)

    def _conversation(self, question: str) -> list[dict[str, str]]:
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": question}]


def read_policy(base: str, *, device: torch.device, system: str | None = None) -> Policy:
    """Load a policy; its weights are float32, since the small steps of reinforcement are lost on shorter ones.

    Args:
        base: a tiny GGUF of ours, "embedded" (the embedded proposer), or a Hugging Face folder or hub name.
        system: None: the default one.

    Raises:
        TrainingError: it cannot be read, or has no chat template.
        ImportError: transformers is not installed.
    """
    need("transformers")
    if base == "embedded":
        from arts_lite.proposer import embedded_proposer

        base = str(embedded_proposer())
    if base.endswith(".gguf"):
        return _tiny_policy(base, device)
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(base, padding_side="left")
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).to(device)
    except (OSError, ValueError) as error:
        raise TrainingError(f"base {base!r} cannot be read ({error}); give a folder, a hub name or a GGUF") from error
    if tokenizer.chat_template is None:
        raise TrainingError(f"base {base!r} has no chat template; give an instruction-tuned model")
    return Policy(base, model, tokenizer, system=INSTRUCTION if system is None else system)


def need(*packages: str) -> None:
    """Check that packages of the extra `grpo` are there. Raises ImportError."""
    for package in packages:
        if find_spec(package) is None:
            raise ImportError(f"arts-lite train grpo needs {package}. Run: pip install 'arts-lite[grpo]'")


def causal_lm(model: Transformer) -> Any:
    """Make transformers' twin of a tiny model.

    A Llama, since that class has no biases: what it learns fits into the tiny model again, weight for weight.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = model.shape
    config = LlamaConfig(
        vocab_size=shape.num_tokens,
        hidden_size=shape.dim,
        intermediate_size=shape.ff_dim,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=shape.num_kv_heads,
        max_position_embeddings=shape.max_positions,
        rms_norm_eps=NORM_EPSILON,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_base},
        tie_word_embeddings=True,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
    )
    twin = LlamaForCausalLM(config)
    weights = {_twin_name(name): weight for name, weight in model.state_dict().items()}
    missing, unknown = twin.load_state_dict(weights, strict=False)
    assert missing == ["lm_head.weight"], missing  # tied
    assert not unknown, unknown
    return twin


def tiny_model(twin: nn.Module, shape: Shape) -> Transformer:
    """Make the tiny model of transformers' twin."""
    weights = twin.state_dict()
    model = Transformer(shape)
    model.load_state_dict({name: weights[_twin_name(name)] for name in model.state_dict()})
    return model


def byte_tokenizer() -> Any:
    """Make transformers' tokenizer of the byte vocabulary. Special tokens' names in a text are read as plain bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = tokenizer_keys()["tokenizer.ggml.tokens"]
    assert isinstance(names, list)
    tokenizer = Tokenizer(models.BPE(vocab={name: token for token, name in enumerate(names)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=names[BOS],
        eos_token=names[EOS],
        pad_token=names[PAD],
        padding_side="left",
        split_special_tokens=True,
        clean_up_tokenization_spaces=False,
    )


def _tiny_policy(base: str, device: torch.device) -> Policy:
    try:
        shape, weights = read_gguf(Path(base))
        model = Transformer(shape)
        load_tensors(model, {name: np.array(weight) for name, weight in weights.items()})  # the file's are read-only
    except (OSError, ValueError) as error:
        raise TrainingError(f"base {base} cannot be read ({error})") from error
    return Policy(base, causal_lm(model).to(device), byte_tokenizer(), shape, _own_keys(Path(base)))


def _own_keys(path: Path) -> dict[str, Any]:
    """Read the general.* and arts.* keys that a writer adds by itself to a GGUF."""
    import gguf

    derived = {"general.architecture", "general.file_type", "general.quantization_version"}
    fields = gguf.GGUFReader(path).fields
    return {
        name: one.contents()
        for name, one in fields.items()
        if name.startswith(("general.", "arts.")) and name not in derived
    }


def _twin_name(name: str) -> str:
    parts = name.split(".")
    if parts[0] == "blocks":
        return f"model.layers.{parts[1]}.{_LAYER_NAMES[parts[2]]}.weight"
    return {"embedding": "model.embed_tokens.weight", "norm": "model.norm.weight"}[parts[0]]
