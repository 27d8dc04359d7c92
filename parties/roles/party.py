"""p0 and p1 of the beaver protocol in a session: how they meet the dealer and each other."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import torch

from secure.parties.roles.engine import SessionTools
from secure.parties.roles.role import OFFLINE_IS_DONE, SEED_BYTES, StockedRole, receive_seed
from secure.parties.roles.working_ahead import AheadTools
from secure.parties.session.session import Session
from secure.parties.stock.store import Deal
from secure.parties.transport.link import GrpcChannel, Link
from secure.parties.transport.wire_pb2 import Frame, Kind, Progress
from secure.protocols.beaver.ahead import BeaverAhead
from secure.protocols.beaver.family import BEAVER
from secure.protocols.beaver.protocol import BeaverParty
from secure.protocols.core.channel import Channel
from secure.protocols.core.cost import Meter
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.masked.ahead import Ahead


@dataclass(frozen=True)
class PartyTools(SessionTools):
    """What p0 (role 0) or p1 (role 1) computes with in one session."""

    family = BEAVER

    role: int
    session: bytes
    seed: bytes
    common_seed: bytes
    peer: Channel
    dealer: Channel | None
    on_layer: Callable[[str], None]
    apart: bool = False
    ahead: Ahead | None = None

    @property
    def index(self) -> int:
        return self.role

    def protocol(self, policy: FixedPointPolicy, meter: Meter, device: torch.device) -> BeaverParty:
        return BeaverParty(
            self.role,
            self.seed,
            self.session,
            self.peer,
            self.dealer,
            policy,
            common_seed=self.common_seed,
            meter=meter,
            on_layer=self.on_layer,
            device=device,
            ahead=self.ahead,
        )


@dataclass
class PartyAheadTools(AheadTools):
    """What p0 (role 0) or p1 (role 1) works ahead with."""

    family = BEAVER

    role: int
    found: BeaverAhead | None = None

    def protocol(self, policy: FixedPointPolicy, meter: Meter, device: torch.device) -> BeaverAhead:
        of = self.role, self.deal.seeds, bytes.fromhex(self.deal.name), self.deal.tape
        self.found = BeaverAhead(*of, policy, check=self.check, device=device)
        return self.found

    @property
    def made(self) -> Ahead | None:
        return None if self.found is None else self.found.made


class ComputingRole(StockedRole):
    """p0 dials p1; both are dialled by the dealer, where their correlations do not come from stock."""

    def walks_ahead(self, deal: Deal, check: Callable[[], None]) -> list[AheadTools]:
        """Tools for this party's one walk."""
        return [PartyAheadTools(deal, check, int(self.name == "p1"))]

    def join(self, session: Session, deal: Deal | None = None) -> SessionTools:
        if not session.hello.from_stock:
            return self._join_live(session, None)
        # p0 says first whether there is a deal; only where there is none, the client asks the dealer.
        exchange, deal = self.meet(session, deal)
        if deal is None:
            return self._join_live(session, exchange)
        ahead = self.taken_ahead(session, deal)
        return PartyTools(
            role=0 if self.name == "p0" else 1,
            session=bytes.fromhex(deal.name),
            seed=deal.seeds,
            common_seed=self._common_seed(exchange),
            peer=GrpcChannel(exchange),
            dealer=deal.tape,
            on_layer=session.on_layer,
            ahead=None if ahead is None else ahead[0],
        )

    @property
    def _other(self) -> str:
        return "p1" if self.name == "p0" else "p0"

    def _common_seed(self, exchange: Link) -> bytes:
        """A fresh seed of this session that p0 and p1 alone have, also where the others come from a deal."""
        if self.name == "p0":
            return receive_seed(exchange)
        # p1 draws it: it goes out right after p1's Accept, for which p0 waits anyway.
        drawn = os.urandom(SEED_BYTES)
        exchange.send_message(drawn)
        return drawn

    def _join_live(self, session: Session, exchange: Link | None) -> SessionTools:
        """With the dealer on line. exchange: the link to the other party, where it stands."""
        # The other party first: where it cannot come, nothing that the dealer then does is to look like the reason.
        if exchange is None:
            exchange = (self.dial if self.name == "p0" else self.claim)(session, self._other, "Exchange")
        deal = self.claim(session, "dealer", "Deal")
        common_seed = self._common_seed(exchange)
        seed = receive_seed(deal)
        if session.hello.kind == Kind.KIND_PREDICT and self.settings.measure.offline_first:
            session.ask_dealer(wanted=True)
        if self.name == "p1" and self.settings.measure.offline_first:
            session.step = "the dealer's stream"
            assert deal.wait_until_complete is not None
            deal.wait_until_complete()
            session.check()
            session.run.post(Frame(progress=Progress(layer=OFFLINE_IS_DONE)))
        return PartyTools(
            role=0 if self.name == "p0" else 1,
            session=bytes.fromhex(session.id),
            seed=seed,
            common_seed=common_seed,
            peer=GrpcChannel(exchange),
            # p0 expands all it needs from its seed.
            dealer=None if self.name == "p0" else GrpcChannel(deal),
            on_layer=session.on_layer,
            apart=self.settings.stock is not None,
        )
