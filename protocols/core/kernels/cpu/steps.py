"""Local steps of gates: shifts, lifts, and what opened bits select."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from secure.protocols.core.kernels.cpu.compiler import Array, compiled, part


@part
def choose(bit: Any, shared: Any, masked: Any) -> Any:
    """A share of b w, b = bit ⊕ ρ, from shares of w and ρ w: of one element. The bit becomes a word of ones or none."""
    ones = -np.int64(bit)
    return (masked ^ ones) - ones + (shared & ones)


def _select(bit: Array, shared: Array, masked: Array, out: Array) -> None:
    """See `local.select`. Shapes: uint8 [n], int64 [n] each."""
    for i in range(len(bit)):
        out[i] = choose(bit[i], shared[i], masked[i])


def _shift_opened(opened: Array, shift: int, offset: int, low: int, out: Array) -> None:
    """See `local.shift_opened`; `low` masks the bits that are left. Shapes: int64 [n] each."""
    for i in range(len(opened)):
        out[i] = (((opened[i] + offset) >> shift) & low) - (offset >> shift)


def _lift(opened: Array, mask: Array, mask_top: Array, bits: int, first: int, out: Array) -> None:
    """See `local.lift`. Shapes: int64 [n] each."""
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
    """See `local.lines`. Shapes: [n], [n], [K, n], [K, n], [S, n], [K], [K], [K], [n]."""
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
    """See `local.smooth`. Shapes: int64 [n], but bits uint8 [2, n], bit_masks [2, n]."""
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
    """See `local.largest`; places[i, k], int64 [k, k - 1]: pair of number i and its k-th other. Shapes: as there."""
    others = opened.shape[0] - 1
    chosen, with_mask = np.empty(1 << others, dtype=np.int64), np.empty(1 << others, dtype=np.int64)
    for e in range(len(out)):
        total = 0
        for i in range(others + 1):
            chosen[0], with_mask[0], taken = first, masks[i, e], 0
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
            total += opened[i, e] * chosen[0] - with_mask[0]
        out[e] = total


def select(bit: Array, shared: Array, masked: Array) -> Array:
    """`_select`, compiled."""
    out = np.empty_like(shared)
    compiled(_select)(bit, shared, masked, out)
    return out


def shift_opened(opened: Array, shift: int, bits: int) -> Array:
    """`_shift_opened`, compiled."""
    out = np.empty(len(opened), dtype=np.int64)
    compiled(_shift_opened)(opened, shift, 1 << (bits - 2), (1 << (bits - shift)) - 1, out)
    return out


def lift(opened: Array, mask: Array, mask_top: Array, bits: int, first: bool) -> Array:
    """`_lift`, compiled."""
    out = np.empty_like(opened)
    compiled(_lift)(opened, mask, mask_top, bits, int(first), out)
    return out


def lines(
    opened: Array,
    mask: Array,
    bits: Array,
    bit_masks: Array,
    masked: Array,
    place: Sequence[int],
    constants: Array,
    slopes: Array,
    first: bool,
) -> Array:
    """`_lines`, compiled."""
    out = np.zeros(len(opened), dtype=np.int64)
    places = np.array(place, dtype=np.int64)
    compiled(_lines)(opened, mask, bits, bit_masks, masked, places, constants, slopes, int(first), out)
    return out


def smooth(*arguments: Any) -> Array:
    """`_smooth`, compiled."""
    out: Array = np.empty_like(arguments[0])
    compiled(_smooth)(*arguments, out)
    return out


def largest(
    opened: Array,
    masks: Array,
    bits: Array,
    bit_masks: Array,
    several: Array,
    masked: Array,
    *,
    places: Sequence[Sequence[int]],
    first: bool,
) -> Array:
    """`_largest`, compiled."""
    out = np.empty(opened.shape[1], dtype=np.int64)
    arguments = opened, masks, bits, bit_masks, several, masked, np.array(places, dtype=np.int64), int(first), out
    compiled(_largest)(*arguments)
    return out
