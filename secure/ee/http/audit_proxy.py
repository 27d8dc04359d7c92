"""A proxy before one server of plain text that speaks OpenAI's API: it mixes canaries in among users' requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from secure.audit.compare import Kind
from secure.audit.endpoint import answer_in
from secure.audit.mixing import Audit, Turn, Turns
from secure.http.app import LOOPBACK, make_app, read_body
from secure.http.callers import callers_with
from secure.http.openai_errors import RequestRefused
from secure.models.contract.json_text import read_json
from secure.protocols.core.errors import ConfigurationError, SecureInferenceError, SessionError

_SECONDS = httpx.Timeout(10.0, read=None)
"""An answer may take long; a connection must not."""
_AUDITED: dict[Kind, tuple[str, str]] = {
    "next_token": ("/completions", "prompt"),
    "embedding": ("/embeddings", "input"),
}
"""Where canaries of a kind go, and the field that has their text."""
_PATHS = {
    "/models": "GET",
    "/completions": "POST",
    "/chat/completions": "POST",
    "/responses": "POST",
    "/embeddings": "POST",
}
_TOLD = 5
"""Likeliest tokens of an answer; OpenAI's limit."""


def audit_proxy_app(
    url: str,
    audit: Audit,
    *,
    backend_api_key: str | None = None,
    api_key: str | None = None,
    hosts: Sequence[str] = LOOPBACK,
    origins: Sequence[str] = (),
) -> Starlette:
    """The application. url: the server's, with /v1; backend_api_key: its key. api_key: what callers must send,
    None for none. Others as for `make_app`.

    Requests and answers pass as they are. In completions every request asks for log-probabilities, so that a canary
    does not stand out, and its answer has them.

    Raises ConfigurationError for canaries of a kind that OpenAI's API has not.
    """
    if audit.canaries.kind not in _AUDITED:
        raise ConfigurationError("OpenAI's API has no classes of texts; audit embeddings or a language model")
    headers = {"accept-encoding": "identity"}
    if backend_api_key is not None:
        headers["authorization"] = f"Bearer {backend_api_key}"
    client = httpx.AsyncClient(
        base_url=url.rstrip("/"),
        headers=headers,
        timeout=_SECONDS,
        verify=httpx.create_ssl_context(trust_env=False),
        # HTTP_PROXY and the like would have the API key and texts pass through somebody else.
        trust_env=False,
    )
    proxy = _Proxy(client, audit)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None, None]:
        yield
        await proxy.close()

    routes = {f"/v1{path}": (method, proxy.forward) for path, method in _PATHS.items()}
    return make_app(routes, callers_with(api_key), hosts, origins, lifespan)


class _Proxy:
    def __init__(self, client: httpx.AsyncClient, audit: Audit) -> None:
        self._client, self._turns, self._kind = client, Turns(audit), audit.canaries.kind
        self._path, self._field = _AUDITED[self._kind]
        self._canaries: set[asyncio.Task[None]] = set()

    async def forward(self, request: Request) -> Response:
        """A user's request, to the server and back; now and then a canary follows it."""
        path = request.url.path.removeprefix("/v1")
        asked = None if request.method == "GET" else _document(await read_body(request))
        fields = asked if asked is not None and path == self._path and self._may_follow(asked) else None
        if fields is not None and self._kind == "next_token":
            asked = fields = {**fields, "logprobs": _told(fields.get("logprobs"))}
        reply = await self._sent(request.method, path, asked)
        if fields is not None and reply.is_success:
            self._begin(self._turns.after_request(), fields)
        return StreamingResponse(
            reply.aiter_raw(),
            reply.status_code,
            media_type=reply.headers.get("content-type"),
            background=BackgroundTask(reply.aclose),
        )

    def _begin(self, turn: Turn | None, fields: dict[str, Any]) -> None:
        if turn is not None:
            task = asyncio.create_task(self._ask(turn, fields))
            self._canaries.add(task)
            task.add_done_callback(self._canaries.discard)

    async def close(self) -> None:
        """No canary goes out any more, and the connection ends."""
        for task in self._canaries:
            task.cancel()
        await self._client.aclose()

    async def _ask(self, turn: Turn, fields: dict[str, Any]) -> None:
        """One canary, with the fields of the request before it."""
        await asyncio.sleep(turn.seconds)
        text = turn.canary.text
        asked = {**fields, self._field: [text] if isinstance(fields[self._field], list) else text}
        try:
            reply = await self._sent("POST", self._path, asked)
            content = await reply.aread()
            if not reply.is_success:
                raise SessionError(f"the server answered with HTTP status {reply.status_code}")
            self._turns.note(turn, answer_in(self._kind, content, fields.get("logprobs", _TOLD)))
        except (httpx.HTTPError, SecureInferenceError) as error:
            self._turns.unanswered(error)

    async def _sent(self, method: str, path: str, asked: dict[str, Any] | None) -> httpx.Response:
        """The server's answer, of which the head has come. Raises SessionError."""
        try:
            return await self._client.send(self._client.build_request(method, path, json=asked), stream=True)
        except httpx.HTTPError as error:
            raise SessionError(f"the server gave no answer ({type(error).__name__}); check that it runs") from None

    def _may_follow(self, asked: dict[str, Any]) -> bool:
        """Whether a request is of one text, whose answer begins with what follows it."""
        given = asked.get(self._field)
        texts = given if isinstance(given, list) else [given]
        whole = len(texts) == 1 and isinstance(texts[0], str)
        return whole and not asked.get("echo") and not asked.get("suffix")


def _told(asked: object) -> int:
    """How many likeliest tokens are asked for: what a user wants, or what a canary needs."""
    return asked if isinstance(asked, int) and not isinstance(asked, bool) and asked > 0 else _TOLD


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = read_json(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise RequestRefused("the body must be a JSON object", code="invalid_json")
    return document
