"""One session at one role: its links, its current step, and the one error that ends it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass

from secure.parties.config import DEALERS
from secure.parties.session.client_watch import ClientWatch
from secure.parties.session.tracing import SessionTrace
from secure.parties.session.transcript import Transcript
from secure.parties.transport.failures import failure_frame, one_line
from secure.parties.transport.identity import Identity
from secure.parties.transport.link import Link
from secure.parties.transport.wire_pb2 import Frame, Hello, Join, Progress
from secure.protocols.core.errors import HandshakeError, PartyLost, SessionError

_LOG = logging.getLogger("parties")
_IDS_KEPT = 1 << 14
"""Session ids that are remembered. An older one could be used again, and would harm nobody: seeds are fresh in each."""
CURRENT: ContextVar[str] = ContextVar("session", default="")
"""The id of the session that this thread serves, for its lines in the log."""
FAILURE_SECONDS = 0.3
"""How long a failure notice may take to reach a peer before the stream to it is dropped."""


class Session:
    """State that the threads of one session share. The first error wins; everything later is a consequence of it."""

    def __init__(self, role: str, hello: Hello, run: Link, watch: ClientWatch, identity: Identity) -> None:
        self.role = role
        self.identity = identity
        self.hello = hello
        self.run = run
        self.peers: list[Link] = []
        self.transcript = Transcript()
        self.trace = SessionTrace()
        self.error: Exception | None = None
        self.step = "the handshake"
        self.started = time.monotonic()
        self._cpu = time.thread_time()
        self.on_failed: Callable[[], None] | None = None
        self._layers = 0
        self._asked_dealer = False
        self._dialled: dict[str, Link] = {}
        self._lock = threading.Lock()
        self._watch = watch
        watch.on_end = self.fail
        run.step = lambda: self.step
        run.on_lost = lambda detail: self.fail(PartyLost(run.peer, self.step, detail))

    @property
    def id(self) -> str:
        return self.hello.session

    def dialled(self, link: Link) -> None:
        """Drop `link`, which its peer has not accepted yet, when the session ends. Raises the error of one that has."""
        with self._lock:
            self._dialled[link.peer] = link
        if self.error is not None:
            link.cancel()
            self.check()

    def attach(self, link: Link) -> None:
        """Make `link` part of this session: when it breaks the session ends, and the other way round."""
        link.step = lambda: self.step
        link.on_lost = lambda detail: self.fail(PartyLost(link.peer, self.step, detail))
        link.on_failure = self.fail
        with self._lock:
            self._dialled.pop(link.peer, None)
            self.peers.append(link)
        if self.error is not None:
            link.cancel()
            self.check()

    def cpu_seconds(self) -> float:
        """Processor time since the session began of the thread that made it, which must call.

        That of the threads that move messages is the process's, and would tell a client of others' sessions.
        """
        return time.thread_time() - self._cpu

    def watch_peers(self) -> None:
        """Before waiting for the client: hear of a peer's failure meanwhile, as nothing else reads its link."""
        for link in self.peers:
            link.look_ahead()

    def ask_dealer(self, *, wanted: bool) -> None:
        """Tell each dealer, where there is one, whether the client wants something computed. Only once."""
        dealers = [link for link in self.peers if link.peer in DEALERS]
        if dealers and not self._asked_dealer:
            self._asked_dealer = True
            for link in dealers:
                link.post(Frame(join=Join(wanted=wanted)))

    def client_awaited(self) -> AbstractContextManager[None]:
        """Inside the block the client is waited for. The session ends when it lets this role wait for too long."""
        return self._watch.awaiting()

    def on_layer(self, layer: str) -> None:
        """A layer begins: remember it for errors, tell the client, stop here when the session has failed meanwhile."""
        self.check()
        self.step = layer
        self.trace.layer(layer)
        self.run.post(Frame(progress=Progress(layer=layer, index=self._layers)))
        self._layers += 1

    def check(self) -> None:
        """Raise the session's error, if it has one."""
        if self.error is not None:
            raise self.error

    def fail(self, error: Exception) -> None:
        """End the session with `error`, unless it has failed already: tell peers and client, then wake who waits.

        Peers may have fallen silent, so their streams are dropped. The client's ends by itself after its last frame: if
        it were dropped, the client might see that this role went away, and not what this role has to say.
        """
        with self._lock:
            if self.error is not None:
                return
            self.error = error
            peers, dialled = list(self.peers), list(self._dialled.values())
        _cancel_all(dialled)
        for link in (*peers, self.run):
            link.on_lost = None
            link.post(failure_frame(error, self.role, self.step))
            link.finish()
        if self.on_failed is not None:
            self.on_failed()
        timer = threading.Timer(FAILURE_SECONDS, _cancel_all, [peers])
        timer.daemon = True
        timer.start()


