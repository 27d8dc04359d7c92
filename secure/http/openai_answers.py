"""Answers in OpenAI's format: whole, and in chunks."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from secure.http.backend import TokenLikelihood
from secure.http.openai_logprobs import of_chat, of_completion

Kind = Literal["text_completion", "chat.completion"]
_PREFIX = {"text_completion": "cmpl-", "chat.completion": "chatcmpl-"}


@dataclass
class Answer:
    """One request's answer. index: number of the prompt it belongs to."""

    kind: Kind
    model: str
    id: str = ""
    created: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        self.id = self.id or _PREFIX[self.kind] + os.urandom(12).hex()

    def whole(self, choices: Sequence[Mapping[str, Any]], usage: Mapping[str, int]) -> dict[str, Any]:
        return {**self._head(self.kind), "choices": list(choices), "usage": dict(usage)}

    def choice(
        self, index: int, text: str, finish: str, told: Sequence[TokenLikelihood] | None, **more: Any
    ) -> dict[str, Any]:
        """A whole choice. told: of its tokens, None where nobody asked."""
        content = (
            {"text": text}
            if self.kind == "text_completion"
            else {"message": {"role": "assistant", "content": text, "refusal": None}}
        )
        return {"index": index, **content, **more, "logprobs": self._logprobs(told), "finish_reason": finish}

    def chunk(
        self,
        index: int,
        text: str | None,
        finish: str | None = None,
        told: Sequence[TokenLikelihood] = (),
        **more: Any,
    ) -> dict[str, Any]:
        """A piece of a choice. text: None for the first chunk of a chat, which tells the role."""
        content: dict[str, Any]
        if self.kind == "text_completion":
            content = {"text": text or ""}
        elif text is None:
            content = {"delta": {"role": "assistant", "content": ""}}
        else:
            content = {"delta": {"content": text} if text else {}}
        choice = {"index": index, **content, **more, "logprobs": self._logprobs(told or None), "finish_reason": finish}
        return {**self._head(self._chunk_kind), "choices": [choice]}

    def usage_chunk(self, usage: Mapping[str, int]) -> dict[str, Any]:
        """The last chunk, where usage was asked for."""
        return {**self._head(self._chunk_kind), "choices": [], "usage": dict(usage)}

    def _logprobs(self, told: Sequence[TokenLikelihood] | None) -> dict[str, Any] | None:
        if told is None:
            return None
        return of_completion(told) if self.kind == "text_completion" else of_chat(told)

    @property
    def _chunk_kind(self) -> str:
        return "text_completion" if self.kind == "text_completion" else "chat.completion.chunk"

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """Tokens that went in and came out."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def model(name: str, created: int, more: Mapping[str, Any]) -> dict[str, Any]:
    """/v1/models/{name}."""
    return {"id": name, "object": "model", "created": created, "owned_by": "secure-inference", **more}
