"""The product of three secrets, with one opening."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from secure.protocols.core import ring
from secure.protocols.core.cost import Cost
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.secret import Primitive, Reference, Secret
from secure.protocols.masked.gate import OpeningGate
from secure.protocols.masked.gates.opening import unknown
from secure.protocols.masked.gates.product import Bilinear
from secure.protocols.masked.pair import Pair
from secure.protocols.masked.protocol import Masked
from secure.protocols.masked.roles import Dealer, Party

_MOST_FRACTION_BITS = 49  # of three factors together, so that their truncation leaves a usable ring


@dataclass(frozen=True, eq=False)
class TripleProduct(OpeningGate):
    """x y z elementwise, opened under a mask: one round for two multiplications and their truncation.

    (c - r)(d - s)(e - t) is expanded; the dealer shares rs, rt and st, and rst is part of the opening's mask.

    Shapes: x any; y, z broadcast to it. Encoding: pairs in Z_2^64, masks dealt -> pair in Z_2^64, mask not dealt;
    fraction bits add up; with `dropped` bits the ring has, and the fraction bits are, as many less. Cost: 1 round,
    ceil((64 - dropped)/8) bytes per element; the dealer sends 16 bytes per element and 8 per element of y z broadcast
    together. Error: none, or as `OpeningGate`. Reveals: the masked product, which is uniform.
    """

    name = "triple-product"
    x: Pair
    y: Pair
    z: Pair

    def _pair_shape(self) -> tuple[int, ...]:
        return Bilinear.ELEMENTWISE.shape(self.y.opened, self.z.opened)

    def cost(self) -> Cost:
        count = self.x.opened.numel()
        online = ring.element_bytes(ring.WORD_BITS - self.dropped) * count
        return Cost(1, online, 16 * count + 8 * math.prod(self._pair_shape()))

    def deal(self, dealer: Dealer) -> Pair:
        r, s, t = self.x.mask, self.y.mask, self.z.mask
        assert r is not None and s is not None and t is not None
        rs, st = r * s, s * t
        dealer.share(rs, 64)
        dealer.share(r * t, 64)
        dealer.share(st, 64)
        return replace(self.outline(), mask=self.pair_mask(dealer, rs * t, ring.WORD_BITS))

    def outline(self) -> Pair:
        return Pair(unknown(self.x.opened.shape), None, ring.WORD_BITS - self.dropped, dealt=False)

    def evaluate(self, party: Party) -> Pair:
        c, d, e = self.x.opened, self.y.opened, self.z.opened
        r, s, t = self.x.mask, self.y.mask, self.z.mask
        assert r is not None and s is not None and t is not None
        shape = tuple(c.shape)
        rs, rt = party.correlation(shape, 64), party.correlation(shape, 64)
        st = party.correlation(self._pair_shape(), 64)
        product = e * (rs - c * s) + c * st + d * rt - (d * e) * r - (c * d) * t
        if party.index == 0:
            product += c * d * e
        return self.opened_pair(party, product, ring.WORD_BITS)


@Primitive
def multiply_three(clear: Reference, x: Secret, y: Secret, z: Secret) -> Secret:
    """Elementwise x * y * z with one truncation, back to x's scale. Broadcasting."""
    product = clear.value(x) * clear.value(y) * clear.value(z)
    return clear.secret(clear.bounded("multiply_three", product, 2.0**12), x.fraction_bits)


def compute(masked: Masked, x: Secret, y: Secret, z: Secret) -> Secret:
    """`multiply_three` by this gate, in the full ring."""
    scale = sum(s.fraction_bits for s in (x, y, z))
    if scale > _MOST_FRACTION_BITS:
        raise ProtocolError(f"three factors with {scale} fraction bits; at most {_MOST_FRACTION_BITS} fit")
    pairs = [masked.pair(s, ring.WORD_BITS) for s in (x, y, z)]
    return masked.opened(TripleProduct(*pairs), ring.WORD_BITS, scale, x.fraction_bits)
