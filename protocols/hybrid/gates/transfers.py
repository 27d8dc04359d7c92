"""What comes before a gate whose making draws more oblivious transfers than are there."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from secure.protocols.core.cost import Cost
from secure.protocols.hybrid.gates.gate import HybridGate, Made
from secure.protocols.hybrid.oblivious.pool import Extended, Refill, extended_bytes
from secure.protocols.hybrid.roles import Maker, User, payload


@dataclass(frozen=True, eq=False)
class RefillTransfers(HybridGate):
    """More correlated transfers of one direction, P_sender having Δ: by extension, or by a silent turn.

    Cost: none in use. Made by extension: one round, in which the other party sends 16 bytes for each. A silent turn:
    two rounds, as `secure.protocols.hybrid.oblivious.silent` says. Nothing is kept.
    Reveals: nothing, under the assumptions of those two modules.
    """

    name = "transfers"
    sender: int
    refill: Refill

    def cost(self) -> Cost:
        return Cost()

    def made(self) -> Made:
        if isinstance(self.refill, Extended):
            rounds, receiver, sender = 1, extended_bytes(self.refill.made), 0
        else:
            rounds, receiver, sender = 2, self.refill.asked_bytes, self.refill.answered_bytes
        first, second = (receiver, sender) if self.sender else (sender, receiver)
        return Made(Cost(rounds, p0_bytes=first, p1_bytes=second))

    @property
    def shape(self) -> tuple[int, ...]:
        return (0,)

    def make(self, maker: Maker) -> Tensor:
        refill, sends = self.refill, maker.index == self.sender
        if isinstance(refill, Extended):
            if sends:
                maker.sender.extended(maker.receive(extended_bytes(refill.made)), refill.made)
            else:
                maker.send(payload(maker.receiver.extended(refill.made)))
        elif sends:
            maker.send(maker.sender.turn(refill, maker.receive(refill.asked_bytes)))
        else:
            maker.send(maker.receiver.ask(refill))
            maker.receiver.answered(refill, maker.receive(refill.answered_bytes))
        return self.outcome

    def use(self, user: User) -> Tensor:
        return self.outcome
