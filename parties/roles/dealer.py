"""The dealer in a session: it dials all parties, hands each its seeds, and streams corrections to all but p0.

For a prediction it begins when all have said, by a Join, that the client's input is coming; then it runs ahead of the
parties as far as its send budget allows. Nothing comes back but an Accept, a Join and an End.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Mapping
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


@dataclass(frozen=True)
class Dealt:
    """What one deal begins with: the dealer's tools, and by role the seeds that this role is to have, in order."""

    tools: SessionTools
    seeds: Mapping[str, tuple[bytes, ...]]


class DealingRole(Role):
    """A dealer draws fresh seeds for every session; they exist in memory and inside TLS only."""

    @abstractmethod
    def begin(self, name: bytes, ways: Mapping[str, Channel], on_layer: Callable[[str], None]) -> Dealt:
        """Begin to deal, under a session's id or another name that no other deal has. ways: to each party."""

    def join(self, session: Session, deal: Deal | None = None) -> SessionTools:
        budget = self.settings.limits.dealer_send_bytes
        first, *holders = self.settings.family.computing
        links = {first: self.dial(session, first, "Deal")}
        links |= {role: self.dial(session, role, "Deal", budget) for role in holders}
        links |= {role: self.dial(session, role, "Deal") for role in self.settings.family.dealers[1:]}
        ways = {role: GrpcChannel(link) for role, link in links.items()}
        dealt = self.begin(bytes.fromhex(session.id), ways, session.on_layer)
        for role, seeds in dealt.seeds.items():
            for seed in seeds:
                links[role].send_message(seed)
        return dealt.tools


class TwoPartDealingRole(DealingRole):
    """The dealer of the beaver protocol: a seed to p0, another one and all corrections to p1."""

    def begin(self, name: bytes, ways: Mapping[str, Channel], on_layer: Callable[[str], None]) -> Dealt:
        seeds = os.urandom(SEED_BYTES), os.urandom(SEED_BYTES)
        tools = DealerTools(session=name, seeds=seeds, to_p1=ways["p1"], on_layer=on_layer)
        return Dealt(tools, {"p0": seeds[:1], "p1": seeds[1:]})