def _cancel_all(links: list[Link]) -> None:
    for link in links:
        link.cancel()


@dataclass
class OfferedStream:
    """A stream that a peer opened for a session which this role may not have heard of yet."""

    link: Link
    hello: Hello
    claimed: threading.Event


class Registry:
    """Session ids that were used of late, and the meeting place of streams and sessions."""

    def __init__(self, role: str) -> None:
        self._role = role
        self._used: dict[tuple[str, str], Identity | None] = {}
        self._running: dict[str, Session] = {}
        self._offers: dict[tuple[str, str], OfferedStream] = {}
        self._changed = threading.Condition()

    def begin(self, session: Session) -> None:
        """Count a session in. Raises HandshakeError when its id was used."""
        with self._changed:
            self._use(session.id, "Run", session.identity)
            self._running[session.id] = session

    def end(self, session: Session) -> None:
        """Count a session out."""
        with self._changed:
            self._running.pop(session.id, None)
            self._changed.notify_all()

    def abandon(self, session_id: str, identity: Identity, reason: Exception) -> None:
        """End a session as its own client asks for; of one that has ended, only the client's reason is logged, once."""
        key, said = (session_id, "Run"), f"the client ended it: {one_line(str(reason))}"
        with self._changed:
            if self._used.get(key) != identity:
                return
            self._used[key] = None
            session = self._running.get(session_id)
        if session is not None and session.error is None:
            session.fail(SessionError(said))
        else:
            _LOG.warning("session %s: %s", session_id[:8], said)

    def wait_until_idle(self, timeout_seconds: float) -> bool:
        """Wait until no session runs; False after the time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._running, timeout_seconds)

    @property
    def running(self) -> int:
        """Sessions at this moment."""
        return len(self._running)

    def offer(self, stream: str, link: Link, hello: Hello, seconds: float) -> bool:
        """Hold a peer's stream until its session claims it or it is withdrawn; False when neither was in `seconds`."""
        offer = OfferedStream(link, hello, threading.Event())
        key = (hello.session, stream)
        with self._changed:
            self._use(hello.session, stream)
            if link.lost:
                return True  # whoever withdraws it found nothing yet
            self._offers[key] = offer
            self._changed.notify_all()
        if offer.claimed.wait(seconds):
            return True
        with self._changed:
            return self._offers.pop(key, None) is None

    def withdraw(self, stream: str, session_id: str) -> None:
        """A stream that was held for its session is gone."""
        with self._changed:
            offer = self._offers.pop((session_id, stream), None)
        if offer is not None:
            offer.claimed.set()

    def claim(self, session: Session, stream: str, seconds: float) -> OfferedStream | None:
        """The stream that a peer opened for `session`, waiting for it; None when it did not come within `seconds`."""
        key = (session.id, stream)
        session.on_failed = self._wake
        with self._changed:
            self._changed.wait_for(lambda: key in self._offers or session.error is not None, seconds)
            offer = self._offers.pop(key, None)
        session.check()
        if offer is not None:
            offer.claimed.set()
        return offer

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _use(self, session_id: str, stream: str, identity: Identity | None = None) -> None:
        if (session_id, stream) in self._used:
            raise HandshakeError("session id", "an id that was not used before", session_id, f"{self._role}, {stream}")
        self._used[session_id, stream] = identity
        if len(self._used) > _IDS_KEPT:
            self._used.pop(next(iter(self._used)))
