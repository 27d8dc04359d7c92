"""The client of a generation party. It compares the key check value before it sends the first id."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
from torch import Tensor

from secure.parties.encrypted.engine import EncoderInputs, HiddenSequence, Pooling
from secure.parties.encrypted.generation_pb2 import (
    DescribeRequest,
    Description,
    EncodeRequest,
    GenerateRequest,
    Positions,
    Row,
    Tokens,
    Values,
)
from secure.parties.encrypted.receipts import (
    AskedCall,
    TakeReceipt,
    answered,
    request_text,
    sequence_text,
    session_metadata,
    signed_in,
)
from secure.parties.encrypted.runner import Runner
from secure.parties.encrypted.service import SERVICE, VERSION, as_it_is, rebuilt, with_large_messages
from secure.parties.encrypted.tokens import ContextRoom, Finish, Pieces, SamplingParameters, TokenLogprobs, TokenPiece
from secure.parties.encrypted.values import from_values, to_values
from secure.parties.transport.certificates.own import read_own
from secure.parties.transport.dialer import CHANNEL_OPTIONS, check_certificates_were_taken
from secure.parties.transport.tls import channel_credentials, channel_name_options
from secure.protocols.core.errors import HandshakeError, InputError, PartyLost, ServerUnreachable, SessionError


class GenerationClient(Runner):
    """A connection to one generation party, opened at first use. Safe to use from several threads at a time."""

    def __init__(
        self,
        address: str,
        certificates: Path,
        key_check: str,
        connect_seconds: float = 5.0,
        check_manifest: Callable[[str], None] | None = None,
        take_receipt: TakeReceipt | None = None,
    ) -> None:
        """key_check: the key's check value. check_manifest: raises an error for a checkpoint that is not the client's.
        take_receipt: gets what the server signed of each call, as soon as its answer has ended; None asks for no
        receipts.

        Raises ConfigurationError when the client's certificate is wrong.
        """
        self._address = address
        self._key_check = key_check
        self._check_manifest = check_manifest
        self._seconds = connect_seconds
        options = [*with_large_messages(CHANNEL_OPTIONS), *channel_name_options("server")]
        own = read_own(certificates, "client")
        credentials = channel_credentials(own, "server")
        self._trust, self._take_receipt = own.trust, take_receipt
        self._channel = grpc.secure_channel(address, credentials, options=options)
        self._description: Description | None = None
        self._lock = threading.Lock()

    def describe(self) -> Description:
        """What the party serves, asked once.

        Raises HandshakeError unless it was encrypted with the client's key, and what `check_manifest` does.
        """
        with self._lock:
            if self._description is None:
                description = self._ask()
                if description.key_check != self._key_check:
                    raise HandshakeError(
                        "key check value", self._key_check, description.key_check[:64], "before the first token"
                    )
                if self._check_manifest is not None:
                    self._check_manifest(description.manifest)
                self._description = description
            return self._description

    def room(self) -> ContextRoom:
        description = self.describe()
        return ContextRoom(description.context_tokens, description.most_new_tokens)

    def generate(self, ids: Sequence[int], sampling: SamplingParameters, *, at_once: bool = False) -> TokenStream:
        """The ids that follow; at_once in one message, which costs 4 bytes a token and hides the pace of their coming.

        Errors of the server are raised while the stream is read: InputError, ServerBusy, SessionError and its kinds;
        ReceiptRefused with its end, where receipts are taken and it did not sign what came.
        """
        vocabulary = self.describe().vocabulary
        request = GenerateRequest(
            key_check=self._key_check,
            ids=_checked(ids, vocabulary),
            max_new_tokens=sampling.max_new_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            seed=sampling.seed,
            stop_ids=_checked(sampling.stop_ids, vocabulary),
            at_once=at_once,
            logprobs=sampling.logprobs,
        )
        message = request.SerializeToString()
        noted = self._noted("Generate")
        if noted is not None:
            noted.sent(message)
        call = self._channel.unary_stream(f"/{SERVICE}/Generate", as_it_is, as_it_is)(
            message, metadata=session_metadata(noted)
        )
        return TokenStream(call, vocabulary, sampling, noted, request_text(request))

    def embed(self, inputs: EncoderInputs, pooling: Pooling = "mean") -> Tensor:
        return self._encode("Embed", inputs, pooling)

    def classify(self, inputs: EncoderInputs) -> Tensor:
        return self._encode("Classify", inputs, "")

    def sequence(self) -> RemoteSequence:
        """Split mode: a sequence whose embeddings this side computes. A context manager."""
        self.describe()
        method = self._channel.stream_stream(f"/{SERVICE}/Continue", as_it_is, as_it_is)
        return RemoteSequence(method, self._key_check, self._noted("Continue"))

    def close(self) -> None:
        """Close the connection; calls that still run are cancelled."""
        self._channel.close()

    def _encode(self, step: str, inputs: EncoderInputs, pooling: str) -> Tensor:
        vocabulary = self.describe().vocabulary
        request = EncodeRequest(
            key_check=self._key_check,
            rows=[Row(ids=_checked(row, vocabulary)) for row in inputs.rows],
            token_types=[Row(ids=row) for row in inputs.token_types or ()],
            pixels=None if inputs.pixels is None else to_values(inputs.pixels),
            pooling=pooling,
        )
        message = request.SerializeToString()
        noted = self._noted(step)
        method = self._channel.unary_unary(f"/{SERVICE}/{step}", as_it_is, as_it_is)
        try:
            answer, call = method.with_call(message, metadata=session_metadata(noted))
        except grpc.RpcError as error:
            raise rebuilt(error, step) from None
        if noted is not None:
            noted.sent(message)
            noted.got(answer)
            noted.end(request_text(request), signed_in(call.trailing_metadata()))
        return from_values(answered(Values, answer))

    def _noted(self, step: str) -> AskedCall | None:
        """What becomes the call's receipt; None where none is wanted."""
        if self._take_receipt is None:
            return None
        return AskedCall(step, self.describe().manifest, self._trust, self._take_receipt)

    def _ask(self) -> Description:
        method = self._channel.unary_unary(
            f"/{SERVICE}/Describe", DescribeRequest.SerializeToString, Description.FromString
        )
        request = DescribeRequest(protocol_version=VERSION)
        started = time.monotonic()
        try:
            return method(request, timeout=self._seconds, wait_for_ready=True)  # type: ignore[no-any-return]
        except grpc.RpcError as error:
            if isinstance(error, grpc.Call) and error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                raise rebuilt(error, "Describe") from None
        # Waiting hides the reason why no connection comes about; a call that does not wait tells it.
        detail = ""
        try:
            return method(request, timeout=1.0)  # type: ignore[no-any-return]
        except grpc.RpcError as error:
            detail = " ".join(((error.details() if isinstance(error, grpc.Call) else "") or "").split())
        where = f"client dialling server at {self._address}"
        check_certificates_were_taken("client", "server", where, detail, late=True)
        raise ServerUnreachable(self._address, time.monotonic() - started, detail[:300])


