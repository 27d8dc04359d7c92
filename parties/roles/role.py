"""How a role meets its peers in a session, and how they part."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager

from secure.parties.config import DEALERS, PartiesSettings
from secure.parties.roles.engine import SessionTools
from secure.parties.roles.working_ahead import WorkingAhead
from secure.parties.session import probe
from secure.parties.session.handshake import as_role, compare
from secure.parties.session.session import Registry, Session
from secure.parties.stock.binding import Binding
from secure.parties.stock.from_stock import FromStock, no_stock
from secure.parties.stock.reconciling import Comparing
from secure.parties.stock.store import Deal
from secure.parties.transport.dialer import CLAIM_SECONDS, Dialer
from secure.parties.transport.link import Link
from secure.parties.transport.signing import Signer
from secure.parties.transport.wire_pb2 import Accept, End, Frame, Hello
from secure.protocols.core.errors import HandshakeError, PartyAbsent, ProtocolError, SecureInferenceError
from secure.protocols.core.profile import AUTO, measured
from secure.protocols.masked.ahead import Ahead

SEED_BYTES = 16
_LOG = logging.getLogger("parties")
OFFLINE_IS_DONE = "the dealer's stream is in"
"""p1's first word to the client when phases are measured apart: all that the dealer sends has come."""


class Role(ABC):
    """How one role joins its peers for a session and leaves them."""

    def __init__(self, name: str, settings: PartiesSettings, registry: Registry) -> None:
        self.name = name
        self.settings = settings
        self.registry = registry
        self.dialer = Dialer(settings, name)
        self.signer = Signer(self.dialer.certificates)
        self._named: str | None = None
        """What p0 has named, where its settings leave it open."""

    def take(self, session: Session) -> Deal | None:
        """A deal from stock, before the client is accepted, where this role chooses it. Raises NoCorrelations."""
        return None

    @property
    def profile(self) -> str:
        """The network profile that this role names to clients: its settings' one, or p0's by the way to its peers.

        p0 measures once, the first time that it is asked. Raises PartyUnreachable, PartyLost.
        """
        if self.settings.profile != AUTO or self.name != "p0":
            return self.settings.profile
        if self._named is None:
            peers = [role for role in self.settings.family.computing if role != self.name]
            links = (probe.asked(self.dialer, self.settings.protocol, peer) for peer in peers)
            self._named = measured(max(probe.round_trip_seconds(link) for link in links)).name
            _LOG.info("the network profile is %s", self._named)
        return self._named

    @abstractmethod
    def join(self, session: Session, deal: Deal | None = None) -> SessionTools:
        """Meet the peers. deal: what `take` gave. Raises PartyUnreachable, HandshakeError, or what a peer reports."""

    def close(self) -> None:
        """End what runs beside sessions."""
        self.dialer.close()

    def leave(self, session: Session, *, discard: bool = False) -> None:
        """Part in good order: every link is drained, and no message is left over on any.

        discard: the client ended the session before its last step; the dealer, a step ahead, may have sent more.
        """
        for link in session.peers:
            link.post(Frame(end=End()))
        for link in session.peers:
            link.expect_end(discard=discard and link.peer in DEALERS)
            # Only now: an answering side that finishes its stream can read nothing more from it.
            link.finish()

    def dial(
        self,
        session: Session,
        peer: str,
        stream: str,
        send_budget_bytes: int | None = None,
        first: Sequence[bytes] = (),
    ) -> Link:
        """Open a stream to `peer` for this session and compare views of it. first: as for `Dialer.dial`."""
        ours = self._view(session)
        link, accept = self.dialer.dial(peer, stream, ours, send_budget_bytes, session.dialled, first)
        session.attach(link)
        compare(ours, accept.hello, f"{self.name} with {peer}")
        if accept.hello.role != peer:
            raise HandshakeError("role", peer, accept.hello.role, f"{self.name} with {peer}")
        return link

    @contextmanager
    def meanwhile(self, session: Session, dial: Callable[[], Link]) -> Iterator[Future[Link]]:
        """Dial in a thread while this one meets others in the block. Where it cannot, the session has failed."""
        found: Future[Link] = Future()

        def work() -> None:
            try:
                found.set_result(dial())
            except Exception as error:
                found.set_exception(error)  # for whoever asks for the link

        threading.Thread(target=work, name="dial", daemon=True).start()
        try:
            yield found
        except Exception as error:
            session.fail(error)  # which drops the stream that nobody has accepted yet
            raise

    def _view(self, session: Session) -> Hello:
        """What this role says of a session to a peer: the client's word, and what its own settings add."""
        ours = as_role(session.hello, self.name)
        ours.garbler = self.settings.garbler if self.settings.family.garbles else ""
        return ours

    def meet_in_circle(
        self, session: Session, *, first: Sequence[bytes] = (), then: Sequence[bytes] = ()
    ) -> tuple[Link, Link]:
        """Each computing role dials the one after it, all at the same time. Its links to the next and the previous one.

        first: to the next one, as for `Dialer.dial`. then: to the previous one, as for `claim`.
        """
        after, before = self._neighbours
        with self.meanwhile(session, lambda: self.dial(session, after, "Exchange", first=first)) as dialled:
            to_previous = self.claim(session, before, "Exchange", then=then)
            return dialled.result(), to_previous

    def meet_in_turn(self, session: Session, adopt: Callable[[Hello], None]) -> tuple[Link, Link]:
        """Meet as `meet_in_circle`, one after the other.

        adopt: as for `claim`, of all but p0: it takes over the deal that the one before it names, and then names it to
        the one after it. So p0 hears last from whom it did not tell.
        """
        after, before = self._neighbours
        # Whoever is dialled answers when it claims the stream: one of them must begin by dialling.
        if self.name == self.settings.family.computing[0]:
            to_next = self.dial(session, after, "Exchange")
            return to_next, self.claim(session, before, "Exchange")
        to_previous = self.claim(session, before, "Exchange", adopt)
        return self.dial(session, after, "Exchange"), to_previous

    @property
    def _neighbours(self) -> tuple[str, str]:
        """The computing roles after and before this one."""
        names = self.settings.family.computing
        index = names.index(self.name)
        return names[(index + 1) % len(names)], names[index - 1]

    def claim(
        self,
        session: Session,
        peer: str,
        stream: str,
        adopt: Callable[[Hello], None] | None = None,
        then: Sequence[bytes] = (),
    ) -> Link:
        """Wait for the stream that `peer` opens for this session, compare views of it, and accept it.

        adopt: called with the peer's view before it is accepted, takes over the deal that it names, or raises.
        then: messages that follow the Accept.
        """
        seconds = self.settings.limits.rendezvous_seconds + CLAIM_SECONDS
        offer = self.registry.claim(session, stream, seconds)
        if offer is None:
            raise PartyAbsent(peer, self.name, seconds)
        session.attach(offer.link)
        ours = self._view(session)
        if adopt is not None:
            ours.deal = offer.hello.deal
        compare(ours, offer.hello, f"{self.name} with {peer}")
        if adopt is not None:
            adopt(offer.hello)
        offer.link.post(Frame(accept=Accept(hello=ours)))
        for message in then:
            offer.link.send_message(message)
        return offer.link


