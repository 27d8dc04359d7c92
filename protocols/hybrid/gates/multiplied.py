"""Products of two secrets, elementwise or of matrices, from what both parties made."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.cost import Cost
from secure.protocols.hybrid.gates.cross_terms import CrossTerm, Elements, matrices, total
from secure.protocols.hybrid.gates.gate import HybridGate, Made
from secure.protocols.hybrid.roles import Maker, User, payload
from secure.protocols.hybrid.transfer.crossing import Crossing
from secure.protocols.masked.gates.product import Bilinear

_OWN = 1
"""The label of what each party draws for itself: P0's share of the result, P1's masks of both factors."""
_OTHER = 2


@dataclass(frozen=True, eq=False)
class Multiplied(HybridGate):
    """f(x, y) for a bilinear f, x = u + v and y = w + z with P0's u, w known before there is an input.

    f(u, w) is P0's own business, f(v, z) is P1's. For the rest, P1 draws s and t when this is made, and both have
    shares a + b = f(u, t) + f(s, w). With an input P1 sends v - s and z - t, and P0

        f(u, z - t) + f(v - s, w) + a + f(u, w) - r,      so that P1 has  f(x, y) - r  with its own  b + f(v, z),

    and P0's share is r, which it drew when this was made. Where x is y, one of both cross terms is made, twice. With
    `summed`, f of both is added up along the last axis, and that alone is kept, sent and masked.

    Shapes: as torch's * or @; [..., n] -> [..., 1] where it is summed. Encoding: shares in Z_2^bits or larger -> in
    Z_2^bits; fraction bits add up.
    Cost: two rounds, in which P1 sends ceil(bits/8) bytes for each element of both factors and P0 as many for each of
    the result. Making: as `secure.protocols.hybrid.gates.cross_terms` says, for a product of numbers 2 bits transfers
    and some bits^2/8 bytes; for large matrices, ciphertexts. P0 keeps u, w and a word for each result, P1 b.
    Error: none. Reveals: v - s and z - t to P0, uniform as s and t are P1's; f - r to P1, as r is P0's.
    Source: Gilboa, Two party RSA key generation, 1999; masks as Beaver, 1991; matrices by encryption as layers are.
    """

    name = "multiply"
    kind: Bilinear
    x: Tensor
    y: Tensor
    bits: int
    summed: bool = False

    @property
    def _square(self) -> bool:
        return self.x is self.y and self.kind is Bilinear.ELEMENTWISE

    @property
    def _products(self) -> tuple[int, ...]:
        """The shape of f of both, before a sum."""
        return self.kind.shape(self.x, self.y)

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self._products[:-1], 1) if self.summed else self._products

    def _reduced(self, products: Tensor) -> Tensor:
        return products.sum(-1, keepdim=True) if self.summed else products

    def _multiply(self, x: Tensor, y: Tensor) -> Tensor:
        return self._reduced(self.kind(x, y, self.bits))

    @property
    def _factors(self) -> tuple[Tensor, ...]:
        return (self.x,) if self._square else (self.x, self.y)

    def _bytes(self, shape: tuple[int, ...]) -> int:
        return math.prod(shape) * ring.element_bytes(self.bits)

    @property
    def _factor_bytes(self) -> int:
        return sum(self._bytes(tuple(factor.shape)) for factor in self._factors)

    def cost(self) -> Cost:
        return Cost(2, p0_bytes=self._bytes(self.shape), p1_bytes=self._factor_bytes)

    def made(self) -> Made:
        of_result = self._bytes(self.shape)
        return Made(total(self._terms)[0], self._factor_bytes + of_result, of_result)

    @property
    def transfers(self) -> tuple[int, int]:
        return total(self._terms)[1]

    @property
    def _terms(self) -> list[CrossTerm]:
        """The cross terms: u times t, and s times w."""
        count = math.prod(self._products)
        if self.kind is Bilinear.ELEMENTWISE:
            return [Elements(count, self.bits) for _ in self._factors]
        rows, columns = self._products[-2:]
        batch, inner = count // (rows * columns), self.x.shape[-1]
        return [matrices(batch, m, inner, n, self.bits) for m, n in ((rows, columns), (columns, rows))]

    def make(self, maker: Maker) -> Tensor:
        if maker.index == 1:
            masks = self._masks(maker)
            share = self._cross(maker, *masks)
            self._keep(maker, share)
            return self.outcome
        own = ring.low(maker.words(_OWN, self.shape), self.bits)
        share = self._cross(maker, self.x, self.y)
        for factor in self._factors:
            self._keep(maker, factor)
        self._keep(maker, share + self._multiply(self.x, self.y) - own)
        return own

    def use(self, user: User) -> Tensor:
        if user.index == 1:
            masks = self._masks(user)
            factors = [(self.x, masks[0])] if self._square else [(self.x, masks[0]), (self.y, masks[1])]
            # Whole bytes are sent, so the bits above the ring are masked, too.
            for factor, mask in factors:
                user.send(payload(ring.pack(factor - mask, self.bits).numpy()))
            result = self._taken(user, self.shape) + self._multiply(self.x, self.y)
            message = user.receive(self._bytes(self.shape))
            return ring.low(ring.unpack_added(message, result, self.bits), self.bits)
        own = [self._taken(user, tuple(factor.shape)) for factor in self._factors]
        result, high = self._taken(user, self.shape), user.words(_OWN, self.shape)
        opened = [
            ring.unpack(user.receive(self._bytes(tuple(f.shape))), tuple(f.shape), self.bits) for f in self._factors
        ]
        result = result + self._multiply(own[0], opened[-1]) + self._multiply(opened[0], own[-1])
        # What was kept has the mask's low bits off; the bits above the ring go under those that it did not use.
        result = result - (high - ring.low(high, self.bits))
        user.send(payload(ring.pack(result, self.bits).numpy()))
        return self.outcome

    def _masks(self, party: Maker | User) -> tuple[Tensor, Tensor]:
        """P1's s and t, the same one where x is y."""
        first = party.words(_OWN, tuple(self.x.shape))
        return first, first if self._square else party.words(_OTHER, tuple(self.y.shape))

    def _cross(self, maker: Maker, x: Tensor, y: Tensor) -> Tensor:
        """A share of f(u, t) + f(s, w), from u and w at P0 and from s and t at P1. Shapes: -> those of the result."""
        crossing, labels = Crossing(maker), itertools.count(_OTHER + 1)
        if self.kind is Bilinear.ELEMENTWISE:
            own = [factor.expand(self._products) for factor in ((x, y) if maker.index == 0 else (y, x))]
        else:
            batch = self._products[:-2]
            left, right = (
                factor.expand(*batch, *factor.shape[-2:]).reshape(-1, *factor.shape[-2:]) for factor in (x, y)
            )
            own = [left, right.mT] if maker.index == 0 else [right, left.mT]
        shares = [term.share(crossing, each, labels) for term, each in zip(self._terms, own, strict=False)]
        if self.kind is Bilinear.ELEMENTWISE:
            return self._reduced((shares[0] + shares[-1]).reshape(self._products))
        return (shares[0] + shares[1].mT).reshape(self.shape)

    def _keep(self, maker: Maker, share: Tensor) -> None:
        maker.stock.put(maker.gate, ring.pack(share.contiguous(), self.bits).numpy())

    def _taken(self, user: User, shape: tuple[int, ...]) -> Tensor:
        return ring.unpack(user.stock.take(user.gate, self._bytes(shape)).data, shape, self.bits)
