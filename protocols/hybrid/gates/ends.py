"""The two ends of a program: a client's input and its output."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from secure.protocols.core import ring, transfer
from secure.protocols.core.cost import Cost
from secure.protocols.hybrid.gates.gate import HybridGate, Made
from secure.protocols.hybrid.roles import Maker, User


@dataclass(frozen=True, eq=False)
class TakeInput(HybridGate):
    """x, shared anew: P0's share becomes r, which was drawn when this was made; P1's becomes x - r.

    P0 sends x_0 - r, and P1 adds x_1. So P0's shares of all that follows are known before there is an input.

    Shapes: any. Encoding: shares in Z_2^bits or larger -> in Z_2^bits, any fraction bits. Cost: 1 round, in which P0
    sends ceil(bits/8) bytes per element; making it is local. Error: none.
    Reveals: x - r to P1, uniform as r is P0's alone.
    """

    name = "input"
    x: Tensor
    bits: int

    def cost(self) -> Cost:
        return Cost(rounds=1, p0_bytes=self.x.numel() * ring.element_bytes(self.bits))

    def made(self) -> Made:
        return Made()

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.x.shape)

    def make(self, maker: Maker) -> Tensor:
        if maker.index == 1:
            return self.outcome
        return ring.low(maker.words(1, tuple(self.x.shape)), self.bits)

    def use(self, user: User) -> Tensor:
        if user.index == 0:
            # Whole bytes are sent, so the bits above the ring are masked, too.
            mask = user.words(1, tuple(self.x.shape))
            user.send(transfer.payload_of([ring.pack_difference(self.x, mask, self.bits)]))
            return self.outcome
        payload = user.receive(self.x.numel() * ring.element_bytes(self.bits))
        return ring.unpack_added(payload, self.x, self.bits)


@dataclass(frozen=True, eq=False)
class GiveOutput(HybridGate):
    """x for the client, who adds both parties' shares. P0's is known when this is made, and is kept until then.

    P0 is the client's own, so P1's share tells the client nothing but x.

    Shapes: any. Encoding: shares in Z_2^bits or larger -> in Z_2^bits. Cost: none; P0 keeps ceil(bits/8) bytes per
    element. Error: none. Reveals: x, to the client.
    """

    name = "output"
    x: Tensor
    bits: int

    def cost(self) -> Cost:
        return Cost()

    def made(self) -> Made:
        return Made(p0_kept=self.x.numel() * ring.element_bytes(self.bits))

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.x.shape)

    def make(self, maker: Maker) -> Tensor:
        if maker.index == 0:
            maker.stock.put(maker.gate, ring.pack(self.x, self.bits).numpy())
        return self.outcome

    def use(self, user: User) -> Tensor:
        if user.index == 1:
            return ring.low(self.x, self.bits)
        kept = user.stock.take(user.gate, self.made().p0_kept)
        return ring.unpack(kept.data, tuple(self.x.shape), self.bits)
