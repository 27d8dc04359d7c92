"""p0 and p1 compare which deals they have, whenever they meet again, and burn what only one of them has.

p0 opens a stream and keeps it. When it breaks, p1 may have been away, and nothing is spent until both have compared
again. Each side takes its own list before it hears the other's, so a deal that comes meanwhile is in no danger.
"""

from __future__ import annotations

import logging

from secure.parties.session.handshake import PROTOCOL_VERSION, as_role, new_session_id
from secure.parties.stock.background import Background
from secure.parties.stock.from_stock import FromStock
from secure.parties.stock.ledger import NAME_BYTES
from secure.parties.stock.store import Store
from secure.parties.transport.dialer import Dialer
from secure.parties.transport.link import Link
from secure.parties.transport.wire_pb2 import Accept, Frame, Hello, Kind
from secure.protocols.core.errors import ProtocolError

PAUSE_SECONDS = 0.2
_LOG = logging.getLogger("parties")


class Comparing:
    """At p0: a thread that keeps the stream to p1, and says in `compared` whether both stocks are known to agree."""

    def __init__(self, dialer: Dialer, family: str, from_stock: FromStock) -> None:
        self._dialer = dialer
        self._family = family
        self._from_stock = from_stock
        self._link: Link | None = None
        self.background = Background(
            "stocks are compared again when p1 is there", self._compare_and_wait, PAUSE_SECONDS, level=logging.INFO
        )

    def start(self) -> None:
        """Begin; once."""
        self.background.start()

    def again(self) -> None:
        """Something showed that the stocks differ: spend nothing until they were compared."""
        self._from_stock.compared.clear()
        link = self._link
        if link is not None:
            link.cancel()

    def stop(self) -> None:
        """End the stream and the thread, and close all of p0's connections."""
        self.background.stop()
        self.again()
        self._dialer.close()  # p1 may be waited for
        self.background.join()

    def _compare_and_wait(self) -> None:
        try:
            self._compare()
        finally:
            self._from_stock.compared.clear()

    def _compare(self) -> None:
        """Compare once, then wait until the stream ends. Raises PartyLost or PartyUnreachable."""
        hello = Hello(
            protocol_version=PROTOCOL_VERSION,
            session=new_session_id(),
            role="p0",
            kind=Kind.KIND_STOCK,
            family=self._family,
        )
        link, _ = self._dialer.dial("p1", "Reconcile", hello)
        self._link = link
        try:
            if self.background.stopping.is_set():
                return  # `stop` came too early to see the link
            mine = self._from_stock.store.names()
            link.send_message(_packed(mine))
            burnt = self._from_stock.store.burn_missing(mine, _unpacked(link.receive_message()))
            _LOG.info("stocks are compared: %d deals, %d burnt that p1 does not have", len(mine) - burnt, burnt)
            self._from_stock.compared.set()
            self.background.trouble = ""  # this turn ends when p1 goes away, which is no news before
            link.next_frame()
        finally:
            self._link = None
            link.cancel()


def answer_comparison(link: Link, hello: Hello, store: Store) -> None:
    """At p1: one comparison, then the stream is held until p0 ends it. Raises PartyLost then."""
    mine = store.settled()
    link.post(Frame(accept=Accept(hello=as_role(hello, "p1"))))
    theirs = _unpacked(link.receive_message())
    link.send_message(_packed(store.names()))
    burnt = store.burn_missing(mine, theirs)
    _LOG.info("stocks are compared: %d deals, %d burnt that p0 does not have", len(mine) - burnt, burnt)
    link.next_frame()


def _packed(names: list[str]) -> bytes:
    return b"".join(bytes.fromhex(name) for name in names)


def _unpacked(message: memoryview) -> list[str]:
    if len(message) % NAME_BYTES:
        raise ProtocolError(f"a list of deals has {len(message)} bytes, which are no names of {NAME_BYTES}")
    return [message[at : at + NAME_BYTES].hex() for at in range(0, len(message), NAME_BYTES)]
