"""The gRPC server of one role: its port, its streams, and one thread per session."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from concurrent import futures
from contextlib import ExitStack
from functools import partial

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from secure.parties.config import PartiesSettings
from secure.parties.process.admin import AdminPort
from secure.parties.process.door import Attend, Door, Handler, identity_of
from secure.parties.process.figures import Figures
from secure.parties.process.trust_watch import TrustWatch
from secure.parties.roles.engine import Engine
from secure.parties.roles.families import ROLES
from secure.parties.roles.stock_room import Served, StockRoom
from secure.parties.roles.worker import Worker
from secure.parties.session import probe
from secure.parties.session.client_watch import ClientTimer, ClientWatch
from secure.parties.session.handshake import KIND_NAMES, callers, check_kind, met_on
from secure.parties.session.places import Places
from secure.parties.session.quota import Quotas
from secure.parties.session.session import CURRENT, Registry, Session
from secure.parties.session.tracing import SessionTracer, context_of
from secure.parties.stock.key import find_key
from secure.parties.stock.sealed_models import kept_models
from secure.parties.transport.dialer import OFFER_SECONDS, SERVICE
from secure.parties.transport.failures import failure_frame
from secure.parties.transport.frames import AnyFrame, decode, encode
from secure.parties.transport.identity import Identity
from secure.parties.transport.link import Link
from secure.parties.transport.ports import SERVER_OPTIONS, STOP_SECONDS, bind, stop_server
from secure.parties.transport.prefetch import Prefetch, shaped
from secure.parties.transport.tls import server_credentials
from secure.parties.transport.wire_pb2 import Hello
from secure.protocols.core.errors import PartyAbsent, SecureInferenceError

_STREAMS_PER_SESSION = 4
_STREAMS_OF_STOCK = 4
SIGNAL_SECONDS = 0.2  # how long a signal may go unnoticed
_LOG = logging.getLogger("parties")


class PartyServer:
    """One running role. `start` binds the port and serves; `stop` ends every session and frees it."""

    def __init__(
        self, settings: PartiesSettings, role: str, engine: Engine, tracer: SessionTracer | None = None
    ) -> None:
        self.role = role
        self._tracer = tracer or SessionTracer()
        self._settings = settings
        self._registry = Registry(role)
        self._places = Places(role, settings.limits, Quotas(role, settings.quota))
        settings.party(role)  # refuses a role of another protocol
        self._peers = ROLES[settings.protocol][role](role, settings, self._registry)
        key = None if settings.stock is None else find_key(settings.stock.key, settings.stock.dir / role)
        sealed = None if key is None or settings.stock is None else kept_models(settings.stock.dir / role, key, role)
        self._worker = Worker(self._peers, engine, sealed)
        self._stock = None if key is None else StockRoom(settings, self._peers, engine, self._worker, key)
        self._timer = ClientTimer(role, settings.limits)
        self._trust = TrustWatch(self._peers.dialer)
        self._door = Door(role, settings, self._trust, self._timer)
        self._figures = Figures(role, self._places, self._worker, self._peers.dialer.certificates)
        address = settings.parties[role].admin
        self._admin = AdminPort(role, address, self._figures) if address else None
        workers = settings.limits.sessions * _STREAMS_PER_SESSION + 4 + (_STREAMS_OF_STOCK if self._stock else 0)
        workers += settings.limits.queue if role == "p0" else 0
        self._server = grpc.server(
            futures.ThreadPoolExecutor(workers, thread_name_prefix="stream"),
            options=SERVER_OPTIONS,
            maximum_concurrent_rpcs=workers,
        )
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        beside = self._door.beside
        handlers: dict[str, Handler] = {
            "Run": self._run,
            "Abandon": beside("Abandon", self._abandon, "client"),
            "Probe": beside("Probe", _anybody(probe.answer), "whoever asks"),
            "Status": beside("Status", _anybody(self._figures.answer), "whoever asks"),
        }
        for stream in met_on(role, settings.family):
            handlers[stream] = self._exchange if stream == "Exchange" else partial(self._dealt, stream)
        if role == "p0":
            handlers["Queue"] = beside("Queue", self._let_wait, "client")
        streams = self._stock.streams if self._stock else {}
        for stream, serve in streams.items():
            (peer,) = callers(stream, role, settings.family)
            handlers[stream] = beside(stream, _anybody(serve), peer, watched=False)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, _streams(handlers)),))

    def start(self) -> None:
        """Bind the port, take up what was loaded before, and serve.

        Raises PortInUse, or ConfigurationError about certificates.
        """
        listen = self._settings.parties[self.role].listen
        bind(self._server, self.role, listen, server_credentials(self._peers.dialer.certificates))
        self._worker.take_up_models()
        self._server.start()
        self._timer.start()
        self._trust.start()
        for service in ("", SERVICE):
            self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        if self._stock is not None:
            self._stock.start()
        if self._admin is not None:
            self._admin.start()
        _LOG.info("listening on %s", listen)

    def drain(self, at_once: threading.Event) -> None:
        """Begin no session any more, and let those that run come to their end, as long as a party may take to stop.

        at_once: set by whoever will not wait for that.
        """
        self._begin_nothing()
        deadline = time.monotonic() + self._settings.limits.drain_seconds
        while time.monotonic() < deadline and not at_once.is_set():
            if self._registry.wait_until_idle(SIGNAL_SECONDS):
                return

    def stop(self, grace_seconds: float = 0.5) -> None:
        """Stop accepting, end every session, free the port. A session that computes on is among `sessions` then."""
        # Whoever waits for a turn is told why there is none, which takes the stream a moment.
        heard = self._registry.running or self._places.waiting
        self._begin_nothing()
        stop_server(self._server, grace_seconds if heard else 0.0)
        # A gate cannot be interrupted; the interpreter must not end in the middle of one.
        self._registry.wait_until_idle(STOP_SECONDS)
        self._peers.close()
        if self._stock is not None:
            self._stock.join()
        self._timer.stop()
        self._trust.stop()
        if self._admin is not None:
            self._admin.stop()

    def _begin_nothing(self) -> None:
        """Be unready, admit no session, and let the stock rest."""
        self._health.enter_graceful_shutdown()
        self._places.close()
        if self._stock is not None:
            self._stock.give_up()

    @property
    def sessions(self) -> int:
        """Sessions at this moment."""
        return self._registry.running

    @property
    def client_streams(self) -> int:
        """Streams that clients hold open at this moment, those of sessions that have ended included."""
        return self._timer.streams

    # streams

    def _run(self, incoming: Iterator[AnyFrame], context: grpc.ServicerContext) -> Iterator[AnyFrame]:
        link = self._door.link("client", shaped(incoming, self._settings.measure), context)
        watch = self._door.watch(link, context)
        # The handler's thread becomes the sender of this stream, so the session needs one of its own.
        threading.Thread(target=self._serve, args=(link, watch, context), name="session", daemon=True).start()
        return watch.outgoing_frames()

    def _exchange(self, incoming: Iterator[AnyFrame], context: grpc.ServicerContext) -> Iterator[AnyFrame]:
        (before,) = callers("Exchange", self.role, self._settings.family)
        return self._offer(
            "Exchange", self._door.link(before, shaped(incoming, self._settings.measure), context), context
        )

    def _abandon(self, link: Link, hello: Hello, identity: Identity) -> None:
        """A client says why it is about to drop the streams of a session."""
        try:
            link.expect_end()
        except SecureInferenceError as reason:
            self._registry.abandon(hello.session, identity, reason)
        link.post_end()

    def _let_wait(self, link: Link, hello: Hello, identity: Identity) -> None:
        """A client waits for its turn."""
        self._timer.forget(link)  # from here on this role lets the client wait
        self._places.answer(link, hello, identity)

    def _dealt(self, stream: str, incoming: Iterator[AnyFrame], context: grpc.ServicerContext) -> Iterator[AnyFrame]:
        (dealer,), measure = callers(stream, self.role, self._settings.family), self._settings.measure
        limit_bytes = None if measure.offline_first else self._settings.limits.dealer_receive_bytes
        ahead = Prefetch(incoming, limit_bytes, measure)
        link = self._door.link(dealer, ahead, context)
        link.wait_until_complete = ahead.wait_until_complete
        if not context.add_callback(ahead.stop):
            ahead.stop()
        return self._offer(stream, link, context)

    def _serve(self, link: Link, watch: ClientWatch, context: grpc.ServicerContext) -> None:
        """One session, from its Hello to its last frame."""
        session: Session | None = None
        with ExitStack() as ending:
            ending.callback(link.finish)
            try:
                hello = self._door.admit("Run", link, context, watch.end)
                watch.hello_came()
                link.peer = hello.role
                check_kind(hello, self.role, f"{self.role}, Run")
                session = Session(self.role, hello, link, watch, identity_of(hello, context))
                CURRENT.set(session.id)
                asked, kind = context_of(context.invocation_metadata()), KIND_NAMES.get(hello.kind, "")
                session.trace = self._tracer.begin(self.role, kind, session.id, asked)
                ending.callback(lambda served: served.trace.end(served.error), session)
                self._registry.begin(session)
                # After the report: `stop` waits for a session's last word in the log, too.
                ending.callback(self._registry.end, session)
                ending.enter_context(self._places.place(session))
                self._worker.serve(session)
                self._figures.ended(session, None)
            except Exception as error:
                self._report(link, session, error)

    def _offer(self, stream: str, link: Link, context: grpc.ServicerContext) -> Iterator[AnyFrame]:
        """Hold a peer's stream until its session claims it."""
        seconds = self._settings.limits.rendezvous_seconds + OFFER_SECONDS
        try:
            hello = self._door.admit(stream, link, context)
            link.on_lost = lambda detail: self._registry.withdraw(stream, hello.session)
            if not self._registry.offer(stream, link, hello, seconds):
                raise PartyAbsent("client", self.role, seconds)
        except SecureInferenceError as error:
            _LOG.warning("%s refused: %s", stream, error)
            link.post(failure_frame(error, self.role, "the handshake"))
            link.finish()
        return link.outgoing_frames()

    def _report(self, link: Link, session: Session | None, error: Exception) -> None:
        """Log what ended a session, and tell the client."""
        step = "the handshake"
        if session is not None:
            session.fail(error)
            # What the computing thread met may be a consequence of what another thread saw first.
            error, step = session.error or error, session.step
            self._figures.ended(session, error)
        name = f"session {session.id[:8]} {KIND_NAMES.get(session.hello.kind, '')}" if session else "Run"
        if isinstance(error, SecureInferenceError):
            _LOG.warning("%s ended during %s: %s", name, step, error)
        else:
            # A defect. The error's text could hold a value: log and tell only its class and where it was raised.
            where = "".join(traceback.format_tb(error.__traceback__))
            _LOG.error("%s failed during %s with %s\n%s", name, step, type(error).__name__, where)
        if session is None:
            link.post(failure_frame(error, self.role, step))


def _anybody(serve: Served) -> Attend:
    """What serves every caller alike."""
    return lambda link, hello, identity: serve(link, hello)


def _streams(handlers: Mapping[str, Handler]) -> dict[str, grpc.RpcMethodHandler[AnyFrame, AnyFrame]]:
    return {
        name: grpc.stream_stream_rpc_method_handler(handler, request_deserializer=decode, response_serializer=encode)
        for name, handler in handlers.items()
    }
