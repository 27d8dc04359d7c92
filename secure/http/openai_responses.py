"""/v1/responses in OpenAI's format: requests, checked and frozen; answers, whole and as events. Nothing is stored."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from secure.http.app import Chunks
from secure.http.backend import AnswerPiece, TokenLikelihood
from secure.http.openai_fields import RequestFields, wrong
from secure.http.openai_logprobs import entries
from secure.http.openai_requests import MOST_TOKENS, Wishes, content_of, wishes_of
from secure.parties.encrypted.tokens import MOST_LOGPROBS

_TEXT_PARTS = ("input_text", "output_text", "text")
_LOGPROBS = "message.output_text.logprobs"
_MOST_INCLUDED = 16
Pieces = AsyncGenerator[AnswerPiece, None]


@dataclass(frozen=True)
class ResponseRequest:
    """messages: role and content, content as one string."""

    wishes: Wishes
    messages: list[dict[str, str]]


def response_request(fields: RequestFields, names: Sequence[str]) -> ResponseRequest:
    """Raises RequestRefused."""
    most = fields.integer("max_output_tokens", 1, MOST_TOKENS)
    wishes = wishes_of(fields, names, text=True, default_tokens=most)
    if wishes.answers > 1:
        raise wrong("n", "a response is one answer")
    wishes = replace(wishes, logprobs=_logprobs(fields))
    instructions, given = fields.take("instructions"), fields.take("input")
    messages = []
    if instructions is not None:
        messages.append({"role": "system", "content": content_of(instructions, "instructions", ())})
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    if not isinstance(given, list) or not given:
        raise wrong("input", "a text, or a list of one message or more is needed")
    messages += [_message(item, f"input[{i}]") for i, item in enumerate(given)]
    fields.refuse_the_rest()
    return ResponseRequest(wishes, messages)


class ResponseAnswer:
    """One request's answer."""

    def __init__(self, wishes: Wishes, prompt_tokens: int) -> None:
        self._wishes = wishes
        self._prompt_tokens = prompt_tokens
        self._id, self._item = (f"{prefix}{os.urandom(12).hex()}" for prefix in ("resp_", "msg_"))
        self._created = int(time.time())
        self._number = -1

    async def whole(self, pieces: Pieces) -> dict[str, Any]:
        """The answer when all of it is there."""
        text, tokens, finish, told = "", 0, "length", list[TokenLikelihood]()
        async with aclosing(pieces):
            async for piece in pieces:
                text, tokens, finish = text + piece.text, tokens + piece.tokens, piece.finish or finish
                told += piece.logprobs
        return self._response(_part(text, told), tokens, finish)

    async def events(self, pieces: Pieces) -> Chunks:
        """The answer as it arrives."""
        text, tokens, finish, told = "", 0, "length", list[TokenLikelihood]()
        place = {"item_id": self._item, "output_index": 0, "content_index": 0}
        async with aclosing(pieces):
            # An error before the first piece has a status of its own.
            first = await anext(pieces, None)
            yield self._event("response.created", response=self._response(None, 0, None))
            yield self._event("response.in_progress", response=self._response(None, 0, None))
            yield self._event("response.output_item.added", output_index=0, item=self._message(None, "in_progress"))
            yield self._event("response.content_part.added", **place, part=_part(""))
            while first is not None:
                text, tokens, finish = text + first.text, tokens + first.tokens, first.finish or finish
                told += first.logprobs
                if first.text or first.logprobs:
                    new = entries(first.logprobs)
                    yield self._event("response.output_text.delta", **place, delta=first.text, logprobs=new)
                first = await anext(pieces, None)
        part = _part(text, told)
        whole = self._response(part, tokens, finish)
        yield self._event("response.output_text.done", **place, text=text, logprobs=part["logprobs"])
        yield self._event("response.content_part.done", **place, part=part)
        yield self._event("response.output_item.done", output_index=0, item=whole["output"][0])
        yield self._event(f"response.{whole['status']}", response=whole)

    def _event(self, kind: str, **more: Any) -> dict[str, Any]:
        self._number += 1
        return {"type": kind, "sequence_number": self._number, **more}

    def _message(self, part: dict[str, Any] | None, status: str) -> dict[str, Any]:
        content = [] if part is None else [part]
        return {"type": "message", "id": self._item, "status": status, "role": "assistant", "content": content}

    def _response(self, part: dict[str, Any] | None, tokens: int, finish: str | None) -> dict[str, Any]:
        """part: the answer's text. finish: None while it is at work."""
        status = "in_progress" if finish is None else "incomplete" if finish == "length" else "completed"
        used = {
            "input_tokens": self._prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": self._prompt_tokens + tokens,
        }
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": None,
            "max_output_tokens": self._wishes.max_tokens,
            "model": self._wishes.model,
            "output": [] if part is None else [self._message(part, status)],
            "parallel_tool_calls": False,
            "previous_response_id": None,
            "store": False,
            "temperature": self._wishes.temperature,
            "text": {"format": {"type": "text"}},
            "tool_choice": "none",
            "tools": [],
            "top_logprobs": self._wishes.logprobs or 0,
            "top_p": self._wishes.top_p,
            "usage": None if finish is None else used,
        }


def _logprobs(fields: RequestFields) -> int | None:
    """How many of the likeliest tokens come with each one, as in `Wishes`."""
    included, likeliest = fields.strings("include", _MOST_INCLUDED), fields.integer("top_logprobs", 0, MOST_LOGPROBS)
    if set(included) - {_LOGPROBS}:
        fields.ignored.append("include")
    if _LOGPROBS in included:
        return likeliest or 0
    if likeliest:
        raise wrong("top_logprobs", f"it goes with include: [{_LOGPROBS!r}] only")
    return None


def _part(text: str, told: Sequence[TokenLikelihood] = ()) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": entries(told)}


def _message(value: object, path: str) -> dict[str, str]:
    if not isinstance(value, dict) or value.get("type", "message") != "message":
        raise wrong(path, "a message with role and content is needed; no other item is supported")
    # What an earlier answer has beside its text, sent back with it.
    fields = RequestFields({name: item for name, item in value.items() if name not in ("type", "id", "status")})
    role, content = fields.take("role"), fields.take("content")
    if not isinstance(role, str):
        raise wrong(f"{path}.role", "a string is needed")
    if isinstance(content, list):
        content = [_bare(part) for part in content]
    fields.refuse_the_rest(f"{path}.")
    return {"role": role, "content": content_of(content, f"{path}.content", _TEXT_PARTS)}


def _bare(part: object) -> object:
    """A part of an earlier answer without what stands beside its text: likelihoods, and empty annotations."""
    if not isinstance(part, dict):
        return part
    return {name: item for name, item in part.items() if name != "logprobs" and (name != "annotations" or item)}
