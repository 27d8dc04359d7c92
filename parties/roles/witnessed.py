"""p0, p1, p2 and the dealer of the witnessed protocol in a session: a stream between each two evaluators, and one from
the dealer to each."""

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
from secure.protocols.witnessed.family import WITNESSED
from secure.protocols.witnessed.protocol import WitnessedDealer, WitnessedParty

_EVALUATORS = WITNESSED.computing


@dataclass(frozen=True)
class EvaluatorTools(SessionTools):
    """What evaluator `number` computes with in one session: seeds of its two parts and of all evaluators, channels."""

    family = WITNESSED

    number: int
    session: bytes
    seeds: tuple[bytes, bytes]
    common_seed: bytes
    to_next: Channel
    to_previous: Channel
    dealer: Channel | None
    on_layer: Callable[[str], None]

    @property
    def index(self) -> int:
        return self.number

    def protocol(self, policy: FixedPointPolicy, meter: Meter, device: torch.device) -> WitnessedParty:
        return WitnessedParty(
            self.number,
            self.seeds,
            self.session,
            self.to_next,
            self.to_previous,
            self.dealer,
            policy,
            common_seed=self.common_seed,
            meter=meter,
            on_layer=self.on_layer,
        )


class EvaluatingRole(Role):
    """Each evaluator dials the one after it; the dealer dials all three, and has drawn a seed for each part."""

    def join(self, session: Session, deal: Deal | None = None) -> SessionTools:
        index, to_next, to_previous = self.meet_in_circle(session)
        # The dealer last: where an evaluator cannot come, nothing that the dealer then does is to look like the reason.
        dealer = self.claim(session, "dealer", "Deal")
        common_seed = _common_seed(index, to_next, to_previous)
        return EvaluatorTools(
            number=index,
            session=bytes.fromhex(session.id),
            seeds=(receive_seed(dealer), receive_seed(dealer)),
            common_seed=common_seed,
            to_next=GrpcChannel(to_next),
            to_previous=GrpcChannel(to_previous),
            # p0's parts of what is dealt follow from its seeds.
            dealer=GrpcChannel(dealer) if index else None,
            on_layer=session.on_layer,
        )


def _common_seed(index: int, to_next: Link, to_previous: Link) -> bytes:
    """What all evaluators have, and the dealer does not. p0 draws it: their first digests tell whether all have one."""
    if index == 0:
        drawn = os.urandom(SEED_BYTES)
        to_next.send_message(drawn)
        to_previous.send_message(drawn)
        return drawn
    return receive_seed(to_previous if index == 1 else to_next)


@dataclass(frozen=True)
class ThreePartDealerTools(SessionTools):
    """What the dealer computes with in one session: the seeds of the three parts, and the ways to p1 and p2."""

    family = WITNESSED

    session: bytes
    seeds: tuple[bytes, bytes, bytes]
    to_p1: Channel
    to_p2: Channel
    on_layer: Callable[[str], None]

    @property
    def index(self) -> None:
        return None

    def protocol(self, policy: FixedPointPolicy, meter: Meter, device: torch.device) -> WitnessedDealer:
        ends = self.to_p1, self.to_p2
        return WitnessedDealer(self.seeds, self.session, *ends, policy, meter=meter, on_layer=self.on_layer)


class ThreePartDealingRole(Role):
    """The dealer draws fresh seeds for every session; they exist in memory and inside TLS only."""

    def join(self, session: Session, deal: Deal | None = None) -> SessionTools:
        budget = self.settings.limits.dealer_send_bytes
        links = [self.dial(session, "p0", "Deal")]
        links += [self.dial(session, holder, "Deal", budget) for holder in _EVALUATORS[1:]]
        first, second, third = (os.urandom(SEED_BYTES) for _ in _EVALUATORS)
        for link, held in zip(links, ((first, second), (second, third), (third, first)), strict=True):
            for seed in held:
                link.send_message(seed)
        return ThreePartDealerTools(
            session=bytes.fromhex(session.id),
            seeds=(first, second, third),
            to_p1=GrpcChannel(links[1]),
            to_p2=GrpcChannel(links[2]),
            on_layer=session.on_layer,
        )