class StockedRole(Role):
    """A computing party that may take correlations from the stocks of all.

    from_stock: how, and comparing: p0's comparison of all stocks; None where it keeps no stock.
    working_ahead: what this party does for what is in stock before it is used; None where it does nothing.
    """

    from_stock: FromStock | None = None
    comparing: Comparing | None = None
    working_ahead: WorkingAhead | None = None

    def take(self, session: Session) -> Deal | None:
        if self.name != "p0" or self.from_stock is None or not session.hello.from_stock:
            return None
        return self.from_stock.take(session)

    def close(self) -> None:
        if self.comparing is not None:
            self.comparing.stop()
        super().close()
        if self.from_stock is not None:
            self.from_stock.store.close()

    def meet(self, session: Session, deal: Deal | None) -> tuple[Link, Deal | None]:
        """The link to the other one of two parties, and the deal that both have spent when it stands."""
        if self.name == "p0":
            with self.doubting(deal):
                return self.dial(session, "p1", "Exchange"), deal
        adopted: list[Deal] = []
        link = self.claim(session, "p0", "Exchange", self.adopting(session, adopted))
        return link, adopted[0] if adopted else None

    def adopting(self, session: Session, adopted: list[Deal]) -> Callable[[Hello], None]:
        """What this party does with another one's view of a session: it spends the deal that is named, if one is.

        adopted: gets that deal. What is returned raises NoCorrelations, and HandshakeError where no stock is kept.
        """

        def adopt(offered: Hello) -> None:
            if self.from_stock is None:
                no_stock(self.name, offered)
                return
            deal = self.from_stock.adopt(session, offered)
            if deal is not None:
                adopted.append(deal)

        return adopt

    def taken_ahead(self, session: Session, deal: Deal) -> tuple[Ahead, ...] | None:
        """What this party computed ahead for a deal that it has spent; more such sessions will come."""
        if self.working_ahead is None:
            return None
        self.working_ahead.expect(Binding.of(session.hello), session.hello.request)
        return self.working_ahead.take(deal.name)

    @contextmanager
    def doubting(self, deal: Deal | None) -> Iterator[None]:
        """Where the others cannot be met in the block, p0 compares all stocks before it spends another deal."""
        try:
            yield
        except SecureInferenceError:
            if deal is not None and self.comparing is not None:
                self.comparing.again()
            raise


def receive_seed(link: Link) -> bytes:
    """A seed that the peer has drawn. Raises ProtocolError for another number of bytes."""
    seed = bytes(link.receive_message(max_bytes=SEED_BYTES))
    if len(seed) != SEED_BYTES:
        raise ProtocolError(f"{link.peer}'s seed has {len(seed)} bytes instead of {SEED_BYTES}")
    return seed
