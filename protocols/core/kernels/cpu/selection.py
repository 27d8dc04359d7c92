"""Local steps of gates on the CPU: shifts, lifts, and what opened bits select."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from secure.protocols.core import integer_functions, ring
from secure.protocols.core.kernels import selection
from secure.protocols.core.kernels.cpu.compiler import Array, computed, elements, part
from secure.protocols.core.kernels.selection import Straight


@part
def choose(bit: Any, shared: Any, masked: Any) -> Any:
    """A share of b w, b = bit ⊕ ρ, from shares of w and ρ w: of one element. The bit becomes a word of ones or none."""
    ones = -np.int64(bit)
    return (masked ^ ones) - ones + (shared & ones)


def _select(bit: Array, shared: Array, masked: Array, out: Array) -> None:
    """See `selection.select`. Shapes: uint8 [n], int64 [n] each."""
    for i in range(len(bit)):
        out[i] = choose(bit[i], shared[i], masked[i])


def _shift_opened(opened: Array, shift: int, offset: int, low: int, out: Array) -> None:
    """See `selection.shift_opened`; `low` masks the bits that are left. Shapes: int64 [n] each."""
    for i in range(len(opened)):
        out[i] = (((opened[i] + offset) >> shift) & low) - (offset >> shift)


def _lift(opened: Array, mask: Array, mask_top: Array, bits: int, first: int, out: Array) -> None:
    """See `selection.lift`. Shapes: int64 [n] each."""
    offset, low = 1 << (bits - 2), (1 << bits) - 1
    for i in range(len(opened)):
        shifted = (opened[i] + offset) & low
        share = ((1 - (shifted >> (bits - 1))) * mask_top[i] << bits) - mask[i]
        out[i] = share + first * (shifted - offset)


def _lines(
    opened: Array,
    mask: Array,
    bits: Array,
    bit_masks: Array,
    masked: Array,
    place: Array,
    constants: Array,
    slopes: Array,
    first: int,
    out: Array,
) -> None:
    """See `selection.lines`. Shapes: [n], [n], [K, n], [K, n], [S, n], [K], [K], [K], [n]."""
    out[:] = 0
    for k in range(bits.shape[0]):
        v, rho, constant, slope = bits[k], bit_masks[k], constants[k], slopes[k]
        if slope:
            product = masked[place[k]]
            for i in range(len(opened)):
                share = choose(v[i], first, rho[i])
                line = share * opened[i] - choose(v[i], mask[i], product[i])
                out[i] += share * constant + line * slope
        elif constant:
            for i in range(len(opened)):
                out[i] += choose(v[i], first, rho[i]) * constant


def _smooth(
    opened: Array,
    mask: Array,
    series: Array,
    bits: Array,
    bit_masks: Array,
    remainder: Array,
    masked: Array,
    top: Array,
    masked_top: Array,
    of_upper: Array,
    middle_constant: int,
    upper_constant: int,
    middle_slope: int,
    upper_slope: int,
    series_bits: int,
    first: int,
    out: Array,
) -> None:
    """See `selection.smooth`. Shapes: int64 [n], but bits uint8 [2, n], bit_masks [2, n]."""
    offset, low = 1 << (series_bits - 2), (1 << series_bits) - 1
    for i in range(len(opened)):
        shifted = (series[i] + offset) & low
        wrapped = (1 - (shifted >> (series_bits - 1))) << series_bits
        middle = middle_constant + middle_slope * opened[i] + shifted - offset
        upper = upper_constant + upper_slope * opened[i]
        middle_share = first * middle - middle_slope * mask[i] - remainder[i] + wrapped * top[i]
        upper_share = first * upper - upper_slope * mask[i]
        masked_middle = middle * bit_masks[0, i] - masked[i] + wrapped * masked_top[i]
        masked_upper = upper * bit_masks[1, i] - upper_slope * of_upper[i]
        out[i] = choose(bits[0, i], middle_share, masked_middle) + choose(bits[1, i], upper_share, masked_upper)


def _largest(
    opened: Array,
    masks: Array,
    bits: Array,
    bit_masks: Array,
    several: Array,
    masked: Array,
    places: Array,
    first: int,
    out: Array,
) -> None:
    """See `selection.largest`; places[i, k], int64 [k, k - 1]: pair of number i and its k-th other."""
    others = opened.shape[0] - 1
    chosen, with_mask = np.empty(1 << others, dtype=np.int64), np.empty(1 << others, dtype=np.int64)
    for e in range(len(out)):
        total = first * opened[others, e] - masks[others, e]
        for i in range(others):
            chosen[0], with_mask[0], taken = first, masks[i, e] - masks[others, e], 0
            for k in range(others):
                chosen[1 << k] = bit_masks[places[i, k], e]
            for s in range(1, 1 << others):
                with_mask[s] = masked[i, s - 1, e]
                if s & (s - 1):
                    chosen[s] = several[i, taken, e]
                    taken += 1
            for k in range(others):
                bit = np.int64(bits[places[i, k], e]) ^ (k >= i)
                for s in range(1 << (others - 1 - k)):
                    chosen[s] = choose(bit, chosen[2 * s], chosen[2 * s + 1])
                    with_mask[s] = choose(bit, with_mask[2 * s], with_mask[2 * s + 1])
            total += (opened[i, e] - opened[others, e]) * chosen[0] - with_mask[0]
        out[e] = total


@selection.select.on_cpu
def select(bit: Tensor, shared: Tensor, masked: Tensor) -> Tensor:
    """See `selection.select`."""
    return computed(_select, bit, shared, masked, shape=masked.shape)


@selection.shift_opened.on_cpu
def shift_opened(opened: Tensor, shift: int, bits: int) -> Tensor:
    """See `selection.shift_opened`."""
    low = (1 << kept) - 1 if (kept := bits - shift) < ring.WORD_BITS else -1
    inputs = elements(opened), shift, 1 << (bits - 2), low
    return computed(_shift_opened, *inputs, shape=(opened.numel(),)).reshape(opened.shape)


@selection.lift.on_cpu
def lift(opened: Tensor, mask: Tensor, mask_top: Tensor, bits: int, *, first: bool) -> Tensor:
    """See `selection.lift`."""
    inputs = elements(opened), elements(mask), elements(mask_top), bits, int(first)
    return computed(_lift, *inputs, shape=(opened.numel(),)).reshape(opened.shape)


@selection.lines.on_cpu
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
    places = integer_functions.numbers(selection.places_of(sloped, len(bits)), opened.device)
    read = opened if mask is None else mask, bits, bit_masks, bit_masks if masked is None else masked
    return computed(_lines, opened, *read, places, constants, slopes, int(first), shape=opened.shape)


@selection.smooth.on_cpu
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
    inputs = opened, own, series, bits, bit_masks, *of_middle, above, *lines, series_bits, int(first)
    return computed(_smooth, *inputs, shape=opened.shape)


@selection.largest.on_cpu
def largest(
    opened: Tensor, masks: Tensor, bits: Tensor, bit_masks: Tensor, several: Tensor, masked: Tensor, *, first: bool
) -> Tensor:
    """See `selection.largest`."""
    count, row = opened.shape
    places = integer_functions.numbers(tuple(tuple(selection.positions(count, i)) for i in range(count)), opened.device)
    inputs = opened, masks, bits, bit_masks, several, masked, places, int(first)
    return computed(_largest, *inputs, shape=(row,))
