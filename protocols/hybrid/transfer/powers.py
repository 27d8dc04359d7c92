"""What a dealer shares for `Exp2Negative`, made by two parties: bits of a window, and 2^r for a mask of two halves.

With r_i' = r_i mod 16, in fixed point, r mod 16 is r_0' + r_1' or, where that wraps, 16 less: so with E_i = 2^(r_i'),
which each party has in the clear, and w the carry out of the sum's lowest 20 bits, which the window's bits of r come
with,

    2^r = E_0 E_1 (1 - w) + E_0 E_1 2^-16 w.

E_0 E_1 is P0's number times P1's, in Z_2^64 with 30 fraction bits. Both parties drop 16 low bits of their shares, and
32, which gives the product, and the product over 2^16, with 14 fraction bits. The latter is lifted, and w times the
difference is a bit times a word, as are both bit masks times 2^r. Cost: the window's bits as in a comparison, 32
transfers of a word for the product, one for the lift and, in each direction, three for bits times words.

Error of 2^r, which is at least one: one unit of 2^-14, and of both factors, rounded to 2^-15, at most 2^-15 of 2^r.
"""

from __future__ import annotations

import numpy as np

from secure.protocols.core import bits
from secure.protocols.core.kernels import powers
from secure.protocols.core.kernels.cpu.compiler import Array
from secure.protocols.hybrid.roles import as_array, as_tensor
from secure.protocols.hybrid.transfer.comparison import bits_of_sum, crossed_merges, crossed_sum, make_merges
from secure.protocols.hybrid.transfer.crossing import Crossed, crossed_words
from secure.protocols.hybrid.transfer.lifting import crossed_lift, dropped, lifted
from secure.protocols.hybrid.transfer.making import Making
from secure.protocols.hybrid.transfer.pieces import times_bits
from secure.protocols.hybrid.transfer.rows import RowProducts
from secure.protocols.masked.comparison import window
from secure.protocols.masked.gates.exponential import (
    DROPPED_BITS,
    FACTOR_BITS,
    FRACTION_BITS,
    RANGE_BITS,
    RING_BITS,
)

_WRAP = RANGE_BITS + FRACTION_BITS
"""The place of the carry w."""
_PRODUCT_BITS = 64
_FINE_BITS = 15
"""Fraction bits of a factor: so the product, below 2^32, has the two spare bits that dropping takes."""
_NUMBER_BITS = (1 << RANGE_BITS) + _FINE_BITS + 1
_SHIFT = 2 * _FINE_BITS - FACTOR_BITS
_SMALL_SHIFT = _SHIFT + (1 << RANGE_BITS)
_SUM_BITS = DROPPED_BITS + window.COARSE_BITS
_CASES = 2


def crossed(count: int) -> Crossed:
    """What making it takes, for so many numbers."""
    row = bits.plane_bytes(count)
    of_window = crossed_sum(_SUM_BITS, row) + crossed_merges(window.PLAN, (window.MERGED,), window.CASES, row)
    of_power = _products(count).crossed() + crossed_lift(count, _PRODUCT_BITS - _SMALL_SHIFT, RING_BITS)
    selected = crossed_words((count, count), RING_BITS)
    return of_window + of_power + selected + crossed_words((_CASES * count, _CASES * count), RING_BITS)


def make(making: Making, mask: Array) -> None:
    """mask: this party's half of the pair's. Shapes: uint64 [n]."""
    crossing, count = making.crossing, len(mask)
    found = bits_of_sum(crossing, mask, _SUM_BITS)
    digits = found[DROPPED_BITS:].reshape(window.PLAN.digits, window.PLAN.digit_bits, -1)
    make_merges(making, digits, (window.MERGED,), window.CASES)
    masks = _bits(making.mask_planes((_CASES, bits.plane_bytes(count))), count)
    wrapped = _bits(found[_WRAP] ^ bits.to_planes(as_tensor(mask), 1, _WRAP)[0].numpy(), count)
    own = as_array(powers.power_of_mask(as_tensor(mask), RANGE_BITS, _FINE_BITS))
    product = _products(count).cross(crossing, own if crossing.index == 0 else own[:, None])
    large = dropped(crossing, product[:, 0], _SHIFT, _PRODUCT_BITS)
    small = dropped(crossing, product[:, 0], _SMALL_SHIFT, _PRODUCT_BITS)
    small = lifted(crossing, small, _PRODUCT_BITS - _SMALL_SHIFT, RING_BITS)
    nothing = np.zeros(0, np.uint8)
    _, (less,) = times_bits(crossing, nothing, [(wrapped, small - large)], RING_BITS)
    power = large + less
    _, (masked,) = times_bits(crossing, nothing, [(masks, np.broadcast_to(power, masks.shape))], RING_BITS)
    for words in (power, *masked):
        making.keep_words(words, RING_BITS)


def _products(count: int) -> RowProducts:
    return RowProducts(count, 1, _PRODUCT_BITS, _NUMBER_BITS)


def _bits(planes: Array, count: int) -> Array:
    """Zeros and ones. Shapes: uint8 [..., row] -> [..., count]."""
    found: Array = np.unpackbits(planes, axis=-1, count=count, bitorder="little")
    return found
