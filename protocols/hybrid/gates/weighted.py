"""Products elementwise with a tensor of the owner's, from what transfers made."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.cost import Cost
from secure.protocols.hybrid.gates.gate import HybridGate, Made
from secure.protocols.hybrid.roles import Maker, User, as_array, as_tensor
from secure.protocols.hybrid.transfer.crossing import Crossing
from secure.protocols.hybrid.transfer.rows import RowProducts
from secure.protocols.hybrid.weights import OwnerVector


@dataclass(frozen=True, eq=False)
class Weighted(HybridGate):
    """x w for a tensor w that P1 has, x = u + v with P0's u known before there is an input.

    v w is P1's own business. Of u w both have shares a + b once this is made: each number of w, whose bits P1 chooses
    with, times the row of all u that it is multiplied with. So P0's share is a, and P1's b + v w.

    Shapes: x any, w the last axes of it, or what broadcasts to x -> those of x. Encoding: shares in Z_2^bits or larger,
    |w| < 2^(number_bits - 1) as integers -> in Z_2^bits; fraction bits add up.
    Cost: none. Making is one exchange, as `secure.protocols.hybrid.transfer.rows` says, with number_bits transfers for
    each number of w. P1 keeps ceil(bits/8) bytes for each element. Error: none.
    Reveals: nothing, as nothing is opened. Source: Gilboa, Two party RSA key generation, 1999.
    """

    name = "weight"
    x: Tensor
    weight: OwnerVector
    bits: int
    number_bits: int

    @property
    def _fits(self) -> bool:
        """Whether w is the last axes of x, and not broadcast in another way."""
        return len(self.weight.shape) > 0 and tuple(self.x.shape[-len(self.weight.shape) :]) == self.weight.shape

    @property
    def _products(self) -> RowProducts:
        elements = self.x.numel()
        count = math.prod(self.weight.shape) if self._fits else elements
        return RowProducts(count, elements // count, self.bits, self.number_bits, owner=0)

    @property
    def _kept_bytes(self) -> int:
        return self.x.numel() * ring.element_bytes(self.bits)

    def cost(self) -> Cost:
        return Cost()

    def made(self) -> Made:
        return Made(self._products.crossed().cost, p1_kept=self._kept_bytes)

    @property
    def transfers(self) -> tuple[int, int]:
        return self._products.crossed().transfers

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.x.shape)

    def make(self, maker: Maker) -> Tensor:
        of = self._products
        if maker.index == 0:
            own = as_array(self.x.reshape(of.length, of.count).T.contiguous())
        else:
            assert self.weight.values is not None
            numbers = self.weight.values if self._fits else self.weight.values.expand(self.x.shape)
            own = as_array(numbers).reshape(-1)
        share = as_tensor(of.cross(Crossing(maker), own)).T.reshape(self.shape)
        if maker.index == 0:
            return ring.low(share, self.bits)
        maker.stock.put(maker.gate, ring.pack(share.contiguous(), self.bits).numpy())
        return self.outcome

    def use(self, user: User) -> Tensor:
        if user.index == 0:
            return self.outcome
        assert self.weight.values is not None
        kept = ring.unpack(user.stock.take(user.gate, self._kept_bytes).data, self.shape, self.bits)
        return ring.low(kept + self.x * self.weight.values, self.bits)
