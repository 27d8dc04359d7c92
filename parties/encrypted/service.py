"""What both ends of the service Generation share: its names, its certificates, and how errors travel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import grpc

from secure.parties.transport.certificates.making import make_certificates
from secure.parties.transport.failures import failure_frame, rebuild
from secure.parties.transport.wire_pb2 import Failure
from secure.protocols.core import errors

SERVICE = "secure_inference.Generation"
VERSION = 2
ROLES = ("server", "client")
"""Roles with a certificate: who holds the encrypted checkpoint, and who holds the key."""

MOST_MESSAGE_BYTES = 1 << 30
"""Hidden states of a long prompt are hundreds of megabytes; protobuf ends at 2 GiB."""

_FAILURE = "secure-failure-bin"
_STATUS: tuple[tuple[type[Exception], grpc.StatusCode], ...] = (
    (errors.ServerBusy, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (errors.InputError, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.HandshakeError, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.SecureInferenceError, grpc.StatusCode.UNAVAILABLE),
)


def make_generation_certificates(out_dir: Path, hosts: Mapping[str, list[str]] | None = None, days: int = 365) -> None:
    """An authority, and a certificate for the server and for the client: `secure.parties.transport.tls` makes them."""
    make_certificates(out_dir, hosts, days, ROLES)


def as_it_is(message: bytes) -> bytes:
    """The message itself: in place of a serializer where its bytes are needed beside it."""
    return message


def with_large_messages(options: Sequence[tuple[str, int | str]]) -> list[tuple[str, int | str]]:
    """gRPC options of the parties, for messages that are not cut into frames."""
    limits = ("grpc.max_receive_message_length", "grpc.max_send_message_length")
    return list((dict(options) | dict.fromkeys(limits, MOST_MESSAGE_BYTES)).items())


def refuse(context: grpc.ServicerContext, error: Exception, step: str) -> NoReturn:
    """End a call with an error of the tree, or with the class alone of any other one. Does not return."""
    failure = failure_frame(error, "server", step).failure
    status = next((code for kind, code in _STATUS if isinstance(error, kind)), grpc.StatusCode.INTERNAL)
    context.set_trailing_metadata(((_FAILURE, failure.SerializeToString()),))
    context.abort(status, failure.message)


def rebuilt(error: grpc.RpcError, step: str) -> errors.SecureInferenceError:
    """What the server reported, as the class it had there; PartyLost when it said nothing."""
    if not isinstance(error, grpc.Call):
        return errors.PartyLost("server", step)
    if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
        # gRPC refuses by itself, too, when too many calls are open.
        message = error.details() or "the server computes as many requests as it may; try again a little later"
        return errors.ServerBusy(message)
    for key, value in error.trailing_metadata() or ():
        if key == _FAILURE and isinstance(value, bytes):
            return rebuild(Failure.FromString(value))
    return errors.PartyLost("server", step, f"{error.code().name.lower()} {error.details() or ''}".strip())
