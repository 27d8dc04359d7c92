"""Local steps of the exponential: powers of two of a mask, and of an opened number times shares of those.

Bits are 0 / 1 in uint8. The loops are in `cpu/powers.py` and `card/powers.py`.
"""

from __future__ import annotations

from torch import Tensor

from secure.protocols.core import integer_functions, ring
from secure.protocols.core.kernels.dispatch import step
from secure.protocols.core.kernels.selection import select


@step
def power_of_mask(mask: Tensor, range_bits: int, factor_bits: int) -> Tensor:
    """2^r with factor_bits fraction bits, for r mod 2^range_bits with 16 fraction bits. Shapes: int64 [n] -> [n]."""
    fraction = integer_functions.power_of_two(ring.low(mask, integer_functions.FRACTION_BITS))
    whole = ring.low(mask >> integer_functions.FRACTION_BITS, range_bits)
    return integer_functions.rounded(fraction << whole, integer_functions.SCALE_BITS - factor_bits)


@step
def power_products(negative: Tensor, bits: Tensor, shares: list[Tensor], public_bits: int, range_bits: int) -> Tensor:
    """A share of (b_0 + b_1 2^(-2^range_bits)) 2^e 2^r, b_k = v_k ⊕ ρ_k, as `gates.exponential` explains.

    negative: e <= 1 with 16 fraction bits; 2^e is taken with public_bits fraction bits. bits: the v_k, 0 / 1 in uint8.
    shares: of 2^r, ρ_0 2^r and ρ_1 2^r. Shapes: int64 [n], bits [2, n].
    """
    power, *masked = shares
    here, wrapped = (select.plain(bit, power, product) for bit, product in zip(bits, masked, strict=True))
    fraction = integer_functions.power_of_two(ring.low(negative, integer_functions.FRACTION_BITS))
    up = (negative >> integer_functions.FRACTION_BITS) + public_bits - integer_functions.SCALE_BITS
    return _shifted(fraction, up) * here + _shifted(fraction, up - (1 << range_bits)) * wrapped


def _shifted(x: Tensor, up: Tensor) -> Tensor:
    """x 2^up, rounded where that is no integer."""
    return (((x << 1) >> (-up).clamp(min=0)) + 1 >> 1) << up.clamp(min=0)
