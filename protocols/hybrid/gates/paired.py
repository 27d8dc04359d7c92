"""Gates of masked pairs from what transfers made, between one-sided shares."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.cost import Cost
from secure.protocols.core.kernels.cpu.compiler import Array
from secure.protocols.hybrid.gates.gate import HybridGate, Made, unknown
from secure.protocols.hybrid.roles import Maker, User, as_array, payload
from secure.protocols.hybrid.transfer.crossing import Crossed
from secure.protocols.hybrid.transfer.making import Making, StockedParty
from secure.protocols.masked.gate import Gate
from secure.protocols.masked.pair import Pair

_OWN = 1
"""The label of what each party draws for itself: P1's half of the pair's mask, P0's share of the result."""


@dataclass(frozen=True, eq=False)
class PairedGate(HybridGate):
    """What a gate of masked pairs gives of x, x = u + v with P0's u known before there is an input.

    The pair is c = x + r with r = r_1 - u: so c = v + r_1, which P1 sends to P0, and -u is P0's half of the mask. Then
    comes the gate between both, with what `secure.protocols.hybrid.transfer` made of r. Its result depends on c at
    both; P0 sends its share less a mask r', which is its share from then on.

    Shapes: any. Encoding: shares in Z_2^width or larger -> in Z_2^bits.
    Cost: rounds and bytes of the gate, and one more each way: P1 sends ceil(width/8) bytes per element, P0
    ceil(bits/8). Making: as `crossed`; each keeps what a dealer would send, P0 its half of the mask, too.
    Reveals: c to P0, uniform as r_1 is P1's alone; the result less r' to P1, as r' is P0's; what is opened between is
    uniform to both, as the gate says. Source: the dealer's part by transfers as in CrypTFlow2 (Rathee and others, 2020)
    and its kind.
    """

    x: Tensor
    width: int
    bits: int

    @abstractmethod
    def inner(self, pair: Pair) -> Gate[Tensor]:
        """The gate, of a flat pair."""

    @abstractmethod
    def crossed(self) -> Crossed:
        """What making its correlations takes."""

    @abstractmethod
    def make_correlations(self, making: Making, mask: Array) -> None:
        """Make them. mask: this party's half of the pair's. Shapes: uint64 [n]."""

    def _inner(self, opened: Tensor, mask: Tensor | None = None) -> Gate[Tensor]:
        return self.inner(Pair(opened.reshape(-1), mask, self.width, dealt=True))

    @property
    def outer(self) -> Gate[Tensor]:
        """The gate of which nothing but its shapes is known."""
        return self._inner(unknown(self.x.numel()))

    def cost(self) -> Cost:
        inner, count = self.outer.cost(), self.x.numel()
        ends = Cost(2, p0_bytes=count * ring.element_bytes(self.bits), p1_bytes=count * ring.element_bytes(self.width))
        return Cost(inner.rounds, inner.online_bytes) + ends

    def made(self) -> Made:
        kept = self.outer.cost().dealer_bytes
        of_mask = self.x.numel() * ring.element_bytes(self.width)
        return Made(self.crossed().cost, kept + of_mask, kept)

    @property
    def transfers(self) -> tuple[int, int]:
        return self.crossed().transfers

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.x.shape)

    def make(self, maker: Maker) -> Tensor:
        own = maker.words(_OWN, (self.x.numel(),))
        if maker.index == 0:
            mask = ring.low(-self.x.reshape(-1), self.width)
            maker.stock.put(maker.gate, ring.pack(mask, self.width).numpy())
        else:
            mask = own
        self.make_correlations(Making(maker), as_array(mask))
        return ring.low(own, self.bits).reshape(self.shape) if maker.index == 0 else self.outcome

    def use(self, user: User) -> Tensor:
        count = self.x.numel()
        own = user.words(_OWN, (count,))
        if user.index == 1:
            masked = self.x.reshape(-1) + own
            user.send(payload(ring.pack(masked, self.width).numpy()))
            share = self._inner(ring.low(masked, self.width), own).evaluate(StockedParty(user))
            message = user.receive(count * ring.element_bytes(self.bits))
            return ring.low(ring.unpack_added(message, share, self.bits), self.bits).reshape(self.shape)
        kept = user.stock.take(user.gate, count * ring.element_bytes(self.width))
        opened = ring.unpack(user.receive(count * ring.element_bytes(self.width)), (count,), self.width)
        mask = ring.unpack(kept.data, (count,), self.width)
        share = self._inner(opened, mask).evaluate(StockedParty(user))
        user.send(payload(ring.pack_difference(share, own, self.bits).numpy()))
        return self.outcome
