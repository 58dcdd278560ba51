"""The proposer: a model, how it is asked, and how its text is sampled and cut into steps."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from types import TracebackType

from arts_lite.engine import Engine, EngineConfig, ModelDescription, describe
from arts_lite.engine.config import DEFAULT_CONFIG
from arts_lite.errors import ContextOverflowError
from arts_lite.proposer.chat import chat_renderer
from arts_lite.proposer.defaults import read_defaults
from arts_lite.proposer.prompt import PLAIN_TEMPLATE, Render, encode, plain_renderer, read_template, segments
from arts_lite.types import SamplingParams, StepRules


class Proposer:
    """A model that writes traces.

    Attributes:
        engine: where the traces are written.
        default_sampling, default_rules: what the file asks for, else what suits chat models.
        system: system prompt of questions that bring none; "" for none.
        tasks: the only kinds of problems that the model was trained on, by `arts_lite.tasks`' names; (): any question.
        is_chat: whether the model's own chat template makes the prompts.
    """

    def __init__(self, engine: Engine, *, system: str | None = None, prompt_template: str | Path | None = None) -> None:
        """Take over an engine.

        Args:
            engine: closed by `close`.
            system: system prompt; None: what the file or its kind suggests; "": none.
            prompt_template: a text with ``{question}`` (and ``{system}``), or a file with one, used instead of the
                model's chat template.

        Raises:
            ValueError: the template cannot be read, lacks ``{question}``, does not parse or fails.
            ModelLoadError: the file's ``arts.*`` keys cannot be used.
        """
        self.engine = engine
        model = engine.model
        self.is_chat = prompt_template is None and bool(model.chat_template)
        defaults = read_defaults(model.header, is_chat=bool(model.chat_template))
        vocab = model.vocab
        self.default_sampling: SamplingParams = defaults.sampling
        self.default_rules: StepRules = defaults.rules
        # with a template of the user's own, the questions are the user's own too
        self.tasks = defaults.tasks if prompt_template is None else ()
        self.system = defaults.system if system is None else system
        self._render: Render
        if prompt_template is not None:
            self._render = plain_renderer(read_template(prompt_template))
        elif model.chat_template:
            texts = {
                name: vocab.piece(token, special=True).decode("utf-8", "replace") if token is not None else ""
                for name, token in (("bos_text", vocab.bos), ("eos_text", vocab.eos))
            }
            self._render = chat_renderer(model.chat_template, **texts)
        else:
            self._render = plain_renderer(PLAIN_TEMPLATE)
        self.encode_prompt("1 + 1 = ?")  # a broken template shows here, not in the middle of a run

    @classmethod
    def from_gguf(
        cls,
        path: str | os.PathLike[str],
        *,
        system: str | None = None,
        prompt_template: str | Path | None = None,
        config: EngineConfig = DEFAULT_CONFIG,
    ) -> Proposer:
        """Load a model file, or ``hf:OWNER/REPO[:FILE]``. Raises what `Engine.from_gguf` and `Proposer` raise."""
        engine = Engine.from_gguf(path, config)
        try:
            return cls(engine, system=system, prompt_template=prompt_template)
        except BaseException:
            engine.shutdown()
            raise

    def encode_prompt(self, question: str, system: str | None = None) -> list[int]:
        """Turn a question into prompt tokens.

        Raises:
            ValueError: the question is empty or no valid Unicode.
            ContextOverflowError: the prompt leaves no room for an answer.
        """
        if not question.strip():
            raise ValueError("the question is empty; ask something")
        wanted = self.system if system is None else system
        if wanted and not self.is_chat:
            wanted += "\n\n"
        tokens = encode(segments(self._render, question, wanted), self.engine.model.vocab)
        if len(tokens) >= self.engine.ctx_size:
            raise ContextOverflowError(
                f"the prompt has {len(tokens)} tokens, but a trace holds at most {self.engine.ctx_size} (ctx_size) "
                "with its answer; shorten the question or raise ctx_size"
            )
        return tokens

    def decode(self, text: bytes) -> str:
        """Turn a branch's bytes into text; a character cut in the middle becomes U+FFFD."""
        return text.decode("utf-8", "replace")

    @functools.cached_property
    def info(self) -> ModelDescription:
        """What the model file is."""
        return describe(self.engine.model.path, self.engine.config)

    def close(self) -> None:
        """Shut the engine down. Idempotent."""
        self.engine.shutdown()

    def __enter__(self) -> Proposer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Proposer({str(self.engine.model.path)!r})"
