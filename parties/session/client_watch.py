"""How long a client lets a party wait: for its next frame, or to take what it is sent."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from secure.parties.config import Limits
from secure.parties.transport.frames import AnyFrame
from secure.parties.transport.link import Link
from secure.protocols.core.errors import SessionError

_LOOKS = 4
"""How often late streams are looked for, in the time that one may take."""


class ClientWatch:
    """One stream that a client has opened. Until its Hello has come, something is awaited."""

    def __init__(
        self,
        link: Link,
        role: str,
        seconds: float,
        session_seconds: float = math.inf,
        served: Callable[[Link], None] | None = None,
    ) -> None:
        """served: called when the client's side has taken the last frame."""
        self.on_end: Callable[[Exception], None] | None = None
        """Told why the stream is ended, once there is a session that it belongs to."""
        self._link = link
        self._role = role
        self._seconds = seconds
        self._session_seconds = session_seconds
        self._served = served
        self._session_since: float | None = None
        self._awaited_since: float | None = time.monotonic()
        self._offered_since: float | None = None

    def hello_came(self) -> None:
        """A session begins. From here on something is awaited inside `awaiting` alone."""
        self._session_since = time.monotonic()
        self._awaited_since = None

    @contextmanager
    def awaiting(self) -> Iterator[None]:
        """Inside the block something of the client is awaited."""
        self._awaited_since = time.monotonic()
        try:
            yield
        finally:
            self._awaited_since = None

    def outgoing_frames(self) -> Iterator[AnyFrame]:
        """The link's. gRPC asks for the next one when the client's side has room for it."""
        for frame in self._link.outgoing_frames():
            self._offered_since = time.monotonic()
            yield frame
            self._offered_since = None
        if self._served is not None:
            self._served(self._link)

    def end_if_late(self) -> None:
        """End the stream, and the session that it belongs to, where the client has let it wait for too long, or the
        session takes more time than one may."""
        if self._session_since is not None and time.monotonic() - self._session_since > self._session_seconds:
            self.end(
                SessionError(
                    f"the session has taken {self._session_seconds:g} s at {self._role}, where [limits] "
                    "session_seconds ends it; ask for less at a time"
                )
            )
            return
        oldest, link = time.monotonic() - self._seconds, self._link
        awaited, offered = self._awaited_since, self._offered_since
        stuck = offered is not None and offered < oldest
        if not stuck and (awaited is None or max(awaited, link.heard_at) >= oldest):
            return
        what = f"{link.peer} to take what it is sent" if stuck else f"{link.step()} from {link.peer}"
        reason = SessionError(
            f"{self._role} waited {self._seconds:.0f} s for {what}; a session that is left idle is ended, open another "
            "one"
        )
        self.end(reason)
        if stuck:
            link.cancel()

    def end(self, reason: Exception) -> None:
        """End the session that the stream belongs to, or the stream where there is none yet."""
        if self.on_end is not None:
            self.on_end(reason)
        else:
            self._link.cancel()


class ClientTimer:
    """The one thread of a server that looks for idle streams, and for sessions that go on for too long."""

    def __init__(self, role: str, limits: Limits) -> None:
        self._role = role
        self._limits = limits
        self._watches: dict[Link, ClientWatch] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._look, name="idle", daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()

    def watch(self, link: Link) -> ClientWatch:
        """Look at this stream, too, until `forget`."""
        seconds = self._limits.idle_seconds, self._limits.session_seconds
        # Not left to gRPC's word alone that the stream is over: where a client is gone in the moment in which its
        # stream is finished, none was seen to come.
        watch = ClientWatch(link, self._role, *seconds, served=self.forget)
        with self._lock:
            self._watches[link] = watch
        return watch

    def forget(self, link: Link) -> None:
        """The stream is over."""
        with self._lock:
            self._watches.pop(link, None)

    @property
    def streams(self) -> int:
        """Streams of clients at this moment."""
        return len(self._watches)

    def _look(self) -> None:
        shortest = min(self._limits.idle_seconds, self._limits.session_seconds)
        while not self._stopping.wait(shortest / _LOOKS):
            with self._lock:
                watches = list(self._watches.values())
            for watch in watches:
                watch.end_if_late()
