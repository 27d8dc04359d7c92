"""Products of numbers whose pairs are in too small rings: what `Lift` knows of them serves, and they are not opened."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.cost import Cost
from secure.protocols.masked.gate import Gate, OpeningGate
from secure.protocols.masked.gates.opening import unknown
from secure.protocols.masked.pair import Pair
from secure.protocols.masked.roles import Dealer, Party


class _Public(NamedTuple):
    """C and 2^k w of a pair, as `LiftedProduct` has them; the latter is None where the pair's ring is large enough."""

    centred: Tensor
    wrapped: Tensor | None


def _public_of(pair: Pair, bits: int) -> _Public:
    if pair.bits >= bits:
        return _Public(pair.opened, None)
    offset = 1 << (pair.bits - 2)
    shifted = ring.low(pair.opened + offset, pair.bits)
    return _Public(shifted - offset, (1 - ring.top_bit(shifted, pair.bits)) << pair.bits)


def _masks_of(pair: Pair, bits: int) -> tuple[Tensor, Tensor]:
    """r and T, at the dealer; no T that anything is made of where the pair's ring is large enough."""
    assert pair.mask is not None
    if pair.bits >= bits:
        return pair.mask, pair.mask
    mask = ring.low(pair.mask, pair.bits)
    return mask, ring.top_bit(mask, pair.bits)


@dataclass(frozen=True, eq=False)
class LiftedProduct(OpeningGate):
    """x y elementwise in Z_2^m, opened under a mask, for pairs in smaller rings: they are lifted, and not opened again.

    With c' = c + 2^(k-2) of x's pair c = x + r in Z_2^k, as in `Lift`, x = C - ρ in the larger ring, where
        C = c' - 2^(k-2),   ρ = r - 2^k w T,   w = 1 - msb(c') public,   T = msb(r),
    and y = D - σ likewise, from s in Z_2^l with v and U. So x y = C [y] + [x] D - C D + ρ σ, where
        ρ σ = r s - 2^k w T s - 2^l v r U + 2^(k+l) w v T U.
    The dealer shares the products with T or U, each in the ring in which it does not vanish; r s is part of the
    opening's mask, as in `OpenedProduct`. Of a factor whose pair is in Z_2^m or a larger ring, C is what was opened, ρ
    its mask, and there is no T.

    Shapes: as torch's *. Encoding: pairs in Z_2^k, |x| < 2^(k-2), and Z_2^l likewise, with shares in Z_2^m or larger
    (from `Lift`) -> pair in Z_2^m, mask not dealt; fraction bits add up; with `dropped` bits the ring has, and the
    fraction bits are, as many less.
    Cost: 1 round, ceil((m - dropped)/8) bytes per element of the result; for each of them the dealer sends
    ceil((m-k)/8) bytes for k < m, ceil((m-l)/8) for l < m, and ceil((m-k-l)/8) for both and k + l < m.
    Error: none, or as `OpeningGate`. Reveals: the masked product, which is uniform, as its mask is drawn for it alone.
    Source: `OpenedProduct` and `Lift`.
    """

    name = "lifted-product"
    x: Pair
    x_share: Tensor
    y: Pair
    y_share: Tensor
    bits: int

    def _shape(self) -> tuple[int, ...]:
        return ring.broadcast(self.x.opened.shape, self.y.opened.shape)

    @property
    def _gaps(self) -> tuple[int, int, int]:
        """The rings of T s, r U and T U, or less than one bit where there is no such word."""
        small = [pair.bits < self.bits for pair in (self.x, self.y)]
        both = self.bits - self.x.bits - self.y.bits if all(small) else 0
        return self.bits - self.x.bits, self.bits - self.y.bits, both

    def cost(self) -> Cost:
        count = math.prod(self._shape())
        dealt = sum(ring.element_bytes(gap) for gap in self._gaps if gap > 0)
        return Cost(1, count * ring.element_bytes(self.bits - self.dropped), count * dealt)

    def deal(self, dealer: Dealer) -> Pair:
        (r, x_top), (s, y_top) = (_masks_of(pair, self.bits) for pair in (self.x, self.y))
        for left, right, gap in zip((x_top, r, x_top), (s, y_top, y_top), self._gaps, strict=True):
            if gap > 0:
                dealer.share(left * right, gap)
        return replace(self.outline(), mask=self.pair_mask(dealer, -(r * s), self.bits))

    def outline(self) -> Pair:
        return Pair(unknown(self._shape()), None, self.bits - self.dropped, dealt=False)

    def evaluate(self, party: Party) -> Pair:
        shape, (of_x, of_y, of_both) = self._shape(), self._gaps
        x, y = (_public_of(pair, self.bits) for pair in (self.x, self.y))
        z = x.centred * self.y_share + self.x_share * y.centred
        if party.index == 0:
            z -= x.centred * y.centred
        if x.wrapped is not None:
            z -= x.wrapped * party.correlation(shape, of_x)
        if y.wrapped is not None:
            z -= y.wrapped * party.correlation(shape, of_y)
        if x.wrapped is not None and y.wrapped is not None and of_both > 0:
            z += x.wrapped * y.wrapped * party.correlation(shape, of_both)
        return self.opened_pair(party, z, self.bits)


@dataclass(frozen=True, eq=False)
class LiftedSquare(Gate[Tensor]):
    """Shares of the sum of x^2 along the last axis (kept, length one), for a pair in too small a ring.

    With C, ρ, w and T as in `LiftedProduct`, x^2 = 2 C [x] - C^2 + ρ^2, and as T^2 = T and w^2 = w,
        ρ^2 = r^2 - 2^(k+1) w T (r - 2^(k-1)).
    The dealer shares the sum of r^2, and T (r - 2^(k-1)), which is r without its top bit where that is set.

    Shapes: [..., n] -> [..., 1]. Encoding: pair in Z_2^k, |x| < 2^(k-2), k + 1 < m, with a share in Z_2^m or larger
    (from `Lift`) -> share in Z_2^m; twice the fraction bits. Cost: no round; the dealer sends ceil((m-k-1)/8) bytes per
    element, and ceil(m/8) per element of the result. Error: none. Reveals: nothing.
    Source: `Square` and `Lift`.
    """

    name = "lifted-square"
    x: Pair
    x_share: Tensor
    bits: int

    @property
    def _gap(self) -> int:
        return self.bits - self.x.bits - 1

    def _shape(self) -> tuple[int, ...]:
        return (*self.x.opened.shape[:-1], 1)

    def cost(self) -> Cost:
        words = self.x.opened.numel() * ring.element_bytes(self._gap)
        return Cost(dealer_bytes=words + math.prod(self._shape()) * ring.element_bytes(self.bits))

    def deal(self, dealer: Dealer) -> Tensor:
        r, top = _masks_of(self.x, self.bits)
        dealer.share(top * (r - (1 << (self.x.bits - 1))), self._gap)
        dealer.share((r * r).sum(-1, keepdim=True), self.bits)
        return self.outline()

    def outline(self) -> Tensor:
        return unknown(self._shape())

    def evaluate(self, party: Party) -> Tensor:
        x = _public_of(self.x, self.bits)
        assert x.wrapped is not None
        z = 2 * x.centred * self.x_share
        if party.index == 0:
            z -= x.centred * x.centred
        z -= 2 * x.wrapped * party.correlation(tuple(self.x.opened.shape), self._gap)
        return z.sum(-1, keepdim=True) + party.correlation(self._shape(), self.bits)
