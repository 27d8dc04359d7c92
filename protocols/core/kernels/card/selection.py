"""Local steps of gates on a card: shifts, lifts, and what opened bits select."""

from __future__ import annotations

import torch
import triton.language as tl
from torch import Tensor

from secure.protocols.core import integer_functions, ring
from secure.protocols.core.kernels import selection
from secure.protocols.core.kernels.card.compiler import Block, Number, Pointer, launch, loop, places
from secure.protocols.core.kernels.selection import Straight


@selection.select.on_card
def select(bit: Tensor, shared: Tensor, masked: Tensor) -> Tensor:
    """See `selection.select`."""
    result = torch.empty_like(masked)
    launch(_select, result.numel(), bit.contiguous(), shared.contiguous(), masked.contiguous(), result)
    return result


@selection.shift_opened.on_card
def shift_opened(opened: Tensor, shift: int, bits: int) -> Tensor:
    """See `selection.shift_opened`."""
    opened = opened.contiguous()
    result = torch.empty_like(opened)
    low = (1 << kept) - 1 if (kept := bits - shift) < ring.WORD_BITS else -1
    launch(_shift_opened, result.numel(), opened, result, 1 << (bits - 2), shift, low)
    return result


@selection.lift.on_card
def lift(opened: Tensor, mask: Tensor, mask_top: Tensor, bits: int, *, first: bool) -> Tensor:
    """See `selection.lift`."""
    opened = opened.contiguous()
    result = torch.empty_like(opened)
    launch(_lift, result.numel(), opened, mask.contiguous(), mask_top.contiguous(), result, bits, first=first)
    return result


@selection.lines.on_card
def lines(
    opened: Tensor,
    mask: Tensor | None,
    bits: Tensor,
    bit_masks: Tensor,
    masked: Tensor | None,
    sloped: list[int],
    constants: Tensor,
    slopes: Tensor,
    *,
    first: bool,
) -> Tensor:
    """See `selection.lines`. Without slopes neither mask nor masked is read."""
    result = torch.empty_like(opened, memory_format=torch.contiguous_format)
    place = integer_functions.numbers(selection.places_of(sloped, len(bits)), opened.device)
    read = opened if mask is None else mask, bits, bit_masks, bit_masks if masked is None else masked
    tensors = (t.contiguous() for t in (opened, *read, place, constants, slopes))
    launch(_lines, result.numel(), *tensors, result, len(bits), first=first)
    return result


@selection.smooth.on_card
def smooth(
    opened: Tensor,
    mask: Tensor | None,
    series: Tensor,
    bits: Tensor,
    bit_masks: Tensor,
    of_middle: tuple[Tensor, Tensor, Tensor, Tensor],
    of_upper: Tensor | None,
    lines: Straight,
    series_bits: int,
    *,
    first: bool,
) -> Tensor:
    """See `selection.smooth`. What a slope of zero multiplies may be anything."""
    own, above = (opened if missing is None else missing for missing in (mask, of_upper))
    result = torch.empty_like(opened, memory_format=torch.contiguous_format)
    tensors = (t.contiguous() for t in (opened, own, series, bits, bit_masks, *of_middle, above))
    launch(_smooth, result.numel(), *tensors, result, *lines, series_bits, first=first)
    return result


@loop
def chosen(bit: Block, shared: Block, masked: Block) -> Block:
    """A share of b w from shares of w and ρ w."""
    return tl.where(bit != 0, shared - masked, masked)


@loop
def wrapped(shifted: Block, bits: Number) -> Block:
    """2^bits where the top bit is not set."""
    return (1 - ((shifted >> (bits - 1)) & 1)) << bits


@loop
def _select(
    bit: Pointer, shared: Pointer, masked: Pointer, result: Pointer, count: Number, block: tl.constexpr
) -> None:
    i, inside = places(count, block)
    found = chosen(tl.load(bit + i, mask=inside), tl.load(shared + i, mask=inside), tl.load(masked + i, mask=inside))
    tl.store(result + i, found, mask=inside)


