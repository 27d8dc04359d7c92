"""Cosines and sines of multiples of a mask of which each party has half: what trigonometric sums take of it.

With r = r_0 + r_1, e^{iwr} = e^{iwr_0} e^{iwr_1}, so that of what each has in the clear

    cos wr = cos wr_0 cos wr_1 - sin wr_0 sin wr_1,   sin wr = cos wr_0 sin wr_1 + sin wr_0 cos wr_1:

P0's cosine times the row (cos, sin) of P1, and its sine times the row (-sin, cos), by the rows' exchange. Factors have
F fraction bits, the product 2 F, in the smallest ring that holds it; each party drops low bits of its share, and what
is left, a number below 2^(b+1) with b fraction bits, is lifted to the ring of the result.

Error: 1.2 units of 2^-b: one of dropping, and of factors with three bits more than b, where the tables have them, at
most 2^(-3/2) / 2 and what one less than the largest factor adds. Periods are powers of two units, so each half may be
reduced by itself; where a half has more bits than an angle, three floors are up to two units of 2^-24 turns off.
Cost: two exchanges. For each angle 2 (F + 1) transfers of rows of two words, and two for lifts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from secure.protocols.core.integer_functions import SCALE_BITS
from secure.protocols.core.kernels import harmonics
from secure.protocols.core.kernels.cpu.compiler import Array
from secure.protocols.core.kernels.harmonics import Harmonics
from secure.protocols.hybrid.roles import as_array, as_tensor
from secure.protocols.hybrid.transfer.crossing import Crossed, Crossing
from secure.protocols.hybrid.transfer.lifting import crossed_lift, dropped, lifted
from secure.protocols.hybrid.transfer.rows import RowProducts

_MORE_BITS = 3
"""Fraction bits of factors beyond those of the result: an eighth of its unit."""
_SPARE_BITS = 3
"""A sign, and room for a lift, above a number of magnitude one or a little more."""


@dataclass(frozen=True)
class Waves:
    """Shares in Z_2^bits of all harmonics of the masks of `elements` numbers, with basis_bits fraction bits."""

    harmonics: Harmonics
    elements: int
    basis_bits: int
    bits: int

    @property
    def _factor_bits(self) -> int:
        return min(SCALE_BITS, self.basis_bits + _MORE_BITS)

    @property
    def _angles(self) -> int:
        return len(self.harmonics.numbers) * len(self.harmonics.periods) * self.elements

    @property
    def _products(self) -> RowProducts:
        """A factor is below one, up to its unit: it has a sign and its fraction bits."""
        return RowProducts(2 * self._angles, 2, 2 * self._factor_bits + _SPARE_BITS, self._factor_bits + 1)

    @property
    def _kept_bits(self) -> int:
        """The ring once low bits were dropped."""
        return self.basis_bits + _SPARE_BITS

    def crossed(self) -> Crossed:
        """What it takes."""
        return self._products.crossed() + crossed_lift(2 * self._angles, self._kept_bits, self.bits)

    def make(self, crossing: Crossing, mask: Array) -> Array:
        """mask: this party's half. Shapes: uint64 [n] -> [H, 2, J, n], as `harmonics.basis`."""
        own = harmonics.basis(as_tensor(mask), self.harmonics, SCALE_BITS - self._factor_bits)
        cos, sin = (own[:, side].reshape(-1).numpy() for side in (0, 1))
        if crossing.index == 0:
            factors = np.minimum(np.concatenate([cos, sin]), (1 << self._factor_bits) - 1)
        else:
            factors = np.concatenate([np.stack([cos, sin], 1), np.stack([-sin, cos], 1)])
        found = self._products.cross(crossing, factors.view(np.uint64))
        shift = 2 * self._factor_bits - self.basis_bits
        total = dropped(crossing, found[: self._angles] + found[self._angles :], shift, self._products.width)
        share = lifted(crossing, total.reshape(-1), self._kept_bits, self.bits)
        shape = len(self.harmonics.numbers), len(self.harmonics.periods), self.elements, 2
        return as_array(as_tensor(share).reshape(shape).permute(0, 3, 1, 2))
