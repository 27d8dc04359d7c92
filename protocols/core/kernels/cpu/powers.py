"""Powers of two in integers on the CPU, and their products with shares."""

from __future__ import annotations

from torch import Tensor

from secure.protocols.core.integer_functions import FRACTION_BITS, HALF_FRACTION, SCALE_BITS, powers
from secure.protocols.core.kernels import powers as steps
from secure.protocols.core.kernels.cpu.compiler import Array, computed, part
from secure.protocols.core.kernels.cpu.selection import choose

_FRACTION = (1 << FRACTION_BITS) - 1


@part
def _power_of_two(fraction: int, coarse: Array, fine: Array, scale: int) -> int:
    """See `integer_functions.power_of_two`, whose tables coarse and fine are."""
    half = 1 << (scale - 1)
    power: int = (coarse[fraction >> HALF_FRACTION] * fine[fraction & ((1 << HALF_FRACTION) - 1)] + half) >> scale
    return power


def _power_of_mask(mask: Array, coarse: Array, fine: Array, scale: int, range_bits: int, drop: int, out: Array) -> None:
    """See `powers.power_of_mask`. Shapes: [n] each, but [2^8] the tables."""
    for i in range(len(out)):
        power = _power_of_two(mask[i] & _FRACTION, coarse, fine, scale)
        whole = (mask[i] >> FRACTION_BITS) & ((1 << range_bits) - 1)
        out[i] = ((power << whole) + (1 << (drop - 1))) >> drop


@part
def _times_power(double: int, up: int) -> int:
    """Half of double times 2^up, rounded where that is no integer."""
    return (((double >> max(0, -up)) + 1) >> 1) << max(0, up)


def _power_products(
    negative: Array,
    bits: Array,
    power: Array,
    by_first: Array,
    by_second: Array,
    coarse: Array,
    fine: Array,
    scale: int,
    up: int,
    period: int,
    out: Array,
) -> None:
    """See `powers.power_products`. Shapes: [n] each, but bits [2, n] and [2^8] the tables."""
    for i in range(len(out)):
        double = _power_of_two(negative[i] & _FRACTION, coarse, fine, scale) << 1
        shift = up + (negative[i] >> FRACTION_BITS)
        out[i] = _times_power(double, shift) * choose(bits[0, i], power[i], by_first[i])
        out[i] += _times_power(double, shift - period) * choose(bits[1, i], power[i], by_second[i])


@steps.power_of_mask.on_cpu
def power_of_mask(mask: Tensor, range_bits: int, factor_bits: int) -> Tensor:
    """See `powers.power_of_mask`."""
    tables, drop = powers(mask.device), SCALE_BITS - factor_bits
    return computed(_power_of_mask, mask, *tables, SCALE_BITS, range_bits, drop, shape=mask.shape)


@steps.power_products.on_cpu
def power_products(negative: Tensor, bits: Tensor, shares: list[Tensor], public_bits: int, range_bits: int) -> Tensor:
    """See `powers.power_products`."""
    tables, up = powers(negative.device), public_bits - SCALE_BITS
    of_range = up, 1 << range_bits
    return computed(_power_products, negative, bits, *shares, *tables, SCALE_BITS, *of_range, shape=negative.shape)
