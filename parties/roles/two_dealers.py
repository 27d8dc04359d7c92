"""Evaluators and dealers of the witnessed protocol where a second dealer confirms what the first one deals.

The first dealer dials the second one after all evaluators, and gives it all seeds. The second one then dials each
evaluator: a digest of that evaluator's seeds, and to p1 and p2 digests of what is dealt.
"""

from __future__ import annotations

from dataclasses import dataclass

from secure.parties.roles.dealer import Seeds
from secure.parties.roles.engine import SessionTools
from secure.parties.roles.role import Role, receive_seed
from secure.parties.roles.witnessed import (
    EvaluatingRole,
    EvaluatorTools,
    ThreePartDealerTools,
    ThreePartDealingRole,
)
from secure.parties.session.session import Session
from secure.parties.stock.store import Deal
from secure.parties.transport.link import GrpcChannel, Link
from secure.protocols.core.channel import Channel, Payload
from secure.protocols.core.errors import ProtocolError
from secure.protocols.witnessed.family import TWO_DEALERS
from secure.protocols.witnessed.two_dealers import (
    Confirmed,
    FirstDealer,
    SecondDealer,
    check_seeds,
    digest_of_seeds,
)
from secure.protocols.witnessed.witness import DIGEST_BYTES

FIRST, SECOND = TWO_DEALERS.dealers


@dataclass(frozen=True)
class OfTwoTools(EvaluatorTools):
    """What an evaluator computes with: what is dealt comes confirmed."""

    family = TWO_DEALERS


class EvaluatingWithTwo(EvaluatingRole):
    """An evaluator that compares seeds before it computes anything, and each message before it uses it."""

    tools = OfTwoTools

    def confirmed(self, session: Session, index: int, seeds: tuple[bytes, bytes], dealer: Channel) -> Channel:
        link, deal = self.claim(session, SECOND, "Digests"), bytes.fromhex(session.id)
        check_seeds(index, seeds, deal, link.receive_message(max_bytes=DIGEST_BYTES), (FIRST, SECOND))
        return Confirmed(dealer, _DigestsOf(link), deal, index)


class _DigestsOf(Channel):
    """What the second dealer sends: nothing that is longer than a digest is taken in."""

    def __init__(self, link: Link) -> None:
        self.peer = link.peer
        self._link = link

    def send(self, payload: Payload) -> None:
        raise ProtocolError("nothing goes to a dealer")

    def receive(self) -> memoryview:
        return self._link.receive_message(max_bytes=DIGEST_BYTES)


@dataclass(frozen=True)
class FirstDealerTools(ThreePartDealerTools):
    """What the first dealer computes with."""

    family = TWO_DEALERS
    execution = FirstDealer


@dataclass(frozen=True)
class SecondDealerTools(ThreePartDealerTools):
    """What the second dealer computes with: digests go to p1 and p2."""

    family = TWO_DEALERS
    execution = SecondDealer


class FirstOfTwoDealers(ThreePartDealingRole):
    """The dealer that draws the seeds and sends what is dealt. It gives the second one all seeds."""

    tools = FirstDealerTools

    def draw(self) -> Seeds:
        drawn = super().draw()
        return {**drawn, SECOND: tuple(drawn[role][0] for role in TWO_DEALERS.computing)}


class SecondOfTwoDealers(Role):
    """The dealer that confirms."""

    def join(self, session: Session, deal: Deal | None = None) -> SessionTools:
        from_first = self.claim(session, FIRST, "Deal")
        first, second, third = (receive_seed(from_first) for _ in TWO_DEALERS.computing)
        seeds, name = (first, second, third), bytes.fromhex(session.id)
        ways = {}
        for index, role in enumerate(TWO_DEALERS.computing):
            digest = digest_of_seeds(index, (seeds[index], seeds[(index + 1) % len(seeds)]), name)
            ways[role] = GrpcChannel(self.dial(session, role, "Digests", first=[digest]))
        return SecondDealerTools(
            session=name, seeds=seeds, to_p1=ways["p1"], to_p2=ways["p2"], on_layer=session.on_layer
        )
