"""All parties compare which deals they have, whenever they meet again, and burn what one of them has not.

p0 opens a stream to each other one and keeps it. When one breaks, that party may have been away, and nothing is spent
until all have compared again. Each other party tells p0 what it has, and hears what p0 has left when all have told.
Each takes the list of which it may burn something before it hears any other, so a deal that comes meanwhile is in no
danger.

Nothing that is said here makes a deal usable. A party that lies about what it has burns stock, and does nothing else.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Sequence

from secure.parties.session.handshake import PROTOCOL_VERSION, as_role, new_session_id
from secure.parties.stock.background import Background
from secure.parties.stock.from_stock import FromStock
from secure.parties.stock.ledger import NAME_BYTES
from secure.parties.stock.store import Store
from secure.parties.transport.dialer import Dialer
from secure.parties.transport.link import Link
from secure.parties.transport.wire_pb2 import Accept, Frame, Hello, Kind
from secure.protocols.core.errors import ProtocolError, SecureInferenceError
from secure.protocols.core.family import Family

PAUSE_SECONDS = 0.2
_LOG = logging.getLogger("parties")


class Comparing:
    """At p0: a thread that keeps the streams to the others, and says in `compared` whether all stocks agree."""

    def __init__(self, dialer: Dialer, family: Family, from_stock: FromStock) -> None:
        self._dialer = dialer
        self._family = family
        self._from_stock = from_stock
        self._links: tuple[Link, ...] = ()
        self.background = Background(
            "stocks are compared again when all parties are there",
            self._compare_and_wait,
            PAUSE_SECONDS,
            level=logging.INFO,
        )

    def start(self) -> None:
        """Begin; once."""
        self.background.start()

    def again(self) -> None:
        """Something showed that the stocks differ: spend nothing until they were compared."""
        self._from_stock.compared.clear()
        for link in self._links:
            link.cancel()

    def stop(self) -> None:
        """End the streams and the thread, and close all of p0's connections."""
        self.background.stop()
        self.again()
        self._dialer.close()  # a party may be waited for
        self.background.join()

    def _compare_and_wait(self) -> None:
        try:
            self._compare()
        finally:
            self._from_stock.compared.clear()
            links, self._links = self._links, ()
            for link in links:
                link.cancel()

    def _compare(self) -> None:
        """Compare once, then wait until a stream ends. Raises PartyLost or PartyUnreachable."""
        hello = Hello(
            protocol_version=PROTOCOL_VERSION,
            session=new_session_id(),
            role="p0",
            kind=Kind.KIND_STOCK,
            family=self._family.name,
        )
        store = self._from_stock.store
        mine = store.names()
        for peer in self._family.computing[1:]:
            self._links += (self._dialer.dial(peer, "Reconcile", hello)[0],)
        if self.background.stopping.is_set():
            return  # `stop` came too early to see the links
        burnt = sum(store.burn_missing(mine, _unpacked(link.receive_message())) for link in self._links)
        left = _packed(store.names())
        for link in self._links:
            link.send_message(left)
        _LOG.info("stocks are compared: %d deals, %d burnt that others do not have", len(mine) - burnt, burnt)
        self._from_stock.compared.set()
        self.background.trouble = ""  # this turn ends when a party goes away, which is no news before
        raise _first_end(self._links)


def _first_end(links: Sequence[Link]) -> SecureInferenceError:
    """How the first of these streams ended, on which nothing more is to come."""
    ends: queue.SimpleQueue[SecureInferenceError] = queue.SimpleQueue()

    def wait(link: Link) -> None:
        try:
            link.next_frame()
            ends.put(ProtocolError(f"{link.peer} goes on after stocks were compared"))
        except SecureInferenceError as error:
            ends.put(error)

    for link in links:
        threading.Thread(target=wait, args=(link,), name=f"compared-{link.peer}", daemon=True).start()
    return ends.get()


def answer_comparison(link: Link, hello: Hello, role: str, store: Store) -> None:
    """At any other party: one comparison, then the stream is held until p0 ends it. Raises PartyLost then."""
    mine = store.settled()
    link.post(Frame(accept=Accept(hello=as_role(hello, role))))
    link.send_message(_packed(store.names()))
    burnt = store.burn_missing(mine, _unpacked(link.receive_message()))
    _LOG.info("stocks are compared: %d deals, %d burnt that others do not have", len(mine) - burnt, burnt)
    link.next_frame()


def _packed(names: list[str]) -> bytes:
    return b"".join(bytes.fromhex(name) for name in names)


def _unpacked(message: memoryview) -> list[str]:
    if len(message) % NAME_BYTES:
        raise ProtocolError(f"a list of deals has {len(message)} bytes, which are no names of {NAME_BYTES}")
    return [message[at : at + NAME_BYTES].hex() for at in range(0, len(message), NAME_BYTES)]
