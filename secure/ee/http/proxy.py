"""The client's side of serving: plain text in OpenAI's format here, encrypted ids at a backend.

It runs where the key is. Text becomes ids with the model's own tokenizer and chat template, ids are permuted, sent,
and what comes back is decrypted, decoded, and cut at stop strings. Text never leaves this process but to its caller.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from secure.ee.http.backends import Backend
from secure.generation.text_stream import StopStrings, TextStream
from secure.http.app import LOOPBACK, Chunks, EventStream, make_app, read_body, unless_gone
from secure.http.openai_answers import Answer, Kind, models, usage
from secure.http.openai_errors import RequestRefused
from secure.http.openai_fields import parse
from secure.http.openai_requests import Wishes, chat, completion
from secure.parties.encrypted.engine import Finish
from secure.protocols.core.errors import InputError, SessionError
from secure.protocols.equivariant.factors.vocabulary import Vocabulary


@dataclass(frozen=True)
class Reader:
    """What turns text into encrypted ids and back. names: what callers may call the model."""

    tokenizer: Any
    vocabulary: Vocabulary
    names: Sequence[str]


def proxy_app(
    reader: Reader, backend: Backend, *, api_key: str | None = None, hosts: Sequence[str] = LOOPBACK
) -> Starlette:
    """The application. Arguments as for `http_app.make_app`; it closes the backend at its end."""
    proxy = _Proxy(reader, backend)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await backend.close()

    routes = {
        "/v1/models": ("GET", proxy.models),
        "/v1/completions": ("POST", proxy.completions),
        "/v1/chat/completions": ("POST", proxy.chat),
    }
    return make_app(routes, api_key, hosts, lifespan)


@dataclass(frozen=True)
class _Text:
    """Text that became known, with the number of tokens so far; at the end why it ended."""

    text: str
    tokens: int
    finish: Finish | None = None


class _Proxy:
    def __init__(self, reader: Reader, backend: Backend) -> None:
        self._reader = reader
        self._backend = backend
        self._created = int(time.time())

    async def models(self, request: Request) -> Response:
        return JSONResponse(models(self._reader.names, self._created, {}))

    async def completions(self, request: Request) -> Response:
        wanted = completion(parse(await read_body(request)), self._reader.names, text=True)
        prompts = [row if isinstance(row, list) else self._ids(row) for row in wanted.prompts]
        return await self._answer(request, "text_completion", wanted.wishes, prompts)

    async def chat(self, request: Request) -> Response:
        wanted = chat(parse(await read_body(request)), self._reader.names)
        return await self._answer(request, "chat.completion", wanted.wishes, [self._templated(wanted.messages)])

    async def _answer(self, request: Request, kind: Kind, wishes: Wishes, prompts: list[list[int]]) -> Response:
        answer = Answer(kind, wishes.model)
        if wishes.stream:
            return await EventStream.begin(request, self._chunks(answer, wishes, prompts))
        return JSONResponse(await unless_gone(request, self._whole(answer, wishes, prompts)))

    async def _whole(self, answer: Answer, wishes: Wishes, prompts: list[list[int]]) -> dict[str, Any]:
        choices, count = [], 0
        for index, ids in enumerate(prompts):
            parts, last = [], _Text("", 0)
            # With stop strings tokens must come one by one: what follows such a string need not be computed.
            async with aclosing(self._text(wishes, ids, at_once=not wishes.stop)) as texts:
                async for last in texts:
                    parts.append(last.text)
            choices.append(answer.choice(index, "".join(parts), last.finish or "length"))
            count += last.tokens
        return answer.whole(choices, usage(sum(map(len, prompts)), count))

    async def _chunks(self, answer: Answer, wishes: Wishes, prompts: list[list[int]]) -> Chunks:
        count = 0
        for index, ids in enumerate(prompts):
            async with aclosing(self._text(wishes, ids, at_once=False)) as texts:
                first, tokens = True, 0
                async for item in texts:
                    if first and answer.kind == "chat.completion":
                        yield answer.chunk(index, None)
                    first, tokens = False, item.tokens
                    if item.text:
                        yield answer.chunk(index, item.text)
                    if item.finish:
                        yield answer.chunk(index, "", item.finish)
                count += tokens
        if wishes.include_usage:
            yield answer.usage_chunk(usage(sum(map(len, prompts)), count))

    async def _text(self, wishes: Wishes, ids: list[int], *, at_once: bool) -> AsyncGenerator[_Text, None]:
        """One prompt's answer as text. Raises RequestRefused, and whatever the backend does."""
        offer = await self._backend.offer()
        room = offer.context_tokens - len(ids)
        if room < (wishes.max_tokens or 1):
            raise RequestRefused(
                f"the prompt's {len(ids)} tokens and max_tokens {wishes.max_tokens or 1} do not fit; this model has "
                f"room for {offer.context_tokens} together",
                code="context_length_exceeded",
            )
        room = min(room, offer.most_new_tokens or room)
        stop_ids = tuple(self._reader.vocabulary.encrypt_ids(list(wishes.stop_ids)))
        sampling = wishes.sampling(room, stop_ids)
        decoder, stops = TextStream(self._reader.tokenizer), StopStrings(wishes.stop)
        encrypted = self._reader.vocabulary.encrypt_ids(ids)
        count, finish = 0, None
        async with aclosing(self._backend.generate(encrypted, sampling, at_once)) as pieces:
            async for piece in pieces:
                finish = piece.finish or finish
                text = ""
                for token in self._decrypted(piece.ids):
                    count += 1
                    text += stops.feed(decoder.feed(token))
                    if stops.stopped:
                        yield _Text(text, count, "stop")
                        return
                if count > sampling.max_new_tokens:
                    raise SessionError("the backend sent more tokens than were asked for")
                yield _Text(text, count)
        text = stops.feed(decoder.flush()) + stops.flush()
        yield _Text(text, count, "stop" if stops.stopped else finish or "length")

    def _ids(self, text: str) -> list[int]:
        """Ids of a text, with the special tokens that the tokenizer puts round it."""
        ids: list[int] = self._reader.tokenizer(text, verbose=False)["input_ids"]
        if not ids:
            raise RequestRefused("the prompt has no tokens", param="prompt", code="invalid_value")
        return ids

    def _templated(self, messages: list[dict[str, str]]) -> list[int]:
        """Ids of a chat, by the model's own template."""
        tokenizer = self._reader.tokenizer
        if not tokenizer.chat_template:
            raise RequestRefused("this model has no chat template; use /v1/completions", code="no_chat_template")
        try:
            text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except TemplateError as error:
            # To the caller alone, whose messages they are: templates tell which roles they take, in which order.
            raise RequestRefused(
                f"the model's chat template refuses these messages: {error}", param="messages"
            ) from None
        ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def _decrypted(self, ids: list[int]) -> list[int]:
        try:
            return self._reader.vocabulary.decrypt_ids(ids)
        except InputError:
            # It is the backend that is wrong here, not the caller.
            raise SessionError("the backend sent an id that the model does not have") from None
