"""p0 and p1 of the hybrid protocol in a session: one stream between them, and nobody else."""

from __future__ import annotations

from collections.abc import Callable

from secure.parties.config import PartiesSettings
from secure.parties.roles.engine import SessionTools
from secure.parties.roles.hybrid.shelves import ReadShelf
from secure.parties.roles.hybrid.tools import Readiness, TwoPartyTools
from secure.parties.roles.role import StockedRole
from secure.parties.session.session import Registry, Session
from secure.parties.stock.store import Deal
from secure.parties.transport.link import GrpcChannel
from secure.parties.transport.wire_pb2 import Kind
from secure.protocols.core.errors import ProtocolError
from secure.protocols.hybrid.packages import check_installed
from secure.protocols.hybrid.stock import Stock


class OneOfTwo(StockedRole):
    """p0 dials p1. What a session takes comes from both stocks, or is made in it, before the input."""

    def __init__(self, name: str, settings: PartiesSettings, registry: Registry) -> None:
        """Raises ConfigurationError where a package is missing that this family needs."""
        check_installed()
        super().__init__(name, settings, registry)

    def take(self, session: Session) -> Deal | None:
        session.hello.garbler = self.settings.garbler  # which is part of what a deal was made for
        return super().take(session)

    def join(self, session: Session, deal: Deal | None = None) -> SessionTools:
        if session.hello.kind == Kind.KIND_LOAD or not session.hello.from_stock:
            link, deal = (self.dial if self.name == "p0" else self.claim)(session, self._other, "Exchange"), None
        else:
            link, deal = self.meet(session, deal)
        ready = Readiness()
        if deal is not None:
            if deal.tape is None:
                raise ProtocolError("a deal of this stock has no tape; it was not made by this protocol")
            shelf = ReadShelf(deal.tape)
            ready.stock = Stock(self._index, bytes.fromhex(deal.name), self.settings.garbler, deal.seeds, shelf)
            ready.from_stock = True
        return TwoPartyTools(
            number=self._index,
            session=bytes.fromhex(session.id),
            garbler=self.settings.garbler,
            peer=GrpcChannel(link),
            on_layer=session.on_layer,
            making=_told_of_making(session),
            loading=session.hello.kind == Kind.KIND_LOAD,
            ready=ready,
        )

    @property
    def _index(self) -> int:
        return self.settings.family.computing.index(self.name)

    @property
    def _other(self) -> str:
        return self.settings.family.computing[1 - self._index]


def _told_of_making(session: Session) -> Callable[[str], None]:
    """A layer of the making begins: remember it for errors, stop here when the session has failed meanwhile."""

    def told(layer: str) -> None:
        session.check()
        session.step = f"making correlations for {layer}"

    return told
