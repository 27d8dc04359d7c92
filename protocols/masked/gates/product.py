"""Products of secrets: elementwise, matrices, without an opening, squares."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum

from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.cost import Cost
from secure.protocols.masked.gate import Gate, OpeningGate
from secure.protocols.masked.gates.opening import unknown
from secure.protocols.masked.pair import Pair
from secure.protocols.masked.roles import Dealer, Party


class Bilinear(Enum):
    """A product that distributes over sums."""

    ELEMENTWISE = "product"
    MATRIX = "matmul"

    def __call__(self, x: Tensor, y: Tensor, bits: int) -> Tensor:
        return x * y if self is Bilinear.ELEMENTWISE else ring.matmul(x, y, bits)

    def shape(self, x: Tensor, y: Tensor) -> tuple[int, ...]:
        """The result's shape."""
        if self is Bilinear.ELEMENTWISE:
            return ring.broadcast(x.shape, y.shape)
        return (*ring.broadcast(x.shape[:-2], y.shape[:-2]), x.shape[-2], y.shape[-1])


@dataclass(frozen=True, eq=False)
class OpenedProduct(OpeningGate):
    """f(x, y) for a bilinear f, opened under a mask: the masked pair of the product at the scale of both factors.

    With c = x + r and d = y + s public:  f(x, y) = f(c, [y]) - f([r], d) + f(r, s).
    The parties add their shares of a fresh mask t to the first two terms and open. f(r, s) is never sent: the dealer
    knows that what was opened is f(x, y) + (t - f(r, s)). The truncation follows from this opening locally.

    Shapes: as torch's * or @. Encoding: pairs in Z_2^k, Z_2^m, masks dealt -> pair in Z_2^min(k, m), mask not dealt;
    fraction bits add up; with `dropped` bits the ring has, and the fraction bits are, as many less.
    Cost: 1 round, ceil((bits - dropped)/8) bytes per element of the result; the dealer sends nothing.
    Error: none, or as `OpeningGate`. Reveals: the masked product, which is uniform.
    Source: Beaver 1991; fusing the truncation as in the project's design notes.
    """

    name = "product"
    kind: Bilinear
    x: Pair
    y: Pair
    y_share: Tensor

    @property
    def bits(self) -> int:
        """Ring of the result."""
        return min(self.x.bits, self.y.bits)

    def cost(self) -> Cost:
        count = math.prod(self.kind.shape(self.x.opened, self.y.opened))
        return Cost(rounds=1, online_bytes=count * ring.element_bytes(self.bits - self.dropped))

    def deal(self, dealer: Dealer) -> Pair:
        assert self.x.mask is not None and self.y.mask is not None
        of_masks = self.kind(self.x.mask, self.y.mask, self.bits)
        return replace(self.outline(), mask=self.pair_mask(dealer, of_masks.neg_(), self.bits))

    def outline(self) -> Pair:
        shape = self.kind.shape(self.x.opened, self.y.opened)
        return Pair(unknown(shape), None, self.bits - self.dropped, dealt=False)

    def evaluate(self, party: Party) -> Pair:
        assert self.x.mask is not None
        z = self.kind(self.x.opened, self.y_share, self.bits)
        z -= self.kind(self.x.mask, self.y.opened, self.bits)
        return self.opened_pair(party, z, self.bits)


@dataclass(frozen=True, eq=False)
class ProductShare(Gate[Tensor]):
    """Shares of x * y elementwise, not opened: for what is added to something else before both are truncated.

    As `OpenedProduct`, but r s is shared by the dealer.

    Shapes: as torch's *. Encoding: pairs in Z_2^k, Z_2^m, masks dealt -> share in Z_2^min(k, m); fraction bits add up.
    Cost: no round; the dealer sends ceil(bits/8) bytes per element of the result.
    Error: none. Reveals: nothing. Source: Beaver 1991.
    """

    name = "product-share"
    x: Pair
    y: Pair
    y_share: Tensor

    @property
    def bits(self) -> int:
        """Ring of the result."""
        return min(self.x.bits, self.y.bits)

    def _shape(self) -> tuple[int, ...]:
        return Bilinear.ELEMENTWISE.shape(self.x.opened, self.y.opened)

    def cost(self) -> Cost:
        return Cost(dealer_bytes=math.prod(self._shape()) * ring.element_bytes(self.bits))

    def deal(self, dealer: Dealer) -> Tensor:
        assert self.x.mask is not None and self.y.mask is not None
        dealer.share(self.x.mask * self.y.mask, self.bits)
        return self.outline()

    def outline(self) -> Tensor:
        return unknown(self._shape())

    def evaluate(self, party: Party) -> Tensor:
        assert self.x.mask is not None
        z = self.x.opened * self.y_share - self.x.mask * self.y.opened
        return z.add_(party.correlation(self._shape(), self.bits))


@dataclass(frozen=True, eq=False)
class Square(Gate[Tensor]):
    """Shares of x^2, or of its sum along the last axis (kept, length one).

    x^2 = c^2 - 2 c [r] + [r^2]; of the last term only the sum is dealt.

    Shapes: [..., n] -> the same, or [..., 1]. Encoding: pair in Z_2^k, mask dealt -> share in Z_2^k; twice the
    fraction bits. Cost: no round; the dealer sends ceil(k/8) bytes per element of the result.
    Error: none. Reveals: nothing. Source: as in CrypTen's square triples, from one opening.
    """

    name = "square"
    x: Pair
    summed: bool

    def _reduce(self, t: Tensor) -> Tensor:
        return t.sum(-1, keepdim=True) if self.summed else t

    def _shape(self) -> tuple[int, ...]:
        shape = tuple(self.x.opened.shape)
        return (*shape[:-1], 1) if self.summed else shape

    def cost(self) -> Cost:
        return Cost(dealer_bytes=math.prod(self._shape()) * ring.element_bytes(self.x.bits))

    def deal(self, dealer: Dealer) -> Tensor:
        assert self.x.mask is not None
        dealer.share(self._reduce(self.x.mask * self.x.mask), self.x.bits)
        return self.outline()

    def outline(self) -> Tensor:
        return unknown(self._shape())

    def evaluate(self, party: Party) -> Tensor:
        assert self.x.mask is not None
        c = self.x.opened
        local = c * (c - 2 * self.x.mask) if party.index == 0 else c * self.x.mask * -2
        return self._reduce(local) + party.correlation(self._shape(), self.x.bits)
