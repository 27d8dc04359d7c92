"""A client's wait for its turn, where the parties serve as many sessions as they may."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from secure.parties.client.run import Progress
from secure.parties.session.handshake import as_role, compare, new_session_id
from secure.parties.transport.dialer import Dialer
from secure.parties.transport.wire_pb2 import Frame, Hello, Kind
from secure.protocols.core.errors import PartyLost, ProtocolError, ServerBusy

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0
"""Seconds between the turn at p0 and the next try, where another party was not ready for the last one."""


class Patience:
    """How long one call may wait, over all its tries."""

    def __init__(self, dialer: Dialer, seconds: float, progress: Callable[[Progress], None] | None) -> None:
        """seconds: that the client is willing to wait. progress: told the place in the queue, as a layer of p0's."""
        self._dialer = dialer
        self._deadline = time.monotonic() + seconds
        self._progress = progress
        self._pause = 0.0

    def awaited(self, hello: Hello, busy: ServerBusy) -> Hello:
        """Wait at p0 for a place, for the session of the Hello that comes back: `hello`, with an id of its own.

        Raises `busy` itself where that says no time, or one that is longer than the client waits, or when its time is
        over; and what p0 reports.
        """
        if busy.retry_after_seconds is None or busy.retry_after_seconds > self._seconds_left:
            raise busy
        time.sleep(self._pause)
        self._pause = min(max(_FIRST_PAUSE, 2 * self._pause), _LONGEST_PAUSE)
        renewed = Hello()
        renewed.CopyFrom(hello)
        renewed.session = new_session_id()
        if hello.kind == Kind.KIND_LOAD:
            renewed.load_id = renewed.session
        self._wait(renewed, busy)
        return renewed

    @property
    def _seconds_left(self) -> float:
        return self._deadline - time.monotonic()

    def _wait(self, hello: Hello, busy: ServerBusy) -> None:
        link, accept = self._dialer.dial("p0", "Queue", hello)
        timer = threading.Timer(max(0.0, self._seconds_left), link.cancel)
        timer.daemon = True
        timer.start()
        try:
            compare(as_role(hello, self._dialer.role), accept.hello, f"{self._dialer.role} with p0")
            while True:
                frame = link.next_frame()
                if isinstance(frame, Frame) and frame.HasField("end"):
                    link.finish()
                    return
                if not (isinstance(frame, Frame) and frame.HasField("progress")):
                    raise ProtocolError("p0 sent something other than a place in its queue")
                if self._progress is not None:
                    self._progress(Progress("p0", f"waiting, place {frame.progress.index} of the queue", 0))
        except PartyLost:
            if self._seconds_left <= 0:
                raise busy from None
            raise
        except BaseException:
            link.cancel()
            raise
        finally:
            timer.cancel()
