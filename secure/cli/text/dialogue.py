"""A conversation with a private model, which its client remembers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from secure.api import PrivateModel
from secure.generation.text_stream import TextStream
from secure.protocols.core.errors import CheckpointError, InputError
from secure.tokens import required


def check_template(tokenizer: PreTrainedTokenizerBase | None, folder: Path) -> None:
    """Raises CheckpointError for a model that has no tokenizer, or no chat template."""
    if not required(tokenizer).chat_template:
        raise CheckpointError(f"{folder}: the model has no chat template; use secure generate")


class Dialogue:
    """Everything said so far. Each answer is a session of its own, which reads all of it."""

    def __init__(self, model: PrivateModel, new_tokens: int) -> None:
        """new_tokens: of an answer, at most."""
        self._model = model
        self._new_tokens = new_tokens
        self._messages: list[dict[str, str]] = []

    def answer(self, text: str) -> Iterator[str]:
        """What the model says to a line, in pieces as they arrive. Nothing is remembered of a line that fails.

        Raises InputError for what the template or the model does not take, and SessionError and its kinds.
        """
        tokenizer, messages = required(self._model.tokenizer), [*self._messages, {"role": "user", "content": text}]
        try:
            prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except TemplateError as error:
            raise InputError(f"the model's chat template refuses this conversation: {error}") from None
        ids = torch.tensor(tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"]).unsqueeze(0)
        decoder, said = TextStream(tokenizer), ""
        for token in self._model.stream(ids, max_new_tokens=self._new_tokens, progress=False):
            piece = decoder.feed(int(token))
            said += piece
            yield piece
        rest = decoder.flush()
        yield rest
        self._messages = [*messages, {"role": "assistant", "content": said + rest}]
