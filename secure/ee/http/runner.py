"""A checkpoint that runs at an HTTP endpoint: our own of ids, or any engine that returns `token_ids`, as vLLM does."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any, NamedTuple, NoReturn

import httpx
from torch import Tensor

from secure.ee.files.checkpoint import OpenedCheckpoint
from secure.ee.http.ids_backend import TOKEN_NAME
from secure.ee.http.ids_server import KEY_CHECK_HEADER
from secure.ee.http.signed_answers import PATH, RECEIPT_EVENT, SIGNED, STEP, asked_for, data_of, signed_of
from secure.http.app import DONE
from secure.http.openai_errors import RequestRefused
from secure.models.contract.json_text import read_json
from secure.parties.encrypted.engine import EncoderInputs, HiddenSequence, Pooling
from secure.parties.encrypted.receipts import SESSION, AskedCall, TakeReceipt
from secure.parties.encrypted.runner import Runner
from secure.parties.encrypted.tokens import (
    ContextRoom,
    GeneratedPieces,
    SamplingParameters,
    TokenLogprobs,
    TokenPiece,
    TokenPieces,
)
from secure.parties.transport.certificates.trust import Trust
from secure.protocols.core.errors import (
    HandshakeError,
    InputError,
    PartyLost,
    ReceiptRefused,
    ServerBusy,
    SessionError,
)


class HttpReceipts(NamedTuple):
    """Who takes receipts, and by whose certificates they are checked."""

    trust: Trust
    take: TakeReceipt


class HttpRunner(Runner):
    """Generates. An endpoint of ids has neither embeddings nor classes, nor split mode."""

    def __init__(
        self,
        connect: Callable[[], httpx.Client],
        checkpoint: OpenedCheckpoint,
        model: str | None,
        *,
        unchecked: bool,
        receipts: HttpReceipts | None = None,
    ) -> None:
        """Nothing is connected yet.

        connect: gives a client with base URL, API key and certificates, a new one for each request, so that one can
        be cut off alone. model: its name there; None takes the only one. unchecked: whether an endpoint may say nothing
        of its key. receipts: None asks for none.
        """
        self._connect = connect
        self._checkpoint = checkpoint
        self._key_check = checkpoint.manifest.key_check
        self._model = model
        self._unchecked = unchecked
        self._receipts = receipts
        self._manifest: str | None = None
        """What the endpoint showed; None of an engine that is not ours."""
        self._room: ContextRoom | None = None

    def room(self) -> ContextRoom:
        """How much the endpoint says its model takes. Raises HandshakeError or CheckpointError for another one."""
        if self._room is None:
            entry = self._entry(self._get_models())
            theirs = entry.get("key_check")
            if theirs is not None or not self._unchecked:
                if theirs != self._key_check:
                    raise HandshakeError("key check value", self._key_check, str(theirs)[:64], "before the first token")
                self._manifest = str(entry.get("manifest"))
                self._checkpoint.check_served(self._manifest)
            self._model = str(entry["id"])
            context, most = entry.get("max_model_len"), entry.get("most_new_tokens")
            if not isinstance(context, int):
                raise SessionError("the backend does not say how long its context is (max_model_len)")
            self._room = ContextRoom(context, most if isinstance(most, int) else None)
        return self._room

    def generate(self, ids: Sequence[int], sampling: SamplingParameters, *, at_once: bool = False) -> TokenPieces:
        self.room()
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
        if sampling.logprobs is not None:
            body |= {"logprobs": sampling.logprobs, "return_tokens_as_token_ids": True}
        if sampling.stop_ids:
            body["stop_token_ids"] = list(sampling.stop_ids)
        call = _Call(self._noted())
        return GeneratedPieces(self._pieces(json.dumps(body).encode(), at_once, call, sampling.logprobs), call.cut_off)

    def embed(self, inputs: EncoderInputs, pooling: Pooling = "mean") -> Tensor:
        _refuse("embeddings")

    def classify(self, inputs: EncoderInputs) -> Tensor:
        _refuse("classes")

    def sequence(self) -> AbstractContextManager[HiddenSequence]:
        _refuse("split mode")

    def close(self) -> None:
        """Nothing stays open between requests."""

    def _noted(self) -> AskedCall | None:
        """What becomes a call's receipt; None where none is wanted. Raises ReceiptRefused for an engine not ours."""
        if self._receipts is None:
            return None
        if self._manifest is None:
            raise ReceiptRefused(
                "server: it does not say what it serves, so it is no secure ee serve, and signs nothing"
            )
        return AskedCall(STEP, self._manifest, *self._receipts)

    def _pieces(
        self, body: bytes, at_once: bool, call: _Call, logprobs: int | None
    ) -> Generator[TokenPiece, None, None]:
        headers = {KEY_CHECK_HEADER: self._key_check, "content-type": "application/json"} | call.headers
        extensions = {"trace": call.trace}
        held: list[TokenPiece] = []
        try:
            with (
                self._connect() as http,
                http.stream("POST", PATH, content=body, headers=headers, extensions=extensions) as response,
            ):
                if response.status_code != 200:
                    response.read()
                    raise _backend_error(response.status_code, response.content)
                for data in _documents(response, at_once, call):
                    piece = _piece(_json(data), logprobs)
                    # A receipt is checked before a caller has the whole answer.
                    if held or (call.noted is not None and piece.finish is not None):
                        held.append(piece)
                    else:
                        yield piece
        except (httpx.HTTPError, PartyLost) as error:
            if call.is_cut_off:
                return
            if isinstance(error, PartyLost):
                raise
            raise PartyLost("the backend", "generation", type(error).__name__) from None
        call.end(body)
        yield from held

    def _get_models(self) -> list[dict[str, Any]]:
        with self._connect() as http:
            where = http.base_url
            try:
                response = http.get("/v1/models")
            except httpx.HTTPError as error:
                raise SessionError(
                    f"the backend at {where} does not answer ({type(error).__name__}); check that it runs "
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


class _Call:
    """One request, which another thread may cut off while this one waits for its answer."""

    def __init__(self, noted: AskedCall | None) -> None:
        """noted: what becomes its receipt."""
        self.noted = noted
        self.signed = ""
        """What the server signed, as it came."""
        self.is_cut_off = False
        self._socket: socket.socket | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.noted is None else {SESSION: self.noted.session}

    def got(self, data: bytes) -> bytes:
        """The next message of the answer, which is returned."""
        if self.noted is not None:
            self.noted.got(data)
        return data

    def end(self, body: bytes) -> None:
        """The answer is whole. body: the request's. Raises ReceiptRefused."""
        if self.noted is not None:
            self.noted.sent(body)
            self.noted.end(asked_for(body), signed_of(self.signed))

    def trace(self, event: str, details: Mapping[str, Any]) -> None:
        """Called by the HTTP client at each of its steps; the socket that it has connected is what can be shut."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._socket = details["return_value"].get_extra_info("socket")
            if self.is_cut_off:
                self.cut_off()

    def cut_off(self) -> None:
        self.is_cut_off = True
        if self._socket is not None:
            # A socket under TLS would end that first, under the feet of the thread that reads.
            with suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def _refuse(what: str) -> NoReturn:
    raise InputError(f"an HTTP endpoint of ids has no {what}; use the server's gRPC")


def _documents(response: httpx.Response, at_once: bool, call: _Call) -> Iterator[bytes]:
    """The JSON texts of an answer: one, or the data of server-sent events until [DONE]. A receipt is the call's."""
    if at_once:
        call.signed = response.headers.get(SIGNED, "")
        yield call.got(response.read())
        return
    named = ""
    for line in response.iter_lines():
        if line.startswith("event:"):
            named = line[len("event:") :].strip()
        elif line.startswith("data:"):
            data = data_of(line.encode())
            if data == DONE.encode():
                return
            if named == RECEIPT_EVENT:
                call.signed = data.decode()
            else:
                yield call.got(data)
            named = ""
    raise PartyLost("the backend", "generation", "it ended the stream early")


def _piece(document: dict[str, Any], logprobs: int | None) -> TokenPiece:
    if "error" in document:
        raise _backend_error(500, json.dumps(document).encode())
    choices = document.get("choices")
    if not choices:
        return TokenPiece([])  # a chunk with usage alone
    ids = choices[0].get("token_ids") if isinstance(choices[0], dict) else None
    finish = choices[0].get("finish_reason")
    # An engine may give the last chunk no ids.
    if ids is None and finish is not None and document.get("object") == "text_completion":
        ids = []
    if not isinstance(ids, list) or not all(isinstance(i, int) for i in ids):
        raise SessionError("the backend's answer has no token_ids; it must return the ids of its tokens")
    told = [] if logprobs is None else _told(choices[0].get("logprobs"), len(ids), logprobs)
    return TokenPiece(ids, None if finish is None else "stop" if finish == "stop" else "length", told)


def _told(logprobs: Any, tokens: int, count: int) -> list[TokenLogprobs]:
    """What a backend told of so many tokens, whose names are ids. Raises SessionError for anything else."""
    if not tokens:
        return []
    try:
        own, likeliest = logprobs["token_logprobs"], logprobs["top_logprobs"] or [{}] * tokens
        told = [
            TokenLogprobs(float(value), _falling(names)[:count]) for value, names in zip(own, likeliest, strict=True)
        ]
    except (AttributeError, KeyError, TypeError, ValueError):
        told = []
    if len(told) != tokens:
        raise SessionError(
            "the backend's answer has no log probabilities with ids for its tokens (return_tokens_as_token_ids)"
        )
    return told


def _falling(names: Mapping[str, Any]) -> list[tuple[int, float]]:
    found = [(_id_of(name), float(value)) for name, value in names.items()]
    return sorted(found, key=lambda pair: -pair[1])


def _id_of(name: str) -> int:
    """Raises ValueError for a name that is none."""
    prefix, found, number = name.partition(TOKEN_NAME)
    if prefix or not found:
        raise ValueError
    return int(number)


def _json(content: bytes) -> dict[str, Any]:
    try:
        value = read_json(content)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise SessionError("the backend's answer is not in OpenAI's format")
    return value


def _backend_error(status: int, content: bytes) -> Exception:
    """What a backend's error means here. Its message is about encrypted ids; only limits are worth repeating."""
    try:
        told = read_json(content)["error"]
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
