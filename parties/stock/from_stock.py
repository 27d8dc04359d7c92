"""The computing parties in a session that takes its correlations from stock: the dealer has no part in it.

The order is what makes a deal serve one session at the most: p0 commits that it is spent, tells p1 its name, p1 commits
the same, then accepts; nothing that depends on the deal's masks is sent before. Of three, p1 tells p2, and p2 tells p0:
see `secure.protocols.witnessed`. Nothing is ever taken back: a session that fails has used its deal up, and whoever
calls again gets another one.
"""

from __future__ import annotations

import logging
import threading
import time

from secure.parties.session.session import Session
from secure.parties.stock.binding import Binding, short_name
from secure.parties.stock.store import Deal, Store
from secure.parties.transport.wire_pb2 import Hello
from secure.protocols.core.errors import HandshakeError, NoCorrelations

SPENT = "deal %s is spent after %.4f s"
_LOG = logging.getLogger("parties")


class FromStock:
    """One party's way from a session to a deal.

    compared: p0's word that all stocks were compared since the last of the other parties came up.
    """

    def __init__(self, store: Store, *, fallback: bool, wait_seconds: float) -> None:
        """fallback: whether a session for which nothing is there goes to the live dealer. wait_seconds: for others."""
        self.store = store
        self.compared = threading.Event()
        self._fallback = fallback
        self._wait_seconds = wait_seconds

    def take(self, session: Session) -> Deal | None:
        """At p0: spend the oldest deal for this session; None sends it to the live dealer. Raises NoCorrelations."""
        try:
            if not self.compared.is_set() and not self.compared.wait(0.0 if self._fallback else self._wait_seconds):
                raise NoCorrelations(
                    "p0 has not compared its stock with the others' since one was away; repeat the call"
                )
            began = time.monotonic()
            deal = self.store.spend_oldest(session.id, Binding.of(session.hello))
            _LOG.info(SPENT, short_name(deal.name), time.monotonic() - began)
        except NoCorrelations:
            if self._fallback:
                return None
            raise
        session.hello.deal = deal.name
        return deal

    def adopt(self, session: Session, offered: Hello) -> Deal | None:
        """At any other party: spend the deal that it hears of; None where there is none. Raises NoCorrelations."""
        if not offered.deal:
            return None
        began = time.monotonic()
        deal = self.store.spend(session.id, offered.deal, Binding.of(session.hello))
        _LOG.info(SPENT, short_name(deal.name), time.monotonic() - began)
        session.hello.deal = deal.name
        return deal


def no_stock(role: str, offered: Hello) -> None:
    """What a party without a stock says to the name of a deal. Raises HandshakeError for any."""
    if offered.deal:
        where = f"{role} with {offered.role}"
        raise HandshakeError("source of correlations", "no [stock] in its settings", "stock", where)
