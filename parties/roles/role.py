"""How a role meets its peers in a session, and how they part."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from secure.parties.config import PartiesSettings
from secure.parties.roles.engine import Tools
from secure.parties.session.handshake import as_role, compare
from secure.parties.session.session import Registry, Session
from secure.parties.stock.store import Deal
from secure.parties.transport.dialer import CLAIM_SECONDS, Dialer
from secure.parties.transport.link import Link
from secure.parties.transport.wire_pb2 import Accept, End, Frame, Hello
from secure.protocols.core.errors import HandshakeError, PartyAbsent, ProtocolError

SEED_BYTES = 16
OFFLINE_IS_DONE = "the dealer's stream is in"
"""p1's first word to the client when phases are measured apart: all that the dealer sends has come."""


class Role(ABC):
    """How one role joins its peers for a session and leaves them."""

    def __init__(self, name: str, settings: PartiesSettings, registry: Registry) -> None:
        self.name = name
        self.settings = settings
        self.registry = registry
        self.dialer = Dialer(settings, name)

    def take(self, session: Session) -> Deal | None:
        """A deal from stock, before the client is accepted, where this role chooses it. Raises NoCorrelations."""
        return None

    @abstractmethod
    def join(self, session: Session, deal: Deal | None = None) -> Tools:
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
            link.expect_end(discard=discard and link.peer == "dealer")
            # Only now: an answering side that finishes its stream can read nothing more from it.
            link.finish()

    def dial(self, session: Session, peer: str, stream: str, send_budget_bytes: int | None = None) -> Link:
        """Open a stream to `peer` for this session and compare views of it."""
        ours = as_role(session.hello, self.name)
        link, accept = self.dialer.dial(peer, stream, ours, send_budget_bytes, session.dialled)
        session.attach(link)
        compare(ours, accept.hello, f"{self.name} with {peer}")
        if accept.hello.role != peer:
            raise HandshakeError("role", peer, accept.hello.role, f"{self.name} with {peer}")
        return link

    def meet_in_circle(self, session: Session) -> tuple[int, Link, Link]:
        """Each computing role dials the one after it. This one's place among them, and its links to both neighbours."""
        names = self.settings.family.computing
        index = names.index(self.name)
        after, before = names[(index + 1) % len(names)], names[index - 1]
        # Whoever is dialled answers when it claims the stream: one of them must begin by dialling.
        if index == 0:
            to_next = self.dial(session, after, "Exchange")
            to_previous = self.claim(session, before, "Exchange")
        else:
            to_previous = self.claim(session, before, "Exchange")
            to_next = self.dial(session, after, "Exchange")
        return index, to_next, to_previous

    def claim(self, session: Session, peer: str, stream: str, adopt: Callable[[Hello], None] | None = None) -> Link:
        """Wait for the stream that `peer` opens for this session, compare views of it, and accept it.

        adopt: called with the peer's view before it is accepted, takes over the deal that it names, or raises.
        """
        seconds = self.settings.limits.rendezvous_seconds + CLAIM_SECONDS
        offer = self.registry.claim(session, stream, seconds)
        if offer is None:
            raise PartyAbsent(peer, self.name, seconds)
        session.attach(offer.link)
        ours = as_role(session.hello, self.name)
        if adopt is not None:
            ours.deal = offer.hello.deal
        compare(ours, offer.hello, f"{self.name} with {peer}")
        if adopt is not None:
            adopt(offer.hello)
        offer.link.post(Frame(accept=Accept(hello=ours)))
        return offer.link


def receive_seed(link: Link) -> bytes:
    """A seed that the peer has drawn. Raises ProtocolError for another number of bytes."""
    seed = bytes(link.receive_message(max_bytes=SEED_BYTES))
    if len(seed) != SEED_BYTES:
        raise ProtocolError(f"{link.peer}'s seed has {len(seed)} bytes instead of {SEED_BYTES}")
    return seed
