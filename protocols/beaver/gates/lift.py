"""From a pair in a small ring to shares in Z_2^64."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from protocols.beaver.gate import Gate
from protocols.beaver.pair import Pair
from protocols.beaver.roles import Dealer, Party
from protocols.core import ring
from protocols.core.cost import Cost

RING_BITS = ring.WORD_BITS


@dataclass(frozen=True, eq=False)
class Lift(Gate[Tensor]):
    """Shares in Z_2^64 of x, |x| < 2^(k-2), from its pair c = x + r in Z_2^k.

    With c' = c + 2^(k-2) the masked value x + 2^(k-2) lies in [0, 2^(k-1)), so c' wrapped around exactly when the top
    bit of r is set and that of c' is not:
        x = c' - 2^(k-2) - r + 2^k (1 - msb(c')) msb(r).
    msb(r) is wanted in Z_2^(64-k) only, as 2^k times higher bits vanishes.

    Shapes: any. Encoding: pair in Z_2^k -> share in Z_2^64, same fraction bits.
    Cost: no round; the dealer sends 8 + ceil((64-k)/8) bytes per element. Error: none. Reveals: nothing.
    Source: after the truncation of Escudero et al., Improved primitives for MPC over mixed arithmetic-binary circuits,
    2020, with the dealer in place of the extended shared bits.
    """

    name = "lift"
    pair: Pair

    def cost(self) -> Cost:
        count = self.pair.opened.numel()
        return Cost(dealer_bytes=count * (8 + ring.element_bytes(RING_BITS - self.pair.bits)))

    def deal(self, dealer: Dealer) -> Tensor:
        assert self.pair.mask is not None
        mask = ring.low(self.pair.mask, self.pair.bits)
        dealer.share(mask, RING_BITS)
        dealer.share(ring.top_bit(mask, self.pair.bits), RING_BITS - self.pair.bits)
        return self.pair.opened

    def evaluate(self, party: Party) -> Tensor:
        bits = self.pair.bits
        shape = tuple(self.pair.opened.shape)
        mask = party.correlation(shape, RING_BITS)
        mask_top = party.correlation(shape, RING_BITS - bits)
        shifted = ring.low(self.pair.opened + (1 << (bits - 2)), bits)
        share = ((1 - ring.top_bit(shifted, bits)) * mask_top << bits) - mask
        return share + (shifted - (1 << (bits - 2))) if party.index == 0 else share
