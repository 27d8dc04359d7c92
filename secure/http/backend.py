"""What the endpoints answer from. Backends are synchronous: their methods run in threads, several at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from secure.http.openai_errors import RequestRefused
from secure.http.openai_requests import Wishes
from secure.parties.encrypted.tokens import Finish, Pieces


@dataclass(frozen=True)
class TokenLikelihood:
    """A token with the natural logarithm of its probability.

    text: as it is shown. data: its bytes, None where it has none of its own. offset: where its text begins in the
    answer's. likeliest: the likeliest tokens at its place, falling.
    """

    text: str
    data: bytes | None
    logprob: float
    offset: int = 0
    likeliest: Sequence[TokenLikelihood] = ()


@dataclass(frozen=True)
class AnswerPiece:
    """What arrived of an answer: text, or the ids of tokens where the backend gives those; at the end why it ended."""

    text: str = ""
    token_ids: Sequence[int] | None = None
    tokens: int = 0
    """How many tokens arrived."""
    finish: Finish | None = None
    logprobs: Sequence[TokenLikelihood] = ()
    """What is told of the tokens whose text arrived, where it is asked for."""


class Backend(ABC):
    """One model under one or more names."""

    def __init__(
        self, names: Sequence[str], about: Mapping[str, Any] | None = None, *, takes_text: bool, embeds: bool = False
    ) -> None:
        """names: what callers may call the model. about: what /v1/models says of it beside that.

        takes_text: whether prompts may be texts; chats need that. embeds: whether it gives embeddings, and no answers.
        """
        self.names = names
        self.about = about or {}
        self.takes_text = takes_text
        self.embeds = embeds

    def check(self, headers: Mapping[str, str]) -> None:  # noqa: B027 (most take any)
        """Raises RequestRefused for a request's headers."""

    def prompt(self, prompt: str | list[int], wishes: Wishes) -> list[int]:
        """The ids of one prompt. Raises InputError."""
        if isinstance(prompt, str):
            raise RequestRefused("prompts must be token ids here", param="prompt", code="invalid_value")
        return prompt

    def chat(self, messages: list[dict[str, str]]) -> list[int]:
        """The ids of a chat. Raises InputError."""
        raise RequestRefused("there are no chats here; use /v1/completions", code="no_chat_template")

    @abstractmethod
    def answer(self, ids: list[int], wishes: Wishes, *, at_once: bool) -> Pieces[AnswerPiece]:
        """What follows a prompt, as it arrives; at_once: nobody reads it before it is whole.

        Raises InputError, and SessionError and its kinds: here, or while the pieces are read.
        """

    def embed(self, rows: list[list[int]]) -> Sequence[Sequence[float]]:
        """One vector for each row of ids. Raises InputError, and SessionError and its kinds."""
        raise RequestRefused("there are no embeddings here; use /v1/completions", code="unknown_url", status=404)

    @abstractmethod
    def close(self) -> None:
        """End connections."""
