"""The one thing that a protocol asks of a network: ordered messages to and from one peer.

Networking is somebody else's job: `parties` implements `Channel` over gRPC, this file implements it over queues for
tests, once faithfully and once with faults.
"""

from __future__ import annotations

import queue
from abc import ABC, abstractmethod

from secure.protocols.core.errors import PartyLost, ProtocolError

Payload = bytes | bytearray | memoryview


class Channel(ABC):
    """Ordered, reliable messages between this party and one peer."""

    peer: str
    """Role at the other end: 'p0', 'p1' or 'dealer'."""

    @abstractmethod
    def send(self, payload: Payload) -> None:
        """Queue one message for the peer. May block while the peer is slow; raises PartyLost when it is gone.

        The caller must not change the buffer afterwards.
        """

    @abstractmethod
    def receive(self) -> memoryview:
        """The next message, whole. Blocks until it is there; raises PartyLost when none can come any more."""


class QueueChannel(Channel):
    """One end of an in-memory link. For tests only: both ends live in one process."""

    def __init__(
        self,
        peer: str,
        outgoing: queue.Queue[bytes | None],
        incoming: queue.Queue[bytes | None],
        timeout_seconds: float,
    ) -> None:
        self.peer = peer
        self.sent: list[bytes] | None = None
        self._outgoing = outgoing
        self._incoming = incoming
        self._timeout_seconds = timeout_seconds

    def send(self, payload: Payload) -> None:
        message = bytes(payload)
        if self.sent is not None:
            self.sent.append(message)
        self._outgoing.put(message)

    def receive(self) -> memoryview:
        try:
            message = self._incoming.get(timeout=self._timeout_seconds)
        except queue.Empty:
            raise PartyLost(self.peer, "receive", f"no message for {self._timeout_seconds:.0f} s") from None
        if message is None:
            self._incoming.put(None)  # for whoever asks again
            raise PartyLost(self.peer, "receive", "it closed the channel")
        return memoryview(message)

    def close(self) -> None:
        """Send no more: once the peer has received all that was sent, it hears that this end is gone."""
        self._outgoing.put(None)

    def record(self) -> list[bytes]:
        """Keep a copy of every message sent from now on, for tests that look at traffic."""
        self.sent = []
        return self.sent


def queue_channels(first: str, second: str, *, timeout_seconds: float = 60.0) -> tuple[QueueChannel, QueueChannel]:
    """A connected pair: the end that `first` holds, then the end that `second` holds."""
    forward: queue.Queue[bytes | None] = queue.Queue()
    backward: queue.Queue[bytes | None] = queue.Queue()
    return (
        QueueChannel(second, forward, backward, timeout_seconds),
        QueueChannel(first, backward, forward, timeout_seconds),
    )


class FaultyChannel(Channel):
    """Wraps a channel and breaks it at the nth message it sends: 'lose' the peer, 'drop' or 'truncate' the message."""

    def __init__(self, inner: Channel, *, fault: str, at_message: int) -> None:
        if fault not in ("lose", "drop", "truncate"):
            raise ProtocolError(f"unknown fault {fault!r}")
        self.peer = inner.peer
        self._inner = inner
        self._fault = fault
        self._remaining = at_message

    def send(self, payload: Payload) -> None:
        self._remaining -= 1
        if self._remaining != -1:
            return self._inner.send(payload)
        if self._fault == "lose":
            raise PartyLost(self.peer, "send", "injected fault")
        if self._fault == "truncate":
            self._inner.send(bytes(payload)[:-1])
        return None

    def receive(self) -> memoryview:
        return self._inner.receive()
