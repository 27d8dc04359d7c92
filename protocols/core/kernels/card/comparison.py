"""The two folds of a comparison on a card, on bit planes, and the products of masks that the second one takes.

The CPU's folds halve a table for every variable. Here a program adds up what the table would come to: each product of
masks times the public numbers that are no part of it.
"""

from __future__ import annotations

from functools import cache

import torch
import triton.language as tl
from torch import Tensor

from secure.protocols.core import bits, integer_functions
from secure.protocols.core.kernels import comparison
from secure.protocols.core.kernels.card.bits import ROW_BLOCK, subset_products
from secure.protocols.core.kernels.card.compiler import Number, Pointer, launch, loop, places


@comparison.merge_products.on_card
def merge_products(masks: Tensor, *, needs_equal: bool) -> Tensor:
    """See `comparison.merge_products`."""
    size, lowest = comparison.merged_digits(len(masks), needs_equal)
    return subset_products(masks, _shared(size, lowest), bits.ALL_ONES)


@comparison.leaves.on_card
def leaves(not_c: Tensor, products: Tensor, *, first: bool) -> tuple[Tensor, Tensor]:
    """See `comparison.leaves`."""
    numbers, digits, digit_bits, row = not_c.shape
    less, equal = (torch.empty((digits, numbers, row), dtype=torch.uint8, device=not_c.device) for _ in range(2))
    arguments = not_c.contiguous(), products.contiguous(), less, equal, digit_bits
    launch(_leaves, row, *arguments, others=(digits, numbers), first=first, block=ROW_BLOCK)
    return less, equal


@comparison.merge.on_card
def merge(
    opened: Tensor, masks: Tensor, shared: Tensor, highest: Tensor, *, needs_equal: bool, first: bool
) -> tuple[Tensor, Tensor]:
    """See `comparison.merge`."""
    size, lowest = comparison.merged_digits(len(opened), needs_equal)
    terms = integer_functions.numbers(_terms(size, lowest), opened.device)
    less, equal = (torch.empty(highest.shape, dtype=torch.uint8, device=highest.device) for _ in range(2))
    tensors = tuple(t.contiguous() for t in (opened, masks, shared, highest))
    counts = len(terms), len(opened), size - lowest
    launch(_merge, highest.numel(), *tensors, terms, less, equal, *counts, first=first, block=ROW_BLOCK)
    return less, equal


@cache
def _shared(size: int, lowest: int) -> tuple[int, ...]:
    """The products of masks that the dealer shares, in order: each a set of variables, p from lowest on, then g."""
    p_count = size - lowest
    of_p = [subset for subset in range(1 << p_count) if subset.bit_count() > 1]
    with_g = [1 << (p_count + i) | above for i in range(size - 1) for above in _above(i, size, lowest)[1:]]
    return (*of_p, *with_g)


def _above(i: int, size: int, lowest: int) -> range:
    """Every set of the p above digit i, as a number."""
    return range(0, 1 << (size - lowest), 1 << (i + 1 - lowest))


@cache
def _terms(size: int, lowest: int) -> tuple[tuple[int, int, int, int], ...]:
    """What G and P are the sums of. Of each term: which g it has, or -1 in P; where the product of p's masks stands
    among masks and shared, or -1 where it is one; the same of the mask of g times that product, or -1 in P; the set of
    public p that it has.
    """
    p_count, variables = size - lowest, 2 * size - 1 - lowest
    place = {0: -1} | {1 << i: i for i in range(variables)}
    place |= {subset: variables + i for i, subset in enumerate(_shared(size, lowest))}
    terms = []
    for i in range(size - 1):
        sets = _above(i, size, lowest)
        every = (1 << p_count) - sets.step
        terms += [(i, place[masks], place[1 << (p_count + i) | masks], every ^ masks) for masks in sets]
    if lowest == 0:
        every = (1 << p_count) - 1
        terms += [(-1, place[masks], -1, every ^ masks) for masks in range(1 << p_count)]
    return tuple(terms)


@loop
def _leaves(
    not_c: Pointer,
    products: Pointer,
    less: Pointer,
    equal: Pointer,
    digit_bits: Number,
    row: Number,
    first: tl.constexpr,
    block: tl.constexpr,
) -> None:
    i, inside = places(row, block)
    digit = tl.program_id(1).to(tl.int64)
    digits = tl.num_programs(1)
    number = tl.program_id(2).to(tl.int64)
    public = not_c + (number * digits + digit) * digit_bits * row + i
    is_less = tl.zeros((block,), tl.int32)
    is_equal = tl.zeros((block,), tl.int32)
    for subset in range(1 << digit_bits):
        # The empty product is one, of which the first party has all.
        at = products + ((subset - 1) * digits + digit) * row + i
        share = tl.load(at, mask=inside & (subset > 0), other=0).to(tl.int32)
        share = tl.where(subset > 0, share, 255 if first else 0)
        below, seen = share, 0
        if subset == 0:
            below = tl.zeros((block,), tl.int32)
        for j in range(digit_bits):
            bit = (subset >> j) & 1
            v = tl.load(public + j * row, mask=inside, other=0).to(tl.int32)
            share &= v | -bit
            below &= v | ((bit ^ seen) - 1)
            seen |= bit
        is_equal ^= share
        is_less ^= below
    at = (digit * tl.num_programs(2) + number) * row + i
    tl.store(less + at, is_less.to(tl.uint8), mask=inside)
    tl.store(equal + at, is_equal.to(tl.uint8), mask=inside)


@loop
def _merge(
    opened: Pointer,
    masks: Pointer,
    shared: Pointer,
    highest: Pointer,
    terms: Pointer,
    less: Pointer,
    equal: Pointer,
    term_count: Number,
    variables: Number,
    p_count: Number,
    count: Number,
    first: tl.constexpr,
    block: tl.constexpr,
) -> None:
    i, inside = places(count, block)
    is_less = tl.load(highest + i, mask=inside, other=0).to(tl.int32)
    is_equal = tl.zeros((block,), tl.int32)
    for t in range(term_count):
        term = terms + 4 * t + tl.zeros((block,), tl.int32)
        g, of_masks = tl.load(term), tl.load(term + 1)
        with_g, public = tl.load(term + 2), tl.load(term + 3)
        own = tl.load(masks + of_masks * count + i, mask=inside & (of_masks >= 0) & (of_masks < variables), other=0)
        own |= tl.load(shared + (of_masks - variables) * count + i, mask=inside & (of_masks >= variables), other=0)
        share = tl.where(of_masks < 0, 255 if first else 0, own.to(tl.int32))
        # G has (w + b) a, w public, from the shares of a and b a.
        w = tl.load(opened + (p_count + g) * count + i, mask=inside & (g >= 0), other=255).to(tl.int32)
        share &= w
        own = tl.load(masks + with_g * count + i, mask=inside & (with_g >= 0) & (with_g < variables), other=0)
        own |= tl.load(shared + (with_g - variables) * count + i, mask=inside & (with_g >= variables), other=0)
        share ^= own.to(tl.int32)
        for k in range(p_count):
            v = tl.load(opened + k * count + i, mask=inside, other=0).to(tl.int32)
            share &= v | (((public >> k) & 1) - 1).to(tl.int32)
        is_less ^= tl.where(g >= 0, share, 0)
        is_equal ^= tl.where(g >= 0, 0, share)
    tl.store(less + i, is_less.to(tl.uint8), mask=inside)
    tl.store(equal + i, is_equal.to(tl.uint8), mask=inside)
