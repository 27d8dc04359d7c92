"""What every application has in common: routes, keys, errors, streams, and callers that go away.

The log has the route, the status and the time. Bodies, headers and unknown paths never reach it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from secure.http.callers import ASKED, Asked, Caller, Callers, Everybody
from secure.http.openai_errors import RequestRefused, error_answer
from secure.http.openai_fields import NOTE
from secure.protocols.core.errors import SecureInferenceError, ServerBusy

MOST_BODY_BYTES = 16 << 20
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_LOG = logging.getLogger("secure.http")
_T = TypeVar("_T")

SESSIONS = "secure-sessions"
"""Header of an answer: numbers of the sessions, with the parties or with a proxy's backend, that it is from."""

DONE = "[DONE]"
"""The data of a stream's last event."""

Handler = Callable[[Request], Awaitable[Response]]
Heed = Callable[[str, str, int, float], None]
"""Told of each request that was answered: its path, its caller's name, the status, and seconds until then."""
Chunks = AsyncGenerator[dict[str, Any], None]


def make_app(
    routes: Mapping[str, tuple[str, Handler]],
    callers: Callers,
    hosts: Sequence[str],
    origins: Sequence[str] = (),
    lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]] | None = None,
    *,
    open_routes: Mapping[str, Handler] | None = None,
    heed: Heed | None = None,
) -> Starlette:
    """An application.

    Args:
        routes: path → method and handler.
        callers: says whose a request is, or refuses it.
        hosts: names that callers may use for this server, none for any. On loopback it keeps a web page, whose own
            name may point here, from reading answers.
        origins: of web pages that may read answers, such as "https://chat.example"; none by default.
        open_routes: path → handler of what everybody may get who may name the server.
        heed: told of the requests of `routes`.

    /health says that it runs, to everybody who may name it.
    """
    guard, open_guard = _Guard(callers, hosts, heed), _Guard(Everybody(), hosts)
    table = [Route(path, guard.wrap(path, handler), methods=[method]) for path, (method, handler) in routes.items()]
    for path, handler in {"/health": _health, **(open_routes or {})}.items():
        table.append(Route(path, open_guard.wrap(path, handler), methods=["GET"]))
    cross_origin = Middleware(
        CORSMiddleware,
        allow_origins=list(origins),
        allow_methods=["GET", "POST"],
        # Clients send headers of their own about themselves.
        allow_headers=["*"],
        expose_headers=[NOTE, SESSIONS],
    )
    return Starlette(
        routes=table,
        middleware=[cross_origin] if origins else [],
        lifespan=lifespan,
        exception_handlers={404: _no_route, 405: _no_route},
    )


async def read_body(request: Request) -> bytes:
    """The body of a JSON request. Raises RequestRefused when it is too long, or called something else."""
    # A web page may send text without asking, but not JSON: nobody's browser becomes a client by accident.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise RequestRefused("the body must be of type application/json", code="invalid_content_type", status=415)
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MOST_BODY_BYTES:
            raise RequestRefused("the body is too long", code="request_too_large", status=413)
    return bytes(body)


async def unless_gone(request: Request, work: Awaitable[_T]) -> _T:
    """The result of `work`, which is cancelled when the caller goes away. Raises ClientDisconnect then."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request.receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


class EventStream(Response):
    """Chunks as server-sent events. Make one with `begin`: an error before the first chunk has its own status."""

    media_type = "text/event-stream"

    def __init__(self, first: Mapping[str, Any], rest: Chunks) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        # The length of an empty body, which the base class has put there.
        del self.headers["content-length"]
        self._first = first
        self._rest = rest

    @classmethod
    async def begin(cls, request: Request, chunks: Chunks) -> EventStream:
        return cls(await unless_gone(request, anext(chunks)), chunks)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        gone = asyncio.ensure_future(_gone(receive))
        sending = asyncio.ensure_future(self._send_all(send))
        try:
            await asyncio.wait({gone, sending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            sending.cancel()
            await asyncio.gather(gone, sending, return_exceptions=True)
            await self._rest.aclose()

    async def _send_all(self, send: Send) -> None:
        await send(_part(json.dumps(self._first), self._first.get("type")))
        try:
            async for chunk in self._rest:
                await send(_part(json.dumps(chunk), chunk.get("type")))
        except Exception as error:
            log_error("a stream", error)
            await send(_part(json.dumps(error_answer(error)[1])))
        else:
            await send(_part(DONE))
        await send({"type": "http.response.body", "body": b""})


class _Guard:
    """Around each handler: who asks, the host's name, errors as answers, and a line for the log."""

    def __init__(self, callers: Callers, hosts: Sequence[str], heed: Heed | None = None) -> None:
        self._callers = callers
        self._hosts = frozenset(hosts)
        self._heed = heed

    def wrap(self, path: str, handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            started, asked, caller = time.monotonic(), Asked(), "unknown"
            try:
                asked = Asked(self._check(request))
                caller = asked.caller.name
                ASKED.set(asked)
                response = await handler(request)
                if asked.sessions:
                    response.headers[SESSIONS] = ", ".join(map(str, asked.sessions))
            except ClientDisconnect:
                asked.gone.set()
                _LOG.info("%s: the caller went away", path)
                response = Response(status_code=499)
            except Exception as error:
                log_error(path, error)
                response = error_response(error)
            seconds = time.monotonic() - started
            _LOG.info("%s %d %.3f s", path, response.status_code, seconds)
            if self._heed is not None:
                self._heed(path, caller, response.status_code, seconds)
            return response

        return guarded

    def _check(self, request: Request) -> Caller:
        if self._hosts and request.url.hostname not in self._hosts:
            raise RequestRefused("this server is not known by that name", code="unknown_host", status=403)
        return self._callers.who(request.headers.get("authorization", ""))


def error_response(error: Exception) -> Response:
    status, body = error_answer(error)
    seconds = (error.retry_after_seconds if isinstance(error, ServerBusy) else None) or 1.0
    return JSONResponse(body, status, {"retry-after": str(math.ceil(seconds))} if status == 429 else None)


def log_error(where: str, error: Exception) -> None:
    """A defect's text could hold a value: log only its class and where it was raised."""
    if isinstance(error, RequestRefused):
        _LOG.info("%s refused: %s", where, error.code)
    elif isinstance(error, SecureInferenceError):
        _LOG.warning("%s ended with %s", where, type(error).__name__)
    else:
        trace = "".join(traceback.format_tb(error.__traceback__))
        _LOG.error("%s failed with %s\n%s", where, type(error).__name__, trace)


async def _health(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _no_route(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    message = "there is no such path here" if status == 404 else "this path takes another method"
    return error_response(RequestRefused(message, code="unknown_url", status=status))


async def _gone(receive: Receive) -> None:
    """Return when the caller has closed its connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


def event(data: str, name: str | None = None) -> bytes:
    """A server-sent event."""
    line = "" if name is None else f"event: {name}\n"
    return f"{line}data: {data}\n\n".encode()


def _part(data: str, name: str | None = None) -> dict[str, Any]:
    return {"type": "http.response.body", "body": event(data, name), "more_body": True}
