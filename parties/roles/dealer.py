"""The dealer in a session: it dials both parties, hands each its seed, and streams corrections to p1.

For a prediction it begins when both have said, by a Join, that the client's input is coming; then it runs ahead of the
parties as far as its send budget allows. Nothing comes back but an Accept, a Join and an End.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import torch

from secure.parties.roles.engine import SessionTools
from secure.parties.roles.role import SEED_BYTES, Role
from secure.parties.session.session import Session
from secure.parties.stock.store import Deal
from secure.parties.transport.link import GrpcChannel
from secure.protocols.beaver.family import BEAVER
from secure.protocols.beaver.protocol import BeaverDealer
from secure.protocols.core.channel import Channel
from secure.protocols.core.cost import Meter
from secure.protocols.core.fixedpoint import FixedPointPolicy


@dataclass(frozen=True)
class DealerTools(SessionTools):
    """What the dealer computes with in one session: the seeds of p0 and p1, and the way to p1."""

    family = BEAVER

    session: bytes
    seeds: tuple[bytes, bytes]
    to_p1: Channel
    on_layer: Callable[[str], None]

    @property
    def index(self) -> None:
        return None

    def protocol(self, policy: FixedPointPolicy, meter: Meter, device: torch.device) -> BeaverDealer:
        return BeaverDealer(
            self.seeds, self.session, self.to_p1, policy, meter=meter, on_layer=self.on_layer, device=device
        )


class DealingRole(Role):
    """Draws fresh seeds for every session; they exist in memory and inside TLS only."""

    def join(self, session: Session, deal: Deal | None = None) -> SessionTools:
        to_p0 = self.dial(session, "p0", "Deal")
        to_p1 = self.dial(session, "p1", "Deal", self.settings.limits.dealer_send_bytes)
        seeds = (os.urandom(SEED_BYTES), os.urandom(SEED_BYTES))
        to_p0.send_message(seeds[0])
        to_p1.send_message(seeds[1])
        return DealerTools(
            session=bytes.fromhex(session.id), seeds=seeds, to_p1=GrpcChannel(to_p1), on_layer=session.on_layer
        )
