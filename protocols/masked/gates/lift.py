"""From a pair in a small ring to shares in a larger one."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.cost import Cost
from secure.protocols.core.kernels import selection
from secure.protocols.masked.gate import Gate
from secure.protocols.masked.gates.opening import unknown
from secure.protocols.masked.pair import Pair
from secure.protocols.masked.roles import Dealer, Party


@dataclass(frozen=True, eq=False)
class Lift(Gate[Tensor]):
    """Shares in Z_2^m of x, |x| < 2^(k-2), from its pair c = x + r in Z_2^k, k < m.

    With c' = c + 2^(k-2) the masked value x + 2^(k-2) lies in [0, 2^(k-1)), so c' wrapped around exactly when the top
    bit of r is set and that of c' is not:
        x = c' - 2^(k-2) - r + 2^k (1 - msb(c')) msb(r).
    msb(r) is wanted in Z_2^(m-k) only, as 2^k times higher bits vanishes.

    Shapes: any. Encoding: pair in Z_2^k -> share in Z_2^m, same fraction bits.
    Cost: no round; the dealer sends ceil(m/8) + ceil((m-k)/8) bytes per element. Error: none. Reveals: nothing.
    Source: after the truncation of Escudero et al., Improved primitives for MPC over mixed arithmetic-binary circuits,
    2020, with the dealer in place of the extended shared bits.
    """

    name = "lift"
    pair: Pair
    bits: int

    @property
    def _gap(self) -> int:
        return self.bits - self.pair.bits

    def cost(self) -> Cost:
        each = ring.element_bytes(self.bits) + ring.element_bytes(self._gap)
        return Cost(dealer_bytes=self.pair.opened.numel() * each)

    def deal(self, dealer: Dealer) -> Tensor:
        assert self.pair.mask is not None
        mask = ring.low(self.pair.mask, self.pair.bits)
        dealer.share(mask, self.bits)
        dealer.share(ring.top_bit(mask, self.pair.bits), self._gap)
        return self.outline()

    def outline(self) -> Tensor:
        return unknown(self.pair.opened.shape)

    def evaluate(self, party: Party) -> Tensor:
        shape = tuple(self.pair.opened.shape)
        mask = party.correlation(shape, self.bits)
        mask_top = party.correlation(shape, self._gap, short=True)
        return selection.lift(self.pair.opened, mask, mask_top, self.pair.bits, first=party.index == 0)
