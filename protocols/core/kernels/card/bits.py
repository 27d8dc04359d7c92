"""Bit planes on a card: to and from elements, and products of them."""

from __future__ import annotations

import math

import torch
import triton.language as tl
from torch import Tensor

from secure.protocols.core import bits, integer_functions
from secure.protocols.core.kernels.card.compiler import Number, Pointer, launch, loop, places

ROW_BLOCK = 128
"""Bytes of a plane that one program makes, each of eight elements."""


@bits.to_planes.on_card
def to_planes(x: Tensor, count: int, lowest: int = 0) -> Tensor:
    """See `bits.to_planes`."""
    x = x.contiguous()
    elements = x.shape[-1]
    row, rows = bits.plane_bytes(elements), math.prod(x.shape[:-1])
    planes = torch.empty((*x.shape[:-1], count, row), dtype=torch.uint8, device=x.device)
    launch(_to_planes, row, x, planes, elements, count, lowest, others=(rows,), block=ROW_BLOCK)
    return planes


@bits.from_planes.on_card
def from_planes(planes: Tensor, elements: int, dtype: torch.dtype = torch.int64) -> Tensor:
    """See `bits.from_planes`."""
    planes = planes.contiguous()
    found = torch.empty((*planes.shape[:-1], elements), dtype=dtype, device=planes.device)
    launch(_from_planes, elements, planes, found, planes.shape[-1], others=(math.prod(planes.shape[:-1]),))
    return found


@bits.products.on_card
def products(factors: Tensor, one: int = bits.ALL_ONES) -> Tensor:
    """See `bits.products`."""
    return subset_products(factors, tuple(range(1 << len(factors))), one)


def subset_products(factors: Tensor, subsets: tuple[int, ...], one: int) -> Tensor:
    """Products of some subsets of factors, each a number with factor i in bit i. Shapes: [k, ...] -> [S, ...]."""
    factors = factors.contiguous()
    result = torch.empty((len(subsets), *factors.shape[1:]), dtype=factors.dtype, device=factors.device)
    chosen = integer_functions.numbers(subsets, factors.device)
    launch(_subset_products, factors[0].numel(), factors, chosen, result, len(factors), one, others=(len(subsets),))
    return result


@loop
def _to_planes(
    x: Pointer,
    planes: Pointer,
    elements: Number,
    count: Number,
    lowest: Number,
    row: Number,
    block: tl.constexpr,
) -> None:
    byte, inside = places(row, block)
    number = tl.program_id(1).to(tl.int64)
    bit = tl.arange(0, 8)[None, :]
    element = byte[:, None] * 8 + bit
    word = tl.load(x + number * elements + element, mask=element < elements, other=0)
    for j in range(count):
        packed = tl.sum((((word >> (lowest + j)) & 1) << bit).to(tl.int32), axis=1)
        tl.store(planes + (number * count + j) * row + byte, packed.to(tl.uint8), mask=inside)


@loop
def _from_planes(planes: Pointer, bits: Pointer, row: Number, elements: Number, block: tl.constexpr) -> None:
    i, inside = places(elements, block)
    plane = tl.program_id(1).to(tl.int64)
    byte = tl.load(planes + plane * row + (i >> 3), mask=inside, other=0).to(tl.int64)
    bit = (byte >> (i & 7)) & 1
    tl.store(bits + plane * elements + i, bit.to(bits.dtype.element_ty), mask=inside)


@loop
def _subset_products(
    factors: Pointer,
    subsets: Pointer,
    result: Pointer,
    variables: Number,
    one: Number,
    count: Number,
    block: tl.constexpr,
) -> None:
    i, inside = places(count, block)
    number = tl.program_id(1).to(tl.int64)
    subset = tl.load(subsets + number)
    product = tl.zeros((block,), tl.int64) + one
    for k in range(variables):
        factor = tl.load(factors + k * count + i, mask=inside, other=0).to(tl.int64)
        product &= factor | (((subset >> k) & 1) - 1)
    tl.store(result + number * count + i, product.to(result.dtype.element_ty), mask=inside)
