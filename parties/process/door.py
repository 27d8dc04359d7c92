"""Where streams come in: each becomes a link, its caller is checked, and what a client opens is watched.

Streams of sessions are the server's; one that belongs to no session is served here, in a thread of its own.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator

import grpc

from secure.parties.config import PartiesSettings
from secure.parties.process.trust_watch import TrustWatch
from secure.parties.session.client_watch import ClientTimer, ClientWatch
from secure.parties.session.handshake import (
    CALLERS,
    callers,
    check_caller,
    check_family,
    check_profile,
    check_session_id,
    check_version,
)
from secure.parties.transport.failures import failure_frame
from secure.parties.transport.frames import AnyFrame
from secure.parties.transport.identity import Identity
from secure.parties.transport.link import Link
from secure.parties.transport.prefetch import shaped
from secure.parties.transport.tls import certificate_identity
from secure.parties.transport.wire_pb2 import Hello, Kind
from secure.protocols.core.errors import PartyLost, SecureInferenceError

_LOG = logging.getLogger("parties")

Handler = Callable[[Iterator[AnyFrame], grpc.ServicerContext], Iterator[AnyFrame]]
"""What gRPC calls with a stream."""
Attend = Callable[[Link, Hello, Identity], None]
"""Serves one stream to its end; raises what ends it early."""


class Door:
    """The streams of one role."""

    def __init__(self, role: str, settings: PartiesSettings, trust: TrustWatch, timer: ClientTimer) -> None:
        self._role = role
        self._settings = settings
        self._trust = trust
        self._timer = timer

    def link(self, peer: str, incoming: Iterator[AnyFrame], context: grpc.ServicerContext) -> Link:
        """A stream as those see it who serve it."""
        link = Link(peer, incoming, context.cancel)

        def ended() -> None:
            link.stream_ended(None if link.finished else "it closed the stream")

        if not context.add_callback(ended):
            ended()
        return link

    def watch(self, link: Link, context: grpc.ServicerContext) -> ClientWatch:
        """End the stream, from now on, where a client lets it wait for too long."""
        watch = self._timer.watch(link)
        if not context.add_callback(lambda: self._timer.forget(link)):
            self._timer.forget(link)
        return watch

    def admit(
        self, stream: str, link: Link, context: grpc.ServicerContext, end: Callable[[Exception], None] | None = None
    ) -> Hello:
        """The caller's Hello, when its version, role and certificate are right.

        end: told why the stream is to end, when the certificate no longer counts; without it the stream is dropped.
        """
        where = f"{self._role}, {stream}"
        roles = (*self._settings.parties, *CALLERS["Run"])
        certified = self._trust.admit(link, context, roles, end or (lambda reason: link.cancel()))
        hello = link.expect_hello()
        check_version(hello, where)
        check_caller(stream, hello.role, certified, callers(stream, self._role, self._settings.family), where)
        check_session_id(hello.session, where)
        check_family(hello, self._settings.protocol, where)
        if hello.kind == Kind.KIND_PREDICT or stream == "Stock":
            check_profile(hello, self._settings.profile, where)
        return hello

    def beside(self, stream: str, attend: Attend, peer: str, *, watched: bool = True) -> Handler:
        """The handler of a stream that belongs to no session. peer: whose it is, for errors.

        watched: whether it is ended where its caller lets it wait for too long.
        """

        def handle(incoming: Iterator[AnyFrame], context: grpc.ServicerContext) -> Iterator[AnyFrame]:
            link = self.link(peer, shaped(incoming, self._settings.measure), context)
            outgoing = self.watch(link, context).outgoing_frames() if watched else link.outgoing_frames()
            # The handler's thread becomes the sender of the stream.
            threading.Thread(
                target=self._attend, args=(stream, attend, link, context), name=stream, daemon=True
            ).start()
            return outgoing

        return handle

    def _attend(self, stream: str, attend: Attend, link: Link, context: grpc.ServicerContext) -> None:
        try:
            hello = self.admit(stream, link, context)
            attend(link, hello, identity_of(hello, context))
        except PartyLost as error:
            _LOG.debug("%s ended: %s", stream, error)  # which is how a peer ends it
        except Exception as error:
            known = isinstance(error, SecureInferenceError)
            _LOG.warning("%s refused: %s", stream, error if known else type(error).__name__)
            link.post(failure_frame(error, self._role, stream))
        finally:
            link.finish()


def identity_of(hello: Hello, context: grpc.ServicerContext) -> Identity:
    """Whose certificate came with the stream."""
    return certificate_identity(context.auth_context(), (hello.role,))
