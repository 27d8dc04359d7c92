"""Receipts over HTTP: an endpoint of ids signs the answers to requests that name a session, and a client checks them.

A request's header `secure-session` names the session. What the server signs comes in the header `secure-signed` of an
answer in one piece, and in a last event `receipt` of a stream; both in base64. Signed are the bodies as they travel: of
a stream the data of each event, in order. What is signed, and the checks, are those of gRPC
(`secure.parties.encrypted.receipts`); other programs send no such header, and get the answers that they got before.
"""

from __future__ import annotations

import base64
import json
from collections.abc import MutableMapping, Sequence
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from secure.http.app import DONE, event, log_error
from secure.http.callers import ANYBODY
from secure.parties.encrypted.receipts import SESSION, ServedCall
from secure.parties.transport.signing import Signer
from secure.protocols.core.errors import ConfigurationError, ReceiptRefused

PATH = "/v1/completions"
SIGNED = "secure-signed"
RECEIPT_EVENT = "receipt"
STEP = "Generate"


class SignedAnswers:
    """Around the endpoints' application."""

    def __init__(self, app: ASGIApp, *, manifest: str, signer: Signer) -> None:
        """manifest: encryption.json of what is served. signer: the server's."""
        self._app, self._manifest, self._signer = app, manifest, signer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        session = Headers(scope=scope).get(SESSION) if scope["type"] == "http" and scope["path"] == PATH else None
        if session is None:
            await self._app(scope, receive, send)
        else:
            # Over HTTP nobody has a certificate: who has the API key is anybody.
            noted = ServedCall(session, ANYBODY.name, STEP, self._manifest)
            exchange = _Exchange(noted, self._signer, receive, send)
            await self._app(scope, exchange.receive, exchange.send)


class _Exchange:
    """One request and its answer on their way."""

    def __init__(self, noted: ServedCall, signer: Signer, receive: Receive, send: Send) -> None:
        self._noted, self._signer, self._receive, self._send = noted, signer, receive, send
        self._body = bytearray()
        self._start: Message | None = None
        """The head of an answer in one piece, which waits for its signature."""
        self._streams = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._body += message.get("body", b"")
            if not message.get("more_body"):
                self._noted.came_in(bytes(self._body))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._streams = Headers(raw=message["headers"]).get("content-type", "").startswith("text/event-stream")
            if message["status"] == 200 and not self._streams:
                self._start = message
                return
        elif self._start is not None:
            start, self._start = self._start, None
            self._noted.went_out(message["body"])
            if signed := self._signed():
                MutableHeaders(raw=start["headers"])[SIGNED] = signed
            await self._send(start)
        elif self._streams and message["body"]:
            if message["body"] == event(DONE):
                if signed := self._signed():
                    await self._send({**message, "body": event(signed, RECEIPT_EVENT)})
            else:
                self._noted.went_out(data_of(message["body"]))
        await self._send(message)

    def _signed(self) -> str:
        try:
            signed = self._noted.sign(asked_for(bytes(self._body)), self._signer)
        except ConfigurationError as error:
            log_error("a receipt", error)
            return ""
        return "" if signed is None else base64.b64encode(signed.SerializeToString()).decode()


def asked_for(body: bytes) -> str:
    """What a statement says of a request that a server took: counts, and nothing of its contents."""
    fields: MutableMapping[str, Any] = json.loads(body)
    prompt: Sequence[Any] = fields.get("prompt") or ()
    rows = prompt if prompt and isinstance(prompt[0], list) else [prompt]
    most = fields.get("max_tokens")
    texts = [f"{sum(map(len, rows))} tokens", f"{'no number' if most is None else most} new at most"]
    if len(rows) > 1:
        texts.insert(0, f"{len(rows)} rows")
    if (answers := fields.get("n")) not in (None, 1):
        texts.append(f"{answers} answers")
    return ", ".join(texts)


def data_of(line: bytes) -> bytes:
    """The data of an event's line or of a whole event without a name."""
    return line.partition(b":")[2].strip()


def signed_of(text: str) -> bytes:
    """What a server signed, from a header or an event; empty where there is none. Raises ReceiptRefused."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise ReceiptRefused("server: what it signed is no base64; it runs another version") from None
