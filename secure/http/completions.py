"""/v1/models, /v1/completions and, for texts, /v1/chat/completions in OpenAI's format, over any backend."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from secure.http.app import Chunks, EventStream, Handler, make_app, read_body, unless_gone
from secure.http.async_pieces import async_pieces
from secure.http.backend import AnswerPiece, Backend
from secure.http.openai_answers import Answer, Kind, models, usage
from secure.http.openai_fields import parse
from secure.http.openai_requests import Wishes, chat, completion


def completions_app(backend: Backend, *, api_key: str | None = None, hosts: Sequence[str] = ()) -> Starlette:
    """The application. Arguments as for `make_app`; it closes the backend at its end."""
    endpoints = _Endpoints(backend)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        backend.close()

    routes: dict[str, tuple[str, Handler]] = {
        "/v1/models": ("GET", endpoints.models),
        "/v1/completions": ("POST", endpoints.completions),
    }
    if backend.takes_text:
        routes["/v1/chat/completions"] = ("POST", endpoints.chat)
    return make_app(routes, api_key, hosts, lifespan)


class _Endpoints:
    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._created = int(time.time())

    async def models(self, request: Request) -> Response:
        return JSONResponse(models(self._backend.names, self._created, self._backend.about))

    async def completions(self, request: Request) -> Response:
        backend = self._backend
        backend.check(request.headers)
        wanted = completion(parse(await read_body(request)), backend.names, text=backend.takes_text)
        prompts = [backend.prompt(prompt, wanted.wishes) for prompt in wanted.prompts]
        return await self._answer(request, "text_completion", wanted.wishes, prompts)

    async def chat(self, request: Request) -> Response:
        self._backend.check(request.headers)
        wanted = chat(parse(await read_body(request)), self._backend.names)
        prompt = self._backend.chat(wanted.messages)
        return await self._answer(request, "chat.completion", wanted.wishes, [prompt])

    async def _answer(self, request: Request, kind: Kind, wishes: Wishes, prompts: list[list[int]]) -> Response:
        answer = Answer(kind, wishes.model)
        if wishes.stream:
            return await EventStream.begin(request, self._chunks(answer, wishes, prompts))
        return JSONResponse(await unless_gone(request, self._whole(answer, wishes, prompts)))

    async def _whole(self, answer: Answer, wishes: Wishes, prompts: list[list[int]]) -> dict[str, Any]:
        choices, count = [], 0
        for index, ids in enumerate(prompts):
            text, finish = "", "length"
            more: dict[str, list[int]] = {}
            async with aclosing(self._pieces(ids, wishes, at_once=True)) as pieces:
                async for piece in pieces:
                    text += piece.text
                    finish = piece.finish or finish
                    count += piece.tokens
                    if piece.token_ids is not None:
                        more.setdefault("token_ids", []).extend(piece.token_ids)
            choices.append(answer.choice(index, text, finish, **more))
        return answer.whole(choices, usage(sum(map(len, prompts)), count))

    async def _chunks(self, answer: Answer, wishes: Wishes, prompts: list[list[int]]) -> Chunks:
        count = 0
        for index, prompt in enumerate(prompts):
            first = True
            async with aclosing(self._pieces(prompt, wishes, at_once=False)) as pieces:
                async for piece in pieces:
                    if first and answer.kind == "chat.completion":
                        yield answer.chunk(index, None)
                    first = False
                    count += piece.tokens
                    ids: dict[str, Any] = {} if piece.token_ids is None else {"token_ids": list(piece.token_ids)}
                    if piece.text or piece.token_ids:
                        yield answer.chunk(index, piece.text, **ids)
                    if piece.finish:
                        yield answer.chunk(index, "", piece.finish, **{name: [] for name in ids})
        if wishes.include_usage:
            yield answer.usage_chunk(usage(sum(map(len, prompts)), count))

    def _pieces(self, ids: list[int], wishes: Wishes, *, at_once: bool) -> AsyncGenerator[AnswerPiece, None]:
        return async_pieces(partial(self._backend.answer, ids, wishes, at_once=at_once))
