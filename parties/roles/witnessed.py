"""p0, p1, p2 and the dealer of the witnessed protocol in a session: a stream between each two evaluators, and one from
the dealer to each, where what is dealt does not come from stock."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from secure.parties.roles.dealer import DealingRole, Seeds
from secure.parties.roles.engine import SessionTools
from secure.parties.roles.role import SEED_BYTES, StockedRole, receive_seed
from secure.parties.roles.working_ahead import AheadTools
from secure.parties.session.session import Session
from secure.parties.stock.store import Deal
from secure.parties.transport.link import GrpcChannel, Link
from secure.parties.transport.wire_pb2 import Kind
from secure.protocols.core.channel import Channel
from secure.protocols.core.cost import Meter
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.masked.ahead import Ahead
from secure.protocols.witnessed.ahead import WitnessedAhead
from secure.protocols.witnessed.family import WITNESSED
from secure.protocols.witnessed.protocol import WitnessedDealer, WitnessedParty
from secure.protocols.witnessed.roles import PARTS, SENT_PART


@dataclass(frozen=True)
class EvaluatorTools(SessionTools):
    """What evaluator `number` computes with in one session: seeds of its two parts and of all evaluators, channels.

    deal: the name under which it was dealt ahead; None where the dealer is on line. ahead: what this evaluator computed
    of both its parts before; None where it did not.
    """

    family = WITNESSED

    number: int
    session: bytes
    seeds: tuple[bytes, bytes]
    common_seed: bytes
    to_next: Channel
    to_previous: Channel
    dealer: Channel | None
    on_layer: Callable[[str], None]
    deal: bytes | None = None
    ahead: tuple[Ahead, ...] | None = None
    apart: bool = False

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
            deal=self.deal,
            meter=meter,
            on_layer=self.on_layer,
            ahead=self.ahead,
        )


@dataclass
class PartAheadTools(AheadTools):
    """What evaluator `number` works ahead with, for its own part (0) or the one after it (1)."""

    family = WITNESSED

    number: int
    which: int
    found: WitnessedAhead | None = None

    def protocol(self, policy: FixedPointPolicy, meter: Meter, device: torch.device) -> WitnessedAhead:
        seed = _halves(self.deal.seeds)[self.which]
        tape = self.deal.tape if (self.number + self.which) % PARTS == SENT_PART else None
        of = self.number, self.which, seed, bytes.fromhex(self.deal.name), tape
        self.found = WitnessedAhead(*of, policy, check=self.check)
        return self.found

    @property
    def made(self) -> Ahead | None:
        return None if self.found is None else self.found.made


class EvaluatingRole(StockedRole):
    """Each evaluator dials the one after it, and names to it the deal from stock that it has spent, if there is one.

    So each hears that name from one of the two others, and says it to the other one, who compares: see
    `secure.protocols.witnessed`. Where there is none, the dealer dials all three, and has drawn a seed for each part.
    """

    tools: ClassVar[type[EvaluatorTools]] = EvaluatorTools

    def walks_ahead(self, deal: Deal, check: Callable[[], None]) -> list[AheadTools]:
        """Tools for both its parts, one after the other."""
        number = self.settings.family.computing.index(self.name)
        return [PartAheadTools(deal, check, number, which) for which in range(2)]

    def join(self, session: Session, deal: Deal | None = None) -> SessionTools:
        spent, index = [] if deal is None else [deal], self.settings.family.computing.index(self.name)
        asks = session.hello.kind == Kind.KIND_PREDICT and session.hello.from_stock
        with self.doubting(deal):
            if asks:
                to_next, to_previous = self.meet_in_turn(session, self.adopting(session, spent))
            else:
                to_next, to_previous = self.meet_in_circle(session)
        from_dealer: Link | None = None
        if not spent:
            # The dealer last: where an evaluator cannot come, nothing that it then does is to look like the reason.
            from_dealer = self.claim(session, "dealer", "Deal")
        # Fresh in each session, also where seeds come from a deal: p0 draws it when all have met.
        common_seed = _common_seed(index, to_next, to_previous)
        dealer: Channel | None
        if from_dealer is None:
            seeds, dealer = _halves(spent[0].seeds), spent[0].tape
        else:
            seeds = receive_seed(from_dealer), receive_seed(from_dealer)
            dealer = self.confirmed(session, index, seeds, GrpcChannel(from_dealer))
        return self.tools(
            number=index,
            session=bytes.fromhex(session.id),
            seeds=seeds,
            common_seed=common_seed,
            to_next=GrpcChannel(to_next),
            to_previous=GrpcChannel(to_previous),
            # p0's parts of what is dealt follow from its seeds.
            dealer=dealer if index else None,
            on_layer=session.on_layer,
            deal=bytes.fromhex(spent[0].name) if spent else None,
            ahead=self.taken_ahead(session, spent[0]) if spent else None,
            apart=self.settings.stock is not None,
        )

    def confirmed(self, session: Session, index: int, seeds: tuple[bytes, bytes], dealer: Channel) -> Channel:
        """What the dealer sends, as evaluator `index` takes it."""
        return dealer


def _halves(seeds: bytes) -> tuple[bytes, bytes]:
    """The two seeds of a deal. Raises ProtocolError for another number of bytes."""
    if len(seeds) != 2 * SEED_BYTES:
        raise ProtocolError(f"the seeds of a deal have {len(seeds)} bytes instead of {2 * SEED_BYTES}")
    return seeds[:SEED_BYTES], seeds[SEED_BYTES:]


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
    execution: ClassVar[type[WitnessedDealer]] = WitnessedDealer

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
        return self.execution(self.seeds, self.session, *ends, policy, meter=meter, on_layer=self.on_layer)


class ThreePartDealingRole(DealingRole):
    """The dealer of three evaluators: two of three seeds to each, and the third part of what is dealt to p1 and p2."""

    tools: ClassVar[type[ThreePartDealerTools]] = ThreePartDealerTools

    def draw(self) -> Seeds:
        first, second, third = (os.urandom(SEED_BYTES) for _ in WITNESSED.computing)
        return {"p0": (first, second), "p1": (second, third), "p2": (third, first)}

    def begin(
        self, name: bytes, seeds: Seeds, ways: Mapping[str, Channel], on_layer: Callable[[str], None]
    ) -> SessionTools:
        first, second, third = (seeds[role][0] for role in WITNESSED.computing)
        return self.tools(
            session=name,
            seeds=(first, second, third),
            to_p1=ways["p1"],
            to_p2=ways["p2"],
            on_layer=on_layer,
        )
