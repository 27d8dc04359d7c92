"""Who may begin a session at a role, and when: places, a queue for them, quotas of clients, and the end of serving.

A session takes a place, and is refused at once where none is free. Whoever would rather wait asks p0 for a turn on a
stream of its own: p0 keeps a place for each session whose turn has come, until the client has opened the session or the
time for that is over. Turns go round among identities, so that one with many requests delays another by one of them.
Nothing here depends on what is computed, but on how many sessions there are and how long they take.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from secure.parties.config import Limits
from secure.parties.session.fair_queue import FairQueue
from secure.parties.session.handshake import as_role
from secure.parties.session.quota import Quotas
from secure.parties.session.session import Session
from secure.parties.transport.identity import Identity
from secure.parties.transport.link import Link
from secure.parties.transport.wire_pb2 import Accept, Frame, Hello, Kind, Progress
from secure.protocols.core.errors import HandshakeError, ServerBusy

_WEIGHT = 0.2
"""Weight of the latest session in the mean of how long they take."""
_LEAST_SECONDS = 1.0
"""What a caller is told to wait at the least."""


@dataclass
class _Turn:
    """One client that waits. place: how many come before it, and itself. came: a place was kept for it, which may be
    overdue before its thread looks. over: it waits no more."""

    session_id: str
    identity: Identity
    told: Callable[[int], None]
    place: int = 0
    came: bool = False
    over: bool = False


@dataclass
class _Taken:
    """A place that is taken, or kept. kept_until: on the monotonic clock; None once the session has begun."""

    identity: Identity
    kept_until: float | None
    since: float = field(default_factory=time.monotonic)


class Places:
    """The places of one role. Safe to use from several threads."""

    def __init__(self, role: str, limits: Limits, quotas: Quotas) -> None:
        self._role = role
        self._limits = limits
        self._quotas = quotas
        self._places: dict[str, _Taken] = {}
        """By session id."""
        self._waiting: FairQueue[Identity, _Turn] = FairQueue()
        self._turns: dict[str, _Turn] = {}
        """By session id, of all whose threads wait, also when their turn has just come."""
        self._mean_seconds: float | None = None
        self._closed = False
        self._changed = threading.Condition()

    def close(self) -> None:
        """Admit nobody any more; whoever waits is told so."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether nobody is admitted any more."""
        return self._closed

    @property
    def taken(self) -> int:
        """Places of sessions that have begun."""
        with self._changed:
            return sum(place.kept_until is None for place in self._places.values())

    @property
    def waiting(self) -> int:
        """Clients that wait for their turn."""
        with self._changed:
            return len(self._waiting)

    @contextmanager
    def place(self, session: Session) -> Iterator[None]:
        """Inside the block the session has a place: the one that was kept for it, or one that is free.

        Its id has no other one: the registry has begun the session before. Raises ServerBusy, with the reason, and when
        it is likely to be otherwise.
        """
        identity = session.identity
        with self._changed:
            self._drop_overdue()
            kept = self._places.get(session.id)
            if kept is None or kept.identity != identity:
                self._check(identity)
                if not self._free or self._waiting:
                    raise self._busy(
                        f"{self._role} already serves {len(self._places)} of the {self._limits.sessions} sessions that "
                        f"its [limits] allow, and {self.waiting} clients wait for a place"
                    )
            place = self._places[session.id] = _Taken(identity, None)
            self._quotas.count(identity, predictions=int(session.hello.kind == Kind.KIND_PREDICT))
        try:
            yield
        finally:
            traffic = session.run.traffic
            self._quotas.count(identity, moved_bytes=traffic.bytes_sent + traffic.bytes_received)
            with self._changed:
                del self._places[session.id]
                seconds = time.monotonic() - place.since
                mean = seconds if self._mean_seconds is None else self._mean_seconds
                self._mean_seconds = mean + _WEIGHT * (seconds - mean)
                self._give_turns()

    def answer(self, link: Link, hello: Hello, identity: Identity) -> None:
        """A client's stream on which it waits: each place in the queue, then the end, when its turn has come.

        Raises what `wait_for_turn` does.
        """
        link.on_lost = lambda detail: self.leave(hello.session, identity)
        link.post(Frame(accept=Accept(hello=as_role(hello, self._role))))
        if self.wait_for_turn(hello.session, identity, lambda place: link.post(Frame(progress=Progress(index=place)))):
            link.post_end()

    def wait_for_turn(self, session_id: str, identity: Identity, told: Callable[[int], None]) -> bool:
        """Wait until a place is kept for the session; False where `leave` was called meanwhile.

        told: called with the place in the queue, 1 for whoever is next, at first and when it has changed.

        Raises ServerBusy when the queue is full, a quota is used up, or the role is about to stop; and HandshakeError
        for the id of a session that waits or has a place.
        """
        turn = _Turn(session_id, identity, told)
        with self._changed:
            self._check(identity)
            if session_id in self._turns or session_id in self._places:
                raise HandshakeError("session id", "an id that was not used before", session_id, f"{self._role}, Queue")
            if self.waiting >= self._limits.queue:
                raise self._busy(f"{self.waiting} clients wait for a place at {self._role} already")
            self._turns[session_id] = turn
            self._waiting.put(identity, turn)
            self._give_turns()
            try:
                while not (turn.over or turn.came):
                    self._say_places()
                    self._changed.wait(self._seconds_to_next())
                    if self._closed:
                        raise self._stopping()
                    self._give_turns()
            finally:
                self._remove(turn)
            return not turn.over

    def leave(self, session_id: str, identity: Identity) -> None:
        """A client waits no more, or does not take the place that is kept for it. Another one's id changes nothing."""
        with self._changed:
            turn, place = self._turns.get(session_id), self._places.get(session_id)
            if turn is not None and turn.identity == identity:
                turn.over = True
            if place is not None and place.kept_until is not None and place.identity == identity:
                del self._places[session_id]
            self._give_turns()

    # With the lock held.

    @property
    def _free(self) -> bool:
        return len(self._places) < self._limits.sessions

    def _check(self, identity: Identity) -> None:
        """Raises ServerBusy where nobody is admitted, or not this one."""
        if self._closed:
            raise self._stopping()
        self._quotas.check(identity, sum(place.identity == identity for place in self._places.values()))

    def _stopping(self) -> ServerBusy:
        return ServerBusy(f"{self._role} is about to stop and begins no session; try again when it was started anew")

    def _busy(self, what: str) -> ServerBusy:
        mean = self._mean_seconds or _LEAST_SECONDS
        seconds = max(_LEAST_SECONDS, mean * (self.waiting + 1) / self._limits.sessions)
        return ServerBusy(f"{what}; try again in about {seconds:.0f} s", seconds)

    def _give_turns(self) -> None:
        """Keep free places for those who wait, one for each identity in turn."""
        self._drop_overdue()
        while self._free and self._waiting and not self._closed:
            (turn,) = self._waiting.take(lambda taken, _: not taken)
            if not turn.over:
                until = time.monotonic() + self._limits.rendezvous_seconds
                self._places[turn.session_id] = _Taken(turn.identity, until)
                turn.came = True
        self._changed.notify_all()

    def _drop_overdue(self) -> None:
        now = time.monotonic()
        for session_id, place in list(self._places.items()):
            if place.kept_until is not None and place.kept_until < now:
                del self._places[session_id]

    def _seconds_to_next(self) -> float | None:
        """Until a place that is kept for somebody is overdue; None where none is."""
        kept = [place.kept_until for place in self._places.values() if place.kept_until is not None]
        return max(0.0, min(kept) - time.monotonic()) if kept else None

    def _say_places(self) -> None:
        """Tell whoever waits, where it has changed: by rounds among identities, as turns are given."""
        for place, turn in enumerate(self._waiting, 1):
            if turn.place != place:
                turn.place = place
                turn.told(place)

    def _remove(self, turn: _Turn) -> None:
        del self._turns[turn.session_id]
        if self._waiting.remove(turn.identity, turn):
            self._changed.notify_all()
