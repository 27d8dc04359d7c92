"""The endpoints in OpenAI's format, over any backend.

/v1/models and /v1/completions; for texts /v1/chat/completions and /v1/responses too; /v1/embeddings alone where the
model generates nothing.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import anyio.to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from secure.http.app import Chunks, EventStream, Handler, Heed, make_app, read_body, unless_gone
from secure.http.async_pieces import async_pieces
from secure.http.backend import AnswerPiece, Backend, TokenLikelihood
from secure.http.callers import Callers, Everybody
from secure.http.openai_answers import Answer, Kind, model, usage
from secure.http.openai_embeddings import embedding_answer, embeddings
from secure.http.openai_fields import NOTE, RequestFields, check_model, parse
from secure.http.openai_requests import Wishes, chat, completion
from secure.http.openai_responses import ResponseAnswer, response_request

Job = tuple[int, list[int], Wishes]
"""One answer: its index, the prompt's ids, and what is wished for it."""


def completions_app(
    backend: Backend,
    *,
    callers: Callers | None = None,
    hosts: Sequence[str] = (),
    origins: Sequence[str] = (),
    more_routes: Mapping[str, tuple[str, Handler]] | None = None,
    open_routes: Mapping[str, Handler] | None = None,
    heed: Heed | None = None,
) -> Starlette:
    """The application. It closes the backend at its end.

    callers: None asks for no key. more_routes: beside the backend's. Other arguments as for `make_app`.
    """
    endpoints = _Endpoints(backend)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        backend.close()

    routes: dict[str, tuple[str, Handler]] = {
        "/v1/models": ("GET", endpoints.models),
        "/v1/models/{name:path}": ("GET", endpoints.model),
    }
    if backend.embeds:
        routes["/v1/embeddings"] = ("POST", endpoints.embeddings)
    else:
        routes["/v1/completions"] = ("POST", endpoints.completions)
    if backend.takes_text and not backend.embeds:
        routes["/v1/chat/completions"] = ("POST", endpoints.chat)
        routes["/v1/responses"] = ("POST", endpoints.responses)
    return make_app(
        {**routes, **(more_routes or {})},
        callers or Everybody(),
        hosts,
        origins,
        lifespan,
        open_routes=open_routes,
        heed=heed,
    )


class _Endpoints:
    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._created = int(time.time())

    async def models(self, request: Request) -> Response:
        entries = [model(name, self._created, self._backend.about) for name in self._backend.names]
        return JSONResponse({"object": "list", "data": entries})

    async def model(self, request: Request) -> Response:
        name = str(request.path_params["name"])
        check_model(name, self._backend.names)
        return JSONResponse(model(name, self._created, self._backend.about))

    async def completions(self, request: Request) -> Response:
        backend, fields = self._backend, await self._fields(request)
        wanted = completion(fields, backend.names, text=backend.takes_text)
        prompts = [backend.prompt(prompt, wanted.wishes) for prompt in wanted.prompts]
        return _noted(await self._answer(request, "text_completion", wanted.wishes, prompts), fields)

    async def chat(self, request: Request) -> Response:
        fields = await self._fields(request)
        wanted = chat(fields, self._backend.names)
        prompt = self._backend.chat(wanted.messages)
        return _noted(await self._answer(request, "chat.completion", wanted.wishes, [prompt]), fields)

    async def responses(self, request: Request) -> Response:
        fields = await self._fields(request)
        wanted = response_request(fields, self._backend.names)
        ids = self._backend.chat(wanted.messages)
        answer = ResponseAnswer(wanted.wishes, len(ids))
        if wanted.wishes.stream:
            pieces = self._pieces(ids, wanted.wishes, at_once=False)
            return _noted(await EventStream.begin(request, answer.events(pieces)), fields)
        pieces = self._pieces(ids, wanted.wishes, at_once=True)
        return _noted(JSONResponse(await unless_gone(request, answer.whole(pieces))), fields)

    async def embeddings(self, request: Request) -> Response:
        backend, fields = self._backend, await self._fields(request)
        wanted = embeddings(fields, backend.names, text=backend.takes_text)
        rows = [backend.prompt(prompt, wanted.wishes) for prompt in wanted.inputs]
        # A thread that nobody waits for any more ends when its backend has seen that the caller is gone.
        work = anyio.to_thread.run_sync(backend.embed, rows, abandon_on_cancel=True)
        vectors = await unless_gone(request, work)
        return _noted(JSONResponse(embedding_answer(wanted, vectors, sum(map(len, rows)))), fields)

    async def _fields(self, request: Request) -> RequestFields:
        self._backend.check(request.headers)
        return parse(await read_body(request))

    async def _answer(self, request: Request, kind: Kind, wishes: Wishes, prompts: list[list[int]]) -> Response:
        answer, tokens = Answer(kind, wishes.model), sum(map(len, prompts))
        jobs = [
            (number * wishes.answers + copy, ids, _copy(wishes, copy))
            for number, ids in enumerate(prompts)
            for copy in range(wishes.answers)
        ]
        if wishes.stream:
            return await EventStream.begin(request, self._chunks(answer, jobs, wishes.include_usage, tokens))
        return JSONResponse(await unless_gone(request, self._whole(answer, jobs, tokens)))

    async def _whole(self, answer: Answer, jobs: list[Job], prompt_tokens: int) -> dict[str, Any]:
        choices, count = [], 0
        for index, ids, wishes in jobs:
            text, finish = "", "length"
            more: dict[str, list[int]] = {}
            told: list[TokenLikelihood] = []
            async with aclosing(self._pieces(ids, wishes, at_once=True)) as pieces:
                async for piece in pieces:
                    text += piece.text
                    finish = piece.finish or finish
                    count += piece.tokens
                    told += piece.logprobs
                    if piece.token_ids is not None:
                        more.setdefault("token_ids", []).extend(piece.token_ids)
            choices.append(answer.choice(index, text, finish, None if wishes.logprobs is None else told, **more))
        return answer.whole(choices, usage(prompt_tokens, count))

    async def _chunks(self, answer: Answer, jobs: list[Job], include_usage: bool, prompt_tokens: int) -> Chunks:
        count = 0
        for index, prompt, wishes in jobs:
            first = True
            async with aclosing(self._pieces(prompt, wishes, at_once=False)) as pieces:
                async for piece in pieces:
                    if first and answer.kind == "chat.completion":
                        yield answer.chunk(index, None)
                    first = False
                    count += piece.tokens
                    ids: dict[str, Any] = {} if piece.token_ids is None else {"token_ids": list(piece.token_ids)}
                    if piece.text or piece.token_ids or piece.logprobs:
                        yield answer.chunk(index, piece.text, told=piece.logprobs, **ids)
                    if piece.finish:
                        yield answer.chunk(index, "", piece.finish, **{name: [] for name in ids})
        if include_usage:
            yield answer.usage_chunk(usage(prompt_tokens, count))

    def _pieces(self, ids: list[int], wishes: Wishes, *, at_once: bool) -> AsyncGenerator[AnswerPiece, None]:
        return async_pieces(partial(self._backend.answer, ids, wishes, at_once=at_once))


def _copy(wishes: Wishes, number: int) -> Wishes:
    """What is wished for one of several answers: with a seed each has its own, and the first the request's."""
    return wishes if wishes.seed is None else replace(wishes, seed=(wishes.seed + number) % (1 << 63))


def _noted(response: Response, fields: RequestFields) -> Response:
    """An answer that says which fields of its request were ignored."""
    if fields.ignored:
        response.headers[NOTE] = ", ".join(fields.ignored)
    return response
