"""Powers of two on a card, and their products with shares."""

from __future__ import annotations

import torch
import triton.language as tl
from torch import Tensor

from secure.protocols.core import integer_functions
from secure.protocols.core.integer_functions import HALF_FRACTION, SCALE_BITS
from secure.protocols.core.kernels import powers
from secure.protocols.core.kernels.card.compiler import Block, Number, Pointer, launch, loop, places
from secure.protocols.core.kernels.card.harmonics import rounded
from secure.protocols.core.kernels.card.selection import chosen


@powers.power_products.on_card
def power_products(negative: Tensor, bits: Tensor, shares: list[Tensor], public_bits: int, range_bits: int) -> Tensor:
    """See `powers.power_products`."""
    result = torch.empty_like(negative, memory_format=torch.contiguous_format)
    tensors = (t.contiguous() for t in (negative, bits, *shares, *integer_functions.powers(negative.device)))
    arguments, up, period = (*tensors, result), public_bits - SCALE_BITS, 1 << range_bits
    launch(_power_products, len(negative), *arguments, up=up, half=HALF_FRACTION, scale=SCALE_BITS, range_size=period)
    return result


@loop
def _times_power(x: Block, up: Block) -> Block:
    """x 2^up, rounded where that is no integer."""
    down = tl.maximum(-up, 0)
    return ((((x << 1) >> down) + 1) >> 1) << tl.maximum(up, 0)


@loop
def _power_products(
    negative: Pointer,
    bits: Pointer,
    power: Pointer,
    by_first: Pointer,
    by_second: Pointer,
    coarse: Pointer,
    fine: Pointer,
    result: Pointer,
    count: Number,
    up: tl.constexpr,
    half: tl.constexpr,
    scale: tl.constexpr,
    range_size: tl.constexpr,
    block: tl.constexpr,
) -> None:
    i, inside = places(count, block)
    exponent = tl.load(negative + i, mask=inside, other=0)
    low: tl.constexpr = (1 << half) - 1
    fraction = tl.load(coarse + ((exponent >> half) & low)) * tl.load(fine + (exponent & low))
    fraction = rounded(fraction, scale)
    whole = tl.load(power + i, mask=inside)
    here = chosen(tl.load(bits + i, mask=inside), whole, tl.load(by_first + i, mask=inside))
    wrapped = chosen(tl.load(bits + count + i, mask=inside), whole, tl.load(by_second + i, mask=inside))
    shift = (exponent >> (2 * half)) + up
    public = _times_power(fraction, shift)
    public_wrapped = _times_power(fraction, shift - range_size)
    tl.store(result + i, public * here + public_wrapped * wrapped, mask=inside)