@loop
def _shift_opened(
    opened: Pointer, result: Pointer, offset: Number, shift: Number, kept: Number, count: Number, block: tl.constexpr
) -> None:
    i, inside = places(count, block)
    moved = tl.load(opened + i, mask=inside) + offset
    tl.store(result + i, ((moved >> shift) & kept) - (offset >> shift), mask=inside)


@loop
def _lift(
    opened: Pointer,
    mask: Pointer,
    mask_top: Pointer,
    result: Pointer,
    bits: Number,
    count: Number,
    first: tl.constexpr,
    block: tl.constexpr,
) -> None:
    i, inside = places(count, block)
    one = tl.full((block,), 1, tl.int64)
    offset = one << (bits - 2)
    shifted = (tl.load(opened + i, mask=inside) + offset) & ((one << bits) - 1)
    share = wrapped(shifted, bits) * tl.load(mask_top + i, mask=inside) - tl.load(mask + i, mask=inside)
    if first:
        share += shifted - offset
    tl.store(result + i, share, mask=inside)


@loop
def _lines(
    opened: Pointer,
    mask: Pointer,
    bits: Pointer,
    bit_masks: Pointer,
    masked: Pointer,
    place: Pointer,
    constants: Pointer,
    slopes: Pointer,
    result: Pointer,
    pieces: Number,
    count: Number,
    first: tl.constexpr,
    block: tl.constexpr,
) -> None:
    i, inside = places(count, block)
    c = tl.load(opened + i, mask=inside)
    r = tl.load(mask + i, mask=inside)
    total = tl.zeros((block,), tl.int64)
    one = tl.full((block,), first, tl.int64)
    for k in range(pieces):
        bit = tl.load(bits + k * count + i, mask=inside)
        share = chosen(bit, one, tl.load(bit_masks + k * count + i, mask=inside))
        j = tl.load(place + k) + tl.zeros((block,), tl.int64)
        product = tl.load(masked + j * count + i, mask=inside & (j >= 0), other=0)
        line = (share * c - chosen(bit, r, product)) * tl.load(slopes + k)
        total += share * tl.load(constants + k) + tl.where(j >= 0, line, 0)
    tl.store(result + i, total, mask=inside)


@loop
def _smooth(
    opened: Pointer,
    mask: Pointer,
    series: Pointer,
    bits: Pointer,
    bit_masks: Pointer,
    remainder: Pointer,
    masked: Pointer,
    top: Pointer,
    masked_top: Pointer,
    of_upper: Pointer,
    result: Pointer,
    middle_constant: Number,
    upper_constant: Number,
    middle_slope: Number,
    upper_slope: Number,
    series_bits: Number,
    count: Number,
    first: tl.constexpr,
    block: tl.constexpr,
) -> None:
    i, inside = places(count, block)
    one = tl.full((block,), 1, tl.int64)
    offset = one << (series_bits - 2)
    shifted = (tl.load(series + i, mask=inside) + offset) & ((one << series_bits) - 1)
    wrap = wrapped(shifted, series_bits)
    c = tl.load(opened + i, mask=inside)
    r = tl.load(mask + i, mask=inside)
    middle = middle_constant + middle_slope * c + shifted - offset
    upper = upper_constant + upper_slope * c
    middle_share = wrap * tl.load(top + i, mask=inside) - tl.load(remainder + i, mask=inside) - middle_slope * r
    upper_share = -upper_slope * r
    if first:
        middle_share += middle
        upper_share += upper
    masked_middle = middle * tl.load(bit_masks + i, mask=inside) - tl.load(masked + i, mask=inside)
    masked_middle += wrap * tl.load(masked_top + i, mask=inside)
    masked_upper = upper * tl.load(bit_masks + count + i, mask=inside)
    masked_upper -= upper_slope * tl.load(of_upper + i, mask=inside)
    found = chosen(tl.load(bits + i, mask=inside), middle_share, masked_middle)
    found += chosen(tl.load(bits + count + i, mask=inside), upper_share, masked_upper)
    tl.store(result + i, found, mask=inside)