class TokenStream(Pieces[TokenPiece]):
    """Encrypted ids as messages bring them. Closing it ends the generation at the server, too."""

    def __init__(
        self, call: Any, vocabulary: int, sampling: SamplingParameters, noted: AskedCall | None, request: str
    ) -> None:
        """noted: what becomes the call's receipt. request: what is asked for, in counts."""
        self._call = call
        self._noted, self._request = noted, request
        self._vocabulary = vocabulary
        self._room = sampling.max_new_tokens
        self._logprobs = sampling.logprobs
        self._finish: Finish | None = None
        self._closed = False

    def __next__(self) -> TokenPiece:
        if self._finish is not None or self._closed:
            raise StopIteration
        try:
            raw = next(self._call)
        except StopIteration:
            raise PartyLost("server", "Generate", "it ended the stream without a reason") from None
        except grpc.RpcError as error:
            if self._closed:
                raise StopIteration from None
            raise rebuilt(error, "Generate") from None
        message: Tokens = answered(Tokens, raw)
        if message.finish:
            self._finish = "stop" if message.finish == "stop" else "length"
        ids = list(message.ids)
        told = [
            TokenLogprobs(each.logprob, list(zip(each.ids, each.values, strict=False))) for each in message.logprobs
        ]
        self._check(ids, told)
        if self._noted is not None:
            self._noted.got(raw)
            if self._finish is not None:
                self._take_receipt(self._noted)
        return TokenPiece(ids, self._finish, told)

    def close(self) -> None:
        self._closed = True
        self._call.cancel()

    def _take_receipt(self, noted: AskedCall) -> None:
        try:
            _end(self._call, "Generate", noted, self._request)
        except SessionError:
            self.close()
            raise

    def _check(self, ids: list[int], told: list[TokenLogprobs]) -> None:
        """The server is not trusted to keep to the request."""
        self._room -= len(ids)
        likeliest = [id for each in told for id, _ in each.likeliest]
        if self._room < 0 or max((*ids, *likeliest), default=0) >= self._vocabulary:
            self.close()
            raise SessionError("the server sent more tokens than were asked for, or ids that the model does not have")
        asked = self._logprobs is not None
        if len(told) != asked * len(ids) or len(likeliest) != len(told) * min(self._logprobs or 0, self._vocabulary):
            self.close()
            raise SessionError("the server did not send the log probabilities that were asked for; it may be older")


