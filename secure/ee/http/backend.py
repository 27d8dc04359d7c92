"""A backend over HTTP: our own endpoint of ids, or any engine that takes prompts of ids and returns `token_ids`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx

from secure.ee.client.client import Client
from secure.ee.http.backends import Backend, Offer, Piece, Pieces
from secure.http.openai_errors import RequestRefused
from secure.parties.encrypted.engine import Sampling
from secure.protocols.core.errors import HandshakeError, InputError, PartyLost, ServerBusy, SessionError

KEY_CHECK_HEADER = "secure-key-check"
"""Names the checkpoint that a request is for, so that a server which has another one by now refuses."""


class HttpBackend(Backend):
    """An endpoint of ids: ours, or any engine that takes prompts of ids and returns `token_ids` (as vLLM does)."""

    def __init__(self, http: httpx.AsyncClient, client: Client, model: str | None, *, unchecked: bool) -> None:
        """http: with base URL, API key and certificates.

        model: its name there; None takes the only one. unchecked: whether a backend may say nothing of its key.
        """
        self._http = http
        self._client = client
        self._key_check = client.manifest.key_check
        self._model = model
        self._unchecked = unchecked
        self._offer: Offer | None = None

    async def offer(self) -> Offer:
        if self._offer is None:
            entry = self._entry(await self._get_models())
            theirs = entry.get("key_check")
            if theirs is not None or not self._unchecked:
                if theirs != self._key_check:
                    raise HandshakeError("key check value", self._key_check, str(theirs)[:64], "before the first token")
                self._client.check_served(str(entry.get("manifest")))
            self._model = str(entry["id"])
            context, most = entry.get("max_model_len"), entry.get("most_new_tokens")
            if not isinstance(context, int):
                raise SessionError("the backend does not say how long its context is (max_model_len)")
            self._offer = Offer(context, most if isinstance(most, int) else None)
        return self._offer

    async def generate(self, ids: Sequence[int], sampling: Sampling, at_once: bool) -> Pieces:
        await self.offer()
        body = {
            "model": self._model,
            "prompt": list(ids),
            "max_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "stream": not at_once,
            "return_token_ids": True,
        }
        if sampling.seed is not None:
            body["seed"] = sampling.seed
        if sampling.stop_ids:
            body["stop_token_ids"] = list(sampling.stop_ids)
        headers = {KEY_CHECK_HEADER: self._key_check}
        try:
            async with self._http.stream("POST", "/v1/completions", json=body, headers=headers) as response:
                if response.status_code != 200:
                    await response.aread()
                    raise _backend_error(response.status_code, response.content)
                async for document in _documents(response, at_once):
                    yield _piece(document)
        except httpx.HTTPError as error:
            raise PartyLost("the backend", "generation", type(error).__name__) from None

    async def close(self) -> None:
        await self._http.aclose()

    async def _get_models(self) -> list[dict[str, Any]]:
        try:
            response = await self._http.get("/v1/models")
        except httpx.HTTPError as error:
            raise SessionError(
                f"the backend at {self._http.base_url} does not answer ({type(error).__name__}); check that it runs "
                "and that the address is right"
            ) from None
        if response.status_code != 200:
            raise _backend_error(response.status_code, response.content)
        return [entry for entry in _json(response.content).get("data", []) if isinstance(entry, dict)]

    def _entry(self, entries: list[dict[str, Any]]) -> dict[str, Any]:
        names = [str(entry.get("id"))[:100] for entry in entries]
        if self._model is None and len(entries) == 1:
            return entries[0]
        if self._model not in names:
            raise SessionError(
                f"the backend serves {', '.join(names) or 'nothing'}; name one of its models (--backend-model)"
            )
        return entries[names.index(self._model)]


async def _documents(response: httpx.Response, at_once: bool) -> AsyncIterator[dict[str, Any]]:
    """The JSON objects of an answer: one, or server-sent events until [DONE]."""
    if at_once:
        await response.aread()
        yield _json(response.content)
        return
    async for line in response.aiter_lines():
        if line.startswith("data:"):
            data = line[5:].strip()
            if data == "[DONE]":
                return
            yield _json(data.encode())
    raise PartyLost("the backend", "generation", "it ended the stream early")


def _piece(document: dict[str, Any]) -> Piece:
    if "error" in document:
        raise _backend_error(500, json.dumps(document).encode())
    choices = document.get("choices")
    if not choices:
        return Piece([])  # a chunk with usage alone
    ids = choices[0].get("token_ids") if isinstance(choices[0], dict) else None
    finish = choices[0].get("finish_reason")
    # An engine may give the last chunk no ids.
    if ids is None and finish is not None and document.get("object") == "text_completion":
        ids = []
    if not isinstance(ids, list) or not all(isinstance(i, int) for i in ids):
        raise SessionError("the backend's answer has no token_ids; it must return the ids of its tokens")
    return Piece(ids, None if finish is None else "stop" if finish == "stop" else "length")


def _json(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise SessionError("the backend's answer is not in OpenAI's format")
    return value


def _backend_error(status: int, content: bytes) -> Exception:
    """What a backend's error means here. Its message is about encrypted ids; only limits are worth repeating."""
    try:
        told = json.loads(content)["error"]
        message = str(told["message"])[:300]
    except (ValueError, KeyError, TypeError):
        message = f"HTTP status {status}"
    if status == 429:
        return ServerBusy(message)
    if status == 401:
        return SessionError("the backend refuses the proxy's API key")
    if status == 412:
        return HandshakeError("key check value", "the client's", "another one", "the backend")
    if status == 400:
        return InputError(f"the backend refuses: {message}")
    if status == 404:
        return RequestRefused("the backend does not have this model or path", status=502, code="backend_error")
    return SessionError(f"the backend failed: {message}")
