"""p0 and p1 of the beaver protocol in a session: how they meet the dealer and each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from secure.parties.roles.engine import Tools
from secure.parties.roles.role import OFFLINE_IS_DONE, SEED_BYTES, Role
from secure.parties.session.session import Session
from secure.parties.transport.link import GrpcChannel
from secure.parties.transport.wire_pb2 import Frame, Kind, Progress
from secure.protocols.beaver.family import BEAVER
from secure.protocols.beaver.protocol import BeaverParty
from secure.protocols.core.channel import Channel
from secure.protocols.core.cost import Meter
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.fixedpoint import FixedPointPolicy


@dataclass(frozen=True)
class PartyTools(Tools):
    """What p0 (role 0) or p1 (role 1) computes with in one session."""

    family = BEAVER

    role: int
    session: bytes
    seed: bytes
    peer: Channel
    dealer: Channel | None
    on_layer: Callable[[str], None]

    @property
    def index(self) -> int:
        return self.role

    def protocol(self, policy: FixedPointPolicy, meter: Meter, device: torch.device) -> BeaverParty:
        ends = self.peer, self.dealer
        return BeaverParty(
            self.role, self.seed, self.session, *ends, policy, meter=meter, on_layer=self.on_layer, device=device
        )


class ComputingRole(Role):
    """p0 dials p1; both are dialled by the dealer."""

    def join(self, session: Session) -> Tools:
        if self.name == "p0":
            deal = self.claim(session, "dealer", "Deal")
            exchange = self.dial(session, "p1", "Exchange")
        else:
            # p0 first: where it cannot come, nothing that the dealer then does is to look like the reason.
            exchange = self.claim(session, "p0", "Exchange")
            deal = self.claim(session, "dealer", "Deal")
        seed = bytes(deal.receive_message(max_bytes=SEED_BYTES))
        if len(seed) != SEED_BYTES:
            raise ProtocolError(f"the dealer's seed has {len(seed)} bytes instead of {SEED_BYTES}")
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
            peer=GrpcChannel(exchange),
            # p0 expands all it needs from its seed.
            dealer=None if self.name == "p0" else GrpcChannel(deal),
            on_layer=session.on_layer,
        )