class RemoteSequence(HiddenSequence):
    """Split mode: embeddings out, hidden states back, and the key-value cache at the server.

    A context manager. Where receipts are taken, its end raises ReceiptRefused unless the server signs what passed.
    """

    def __init__(self, method: Any, key_check: str, noted: AskedCall | None) -> None:
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._key_check = key_check
        self._noted, self._positions = noted, 0
        self._call = method(iter(self._outgoing.get, None), metadata=session_metadata(noted))

    def extend(self, embeddings: Tensor) -> Tensor:
        """The last hidden states of further positions. Shapes: [T, D] -> [T, D]. Raises SessionError and its kinds."""
        message = Positions(key_check=self._key_check, embeddings=to_values(embeddings.cpu())).SerializeToString()
        self._key_check = ""
        self._positions += len(embeddings)
        self._outgoing.put(message)
        try:
            answer = next(self._call)
        except StopIteration:
            raise PartyLost("server", "Continue", "it ended the stream") from None
        except grpc.RpcError as error:
            raise rebuilt(error, "Continue") from None
        if self._noted is not None:
            self._noted.sent(message)
            self._noted.got(answer)
        return from_values(answered(Values, answer))

    def close(self) -> None:
        """End the sequence without a receipt; the server frees its cache."""
        self._outgoing.put(None)
        self._call.cancel()

    def __enter__(self) -> RemoteSequence:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        try:
            if kind is None and self._noted is not None and self._positions:
                self._outgoing.put(None)
                _end(self._call, "Continue", self._noted, sequence_text(self._positions))
        finally:
            self.close()


def _end(call: Any, step: str, noted: AskedCall, request: str) -> None:
    """Read to the end of a call, where the server's statement is. Raises SessionError and its kinds."""
    try:
        if next(call, None) is not None:
            raise SessionError("the server sent more after the answer's end")
    except grpc.RpcError as error:
        raise rebuilt(error, step) from None
    noted.end(request, signed_in(call.trailing_metadata()))


def _checked(ids: Sequence[int], vocabulary: int) -> Sequence[int]:
    """Ids that fit the message and the model. Raises InputError, without naming any."""
    if ids and vocabulary == 0:
        raise InputError("the server's checkpoint takes no token ids: it computes on images, or its client keeps them")
    if ids and not (min(ids) >= 0 and max(ids) < vocabulary):
        raise InputError(f"token ids must be from 0 to {vocabulary - 1}")
    return ids
