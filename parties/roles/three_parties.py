"""p0, p1 and p2 of the replicated protocol in a session: a stream between each two, and a seed for each two."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import torch

from secure.parties.roles.engine import SessionTools
from secure.parties.roles.role import SEED_BYTES, Role, receive_seed
from secure.parties.session.session import Session
from secure.parties.stock.store import Deal
from secure.parties.transport.link import GrpcChannel, Link
from secure.protocols.core.channel import Channel
from secure.protocols.core.cost import Meter
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.replicated.family import REPLICATED
from secure.protocols.replicated.protocol import ReplicatedParty
from secure.protocols.replicated.seeds import PartySeeds


@dataclass(frozen=True)
class ThreePartyTools(SessionTools):
    """What party `number` of three computes with in one session: seeds that it shares, and the way to both others."""

    family = REPLICATED

    number: int
    session: bytes
    seeds: PartySeeds
    to_next: Channel
    to_previous: Channel
    on_layer: Callable[[str], None]

    @property
    def index(self) -> int:
        return self.number

    def protocol(self, policy: FixedPointPolicy, meter: Meter, device: torch.device) -> ReplicatedParty:
        ends = self.to_next, self.to_previous
        return ReplicatedParty(
            self.number, self.seeds, self.session, *ends, policy, meter=meter, on_layer=self.on_layer, device=device
        )


class OneOfThree(Role):
    """Each party dials the one after it. Fresh seeds for every session; they exist in memory and inside TLS only."""

    def join(self, session: Session, deal: Deal | None = None) -> SessionTools:
        index = self.settings.family.computing.index(self.name)
        with_next, common = os.urandom(SEED_BYTES), os.urandom(SEED_BYTES)
        drawn = () if index else (common,)
        to_next, to_previous = self.meet_in_circle(session, first=(with_next, *drawn), then=drawn)
        return ThreePartyTools(
            number=index,
            session=bytes.fromhex(session.id),
            seeds=_agree(index, with_next, common, to_next, to_previous),
            to_next=GrpcChannel(to_next),
            to_previous=GrpcChannel(to_previous),
            on_layer=session.on_layer,
        )


def _agree(index: int, with_next: bytes, common: bytes, to_next: Link, to_previous: Link) -> PartySeeds:
    """Each party drew the seed that it shares with the next one; p0 drew the one that all three have.

    Both are with their receivers as soon as streams stand: behind a Hello, or an Accept.
    """
    with_previous = receive_seed(to_previous)
    if index == 1:
        common = receive_seed(to_previous)
    elif index == 2:
        common = receive_seed(to_next)
    return PartySeeds(with_next, with_previous, common)
