"""How far another party is: a stream on which it gives back each message's arrival, and nothing else.

Whoever has a certificate may ask, as whoever has one may open a session. A message is zeros, is dropped, and is
answered by an empty one. What one stream may send is bounded.
"""

from __future__ import annotations

import time

from secure.models.latency import NetworkLink
from secure.parties.session.handshake import PROTOCOL_VERSION, new_session_id
from secure.parties.transport.dialer import Dialer
from secure.parties.transport.link import Link
from secure.parties.transport.wire_pb2 import Accept, Frame, Hello
from secure.protocols.core.errors import PartyLost, ProtocolError

LARGE_BYTES = 8 << 20
"""A message that shows the bandwidth: a third of a second at 200 Mbps."""
_SMALL_TIMES, _FEW_TIMES, _LARGE_TIMES = 10, 5, 3
_MOST_MESSAGES = _SMALL_TIMES + _LARGE_TIMES + 1
_UNMEASURABLE_SECONDS = 1e-4
"""Less than that says nothing of a bandwidth, but that it is large."""


def answer(link: Link, hello: Hello) -> None:
    """The asked party's side. Raises ProtocolError for more messages, or larger ones, than a measurement has."""
    link.post(Frame(accept=Accept(hello=hello)))
    for _ in range(_MOST_MESSAGES):
        try:
            message = link.receive(LARGE_BYTES)
        except PartyLost:
            return  # it has seen enough
        if isinstance(message, Frame):
            if message.HasField("end"):
                link.post_end()
                return
            raise ProtocolError(f"{link.peer} sent {message.WhichOneof('control')} where a measurement was under way")
        link.send_message(b"")
    raise ProtocolError(f"{link.peer} sent more than {_MOST_MESSAGES} messages of a measurement")


def asked(dialer: Dialer, family: str, peer: str) -> Link:
    """A stream to a party that answers measurements. Raises PartyUnreachable, and what the party reports."""
    hello = Hello(protocol_version=PROTOCOL_VERSION, session=new_session_id(), role=dialer.role, family=family)
    return dialer.dial(peer, "Probe", hello)[0]


def measure(link: Link) -> NetworkLink:
    """The asking side, after the Accept: the least time of an empty message, and what a large one takes beyond that.

    The first large one opens TCP's window, which a session's messages find open, too.
    """
    empty = _least(link, b"", _SMALL_TIMES)
    zeros = bytes(LARGE_BYTES)
    full = _least(link, zeros, _LARGE_TIMES)
    _end(link)
    return NetworkLink(empty, 8 * LARGE_BYTES / max(full - empty, _UNMEASURABLE_SECONDS))


def round_trip_seconds(link: Link) -> float:
    """The asking side, after the Accept, where bandwidth does not matter: the least of a few empty messages."""
    seconds = _least(link, b"", _FEW_TIMES)
    _end(link)
    return seconds


def _least(link: Link, payload: bytes, times: int) -> float:
    return min(_seconds(link, payload) for _ in range(times))


def _end(link: Link) -> None:
    link.post_end()
    link.expect_end()


def _seconds(link: Link, payload: bytes) -> float:
    began = time.perf_counter()
    link.send_message(payload)
    link.receive_message(0)
    return time.perf_counter() - began
