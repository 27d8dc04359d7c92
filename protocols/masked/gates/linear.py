"""Linear layers: products with a matrix that was opened under a mask when the model was loaded."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.cost import Cost
from secure.protocols.masked.ahead import PartyAhead
from secure.protocols.masked.gate import Gate, OpeningGate
from secure.protocols.masked.gates.opening import unknown
from secure.protocols.masked.pair import Pair
from secure.protocols.masked.roles import Dealer, Party
from secure.protocols.masked.weights import Matrix


@dataclass(frozen=True, eq=False)
class OpenedLinear(OpeningGate):
    """x y + addend, opened under a mask: as `OpenedProduct`, but y's share and opened form are prepared once.

    With c = x + r and d = y + s:  x y = c [y] - [r] d + r s.  The parties compute the first two terms as one product
    of (c, [r]) with (y, -d) stacked; r s is part of the opening's mask, which the dealer knows. [r] d depends on no
    input, so a party that has the time computes it ahead, and c [y] alone when the input is there.

    Where P1 holds y in the clear (`ServerMatrix`), with r = r_0 + r_1:  x y = (c - r_1) y - r_0 d + r_0 s.  P1 computes
    the first term, of y's short digits, P0 the second, the dealer the third: one product each. P0 knows d, which is
    uniform as it does not know s; P1 knows c - r_1 = x + r_0, which is uniform as it does not know r_0.

    Shapes: x [..., K], y [K, N] -> [..., N]; addend broadcasts. Encoding: pair in Z_2^k, mask dealt, matrix in Z_2^m
    -> pair in Z_2^min(k, m), mask not dealt; fraction bits add up, `addend` is a share at that scale (a bias); with
    `dropped` bits the ring has, and the fraction bits are, as many less.
    Cost: 1 round, ceil((bits - dropped)/8) bytes per element of the result; the dealer sends nothing.
    Error: none, or as `OpeningGate`. Reveals: the masked product, which is uniform. Source: as `OpenedProduct`.
    """

    name = "linear"
    x: Pair
    y: Matrix
    addend: Tensor | None = None

    @property
    def bits(self) -> int:
        """Ring of the result."""
        return min(self.x.bits, self.y.bits)

    def _shape(self) -> tuple[int, ...]:
        return (*self.x.opened.shape[:-1], self.y.shape[1])

    def cost(self) -> Cost:
        return Cost(1, math.prod(self._shape()) * ring.element_bytes(self.bits - self.dropped))

    def deal(self, dealer: Dealer) -> Pair:
        of_masks = self.y.factor.product([self.y.left_mask(self.x)], self.bits)
        return replace(self.outline(), mask=self.pair_mask(dealer, of_masks.neg_(), self.bits))

    def outline(self) -> Pair:
        return Pair(unknown(self._shape()), None, self.bits - self.dropped, dealt=False)

    def ahead(self, party: PartyAhead) -> Pair:
        party.keep(self.y.product_ahead(self.x, self.bits))
        return self.outline()

    def evaluate(self, party: Party) -> Pair:
        z = self.y.product(self.x, self.bits, party.made_ahead())
        if self.addend is not None:
            z += self.addend
        return self.opened_pair(party, z, self.bits)


@dataclass(frozen=True, eq=False)
class LinearShare(Gate[Tensor]):
    """x y + addend as shares, not opened: for what is not truncated, as an output that goes to the client.

    As `OpenedLinear`, but r s, or r_0 s where P1 holds y in the clear, is shared by the dealer.

    Shapes: as `OpenedLinear`. Encoding: pair in Z_2^k, mask dealt, matrix in Z_2^m -> share in Z_2^min(k, m);
    fraction bits add up. Cost: no round; the dealer sends ceil(bits/8) bytes per element of the result.
    Error: none. Reveals: nothing. Source: Beaver 1991.
    """

    name = "linear-share"
    x: Pair
    y: Matrix
    addend: Tensor | None = None

    @property
    def bits(self) -> int:
        """Ring of the result."""
        return min(self.x.bits, self.y.bits)

    def _shape(self) -> tuple[int, ...]:
        return (*self.x.opened.shape[:-1], self.y.shape[1])

    def cost(self) -> Cost:
        return Cost(dealer_bytes=math.prod(self._shape()) * ring.element_bytes(self.bits))

    def deal(self, dealer: Dealer) -> Tensor:
        dealer.share(self.y.factor.product([self.y.left_mask(self.x)], self.bits), self.bits)
        return self.outline()

    def outline(self) -> Tensor:
        return unknown(self._shape())

    def ahead(self, party: PartyAhead) -> Tensor:
        party.keep(self.y.product_ahead(self.x, self.bits))
        return super().ahead(party)

    def evaluate(self, party: Party) -> Tensor:
        z = self.y.product(self.x, self.bits, party.made_ahead())
        if self.addend is not None:
            z += self.addend
        return z.add_(party.correlation(self._shape(), self.bits))
