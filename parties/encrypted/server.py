"""The party that holds an encrypted checkpoint: its port, its calls, and what it tells its log.

The log has counts and times. It never has an id, a hidden state or a logit.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from torch import Tensor

from secure.parties.encrypted.calls import Idle, close_with
from secure.parties.encrypted.engine import POOLINGS, EncoderInputs, GenerationEngine
from secure.parties.encrypted.generation_pb2 import (
    DescribeRequest,
    Description,
    EncodeRequest,
    GenerateRequest,
    Logprobs,
    Positions,
    Tokens,
)
from secure.parties.encrypted.limits import Admission, GenerationLimits
from secure.parties.encrypted.receipts import ServedCall, read, request_text, sequence_text, served_call, tell
from secure.parties.encrypted.runner import EngineRunner
from secure.parties.encrypted.service import ROLES, SERVICE, VERSION, refuse, with_large_messages
from secure.parties.encrypted.tokens import SamplingParameters
from secure.parties.encrypted.values import from_values, to_values
from secure.parties.transport.certificates.own import LiveCertificates
from secure.parties.transport.ports import SERVER_OPTIONS, STOP_SECONDS, bind, stop_server
from secure.parties.transport.signing import Signer
from secure.parties.transport.tls import certificate_role, server_credentials
from secure.protocols.core.errors import HandshakeError, InputError, PartyLost, SecureInferenceError

_LOG = logging.getLogger("parties")


class GenerationServer:
    """`start` binds the port and serves; `stop` ends every call and frees it."""

    def __init__(
        self,
        address: str,
        certificates: Path,
        engine: GenerationEngine,
        limits: GenerationLimits | None = None,
        admission: Admission | None = None,
    ) -> None:
        """admission: the counter of another server in this process over the same engine, to share its limits."""
        self._address = address
        self._certificates = certificates
        self._engine = engine
        self.admission = admission or Admission(engine.served, limits or GenerationLimits())
        self._runner = EngineRunner(engine, self.admission)
        self._limits = self.admission.limits
        # Calls beyond the limit need a thread, too, to be told so.
        workers = self._limits.requests + 8
        self._server = grpc.server(
            futures.ThreadPoolExecutor(workers, thread_name_prefix="call"),
            options=with_large_messages(SERVER_OPTIONS),
            maximum_concurrent_rpcs=workers,
        )
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, self._handlers()),))

    def start(self) -> int:
        """Bind the port and serve; the port's number. Raises PortInUse, or ConfigurationError about certificates."""
        self._live = LiveCertificates(self._certificates, "server")
        self._signer = Signer(self._live)
        port = bind(self._server, "the server", self._address, server_credentials(self._live))
        self._server.start()
        for service in ("", SERVICE):
            self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        _LOG.info("gRPC on %s:%d", self._address.rpartition(":")[0], port)
        return port

    def stop(self, grace_seconds: float = 0.5) -> None:
        """Stop accepting, end every call, free the port."""
        self._health.enter_graceful_shutdown()
        stop_server(self._server, grace_seconds if self.admission.running else 0.0)
        # A forward pass of the model cannot be interrupted; the interpreter must not end in the middle of one.
        self.admission.wait_until_idle(STOP_SECONDS)

    # calls

    def _describe(self, request: DescribeRequest, context: grpc.ServicerContext) -> Description:
        with self._reported(context, "Describe"):
            self._check_caller(context)
            if request.protocol_version != VERSION:
                raise HandshakeError("protocol version", str(VERSION), str(request.protocol_version), "the server")
            served = self._engine.served
            return Description(
                protocol_version=VERSION,
                key_check=served.key_check,
                manifest=served.manifest,
                name=served.name,
                vocabulary=served.vocabulary,
                most_prompt_tokens=self.admission.most_prompt_tokens,
                most_new_tokens=self._limits.new_tokens,
                context_tokens=served.context_tokens,
            )

    def _generate(self, message: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        with self._reported(context, "Generate"):
            request, noted = read(GenerateRequest, message), self._noted(context, "Generate", message)
            self._check_caller(context, request.key_check)
            sampling = SamplingParameters(
                max_new_tokens=request.max_new_tokens,
                temperature=request.temperature,
                top_p=request.top_p,
                seed=request.seed if request.HasField("seed") else None,
                stop_ids=tuple(request.stop_ids),
                logprobs=request.logprobs if request.HasField("logprobs") else None,
            )
            started, count = time.monotonic(), 0
            pieces = self._runner.generate(list(request.ids), sampling, at_once=request.at_once)
            close_with(context, pieces)
            for piece in pieces:
                count += len(piece.ids)
                told = [
                    Logprobs(
                        logprob=each.logprob, ids=[i for i, _ in each.likeliest], values=[x for _, x in each.likeliest]
                    )
                    for each in piece.logprobs
                ]
                yield noted.went_out(
                    Tokens(ids=piece.ids, finish=piece.finish or "", logprobs=told).SerializeToString()
                )
            if context.is_active():
                tell(context, noted.sign(request_text(request), self._signer))
            how, seconds = "done" if context.is_active() else "cancelled", time.monotonic() - started
            _LOG.info("Generate: %d tokens in, %d out, %.3f s, %s", len(request.ids), count, seconds, how)

    def _embed(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        with self._reported(context, "Embed"):
            request = read(EncodeRequest, message)
            pooling = next((known for known in POOLINGS if known == request.pooling), None)
            if pooling is None:
                raise InputError(f"pooling must be one of {', '.join(POOLINGS)}")
            with self._inputs(request, context) as inputs:
                return self._answered(context, "Embed", message, request, self._runner.embed(inputs, pooling))

    def _classify(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        with self._reported(context, "Classify"):
            request = read(EncodeRequest, message)
            with self._inputs(request, context) as inputs:
                return self._answered(context, "Classify", message, request, self._runner.classify(inputs))

    def _answered(
        self, context: grpc.ServicerContext, step: str, message: bytes, request: EncodeRequest, answer: Tensor
    ) -> bytes:
        """The one message of an answer, which is signed where the client wants that."""
        noted = self._noted(context, step, message)
        sent = noted.went_out(to_values(answer).SerializeToString())
        tell(context, noted.sign(request_text(request), self._signer))
        return sent

    def _noted(self, context: grpc.ServicerContext, step: str, message: bytes) -> ServedCall:
        noted = served_call(context, step, self._engine.served.manifest)
        noted.came_in(message)
        return noted

    @contextmanager
    def _inputs(self, request: EncodeRequest, context: grpc.ServicerContext) -> Iterator[EncoderInputs]:
        """The request's inputs, and a line for the log once they have been computed on."""
        self._check_caller(context, request.key_check)
        rows, types = ([list(row.ids) for row in each] for each in (request.rows, request.token_types))
        pixels = from_values(request.pixels) if request.HasField("pixels") else None
        started = time.monotonic()
        yield EncoderInputs(rows, types or None, pixels)
        _LOG.info("%d rows, %d tokens in, %.3f s", len(rows), sum(map(len, rows)), time.monotonic() - started)

    def _continue(self, incoming: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        with self._reported(context, "Continue"):
            timer = Idle(context, self._limits.idle_seconds)
            served, count = self._engine.served, 0
            noted = served_call(context, "Continue", served.manifest)
            try:
                first = next(incoming, None)
                if first is None:
                    return
                self._check_caller(context, read(Positions, first).key_check)
                with self._runner.sequence() as sequence:
                    for message in chain([first], incoming):
                        timer.stop()  # from here on the client waits for us
                        noted.came_in(message)
                        embeddings = from_values(read(Positions, message).embeddings)
                        if embeddings.ndim != 2 or embeddings.shape[0] == 0 or embeddings.shape[1] != served.width:
                            raise InputError(f"embeddings must be [positions, {served.width}]")
                        count += embeddings.shape[0]
                        if count > served.context_tokens:
                            raise InputError(f"{count} positions; this model has room for {served.context_tokens}")
                        values = to_values(sequence.extend(embeddings)).SerializeToString()
                        timer.again()  # before it is sent: a client that does not read is idle, too
                        yield noted.went_out(values)
                if context.is_active():
                    tell(context, noted.sign(sequence_text(count), self._signer))
            finally:
                timer.stop()
            _LOG.info("Continue: %d positions", count)

    # around the calls

    def _check_caller(self, context: grpc.ServicerContext, key_check: str | None = None) -> None:
        """Raises HandshakeError unless a client calls, about the checkpoint that is here."""
        role = certificate_role(context.auth_context(), ROLES, self._live.current().trust)
        if role != "client":
            raise HandshakeError("role", "client", role, "the server")
        if key_check is not None and key_check != self._engine.served.key_check:
            raise HandshakeError("key check value", self._engine.served.key_check, key_check[:64], "the server")

    @contextmanager
    def _reported(self, context: grpc.ServicerContext, step: str) -> Iterator[None]:
        """Log what ends a call early, and tell the client."""
        try:
            yield
        except Exception as error:
            if not context.is_active():
                _LOG.info("%s: the client went away", step)
                refuse(context, PartyLost("client", step), step)
            if isinstance(error, SecureInferenceError):
                _LOG.warning("%s ended: %s", step, error)
            else:
                # A defect. Its text could hold a value: log and tell only its class and where it was raised.
                where = "".join(traceback.format_tb(error.__traceback__))
                _LOG.error("%s failed with %s\n%s", step, type(error).__name__, where)
            refuse(context, error, step)

    def _handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        # What a receipt is of stays bytes, as it came and as it goes.
        return {
            "Describe": grpc.unary_unary_rpc_method_handler(
                self._describe, DescribeRequest.FromString, Description.SerializeToString
            ),
            "Generate": grpc.unary_stream_rpc_method_handler(self._generate),
            "Embed": grpc.unary_unary_rpc_method_handler(self._embed),
            "Classify": grpc.unary_unary_rpc_method_handler(self._classify),
            "Continue": grpc.stream_stream_rpc_method_handler(self._continue),
        }
