"""Compiled loops for the CPU: what torch does slowly, or in many passes over memory.

Each loop has a plain torch reference where it is called from (`ring`, `factor`, `bits`, `tables`, `local`), which
serves every other device, and a test compares the two bit for bit. torch has no fast path for products of int64
matrices on every processor; the loop here uses the widest integer multiplier that there is.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Loop = Callable[..., None]

try:
    import llvmlite.binding as llvm
    import numba
    from numba.extending import register_jitable
except ImportError:  # missing, or not made for this numpy
    HAS_COMPILER = False
else:
    HAS_COMPILER = True


def _part(function: Loop) -> Loop:
    """A loop that others call."""
    return register_jitable(function) if HAS_COMPILER else function


Array = NDArray[Any]
_BLOCK = 64  # rows and columns of a matrix that is transposed, at a time
_SPAN = 2048  # elements of a result that are added to in one go: they stay in the first-level cache
_TURNED = 1024  # angles that are multiplied in one go: cosines and sines of two of them stay in the first-level cache
_SHORT_ROW = 4  # bytes
_COLUMNS = 512  # of the right factor at a time: eight rows of them stay in the first-level cache
_FEW_COLUMNS = 8192  # for one row, which comes back to none of them: long stretches of memory are read faster


def serve(device: torch.device) -> bool:
    """Whether the loops here compute on this device. Where they do not, the plain torch form of each does."""
    return HAS_COMPILER and device.type == "cpu"


def _multiply(a: Array, b: Array, c: Array) -> None:
    """c += a @ b for each matrix of a batch; b may be of half words. Shapes: [G, m, k], [G or 1, k, n], [G, m, n]."""
    batch, rows, inner = a.shape
    columns = b.shape[2]
    width = max(_COLUMNS, _FEW_COLUMNS // max(rows, 1))
    for g in range(batch):
        h = g if b.shape[0] > 1 else 0
        for start in range(0, columns, width):
            stop = min(start + width, columns)
            p = 0
            # Eight rows of b at a time: one load and one store of c for eight multiplications.
            while p + 8 <= inner:
                b0, b1 = b[h, p, start:stop], b[h, p + 1, start:stop]
                b2, b3 = b[h, p + 2, start:stop], b[h, p + 3, start:stop]
                b4, b5 = b[h, p + 4, start:stop], b[h, p + 5, start:stop]
                b6, b7 = b[h, p + 6, start:stop], b[h, p + 7, start:stop]
                for i in range(rows):
                    a0, a1, a2, a3 = a[g, i, p], a[g, i, p + 1], a[g, i, p + 2], a[g, i, p + 3]
                    a4, a5, a6, a7 = a[g, i, p + 4], a[g, i, p + 5], a[g, i, p + 6], a[g, i, p + 7]
                    out = c[g, i, start:stop]
                    for j in range(stop - start):
                        low = a0 * b0[j] + a1 * b1[j] + a2 * b2[j] + a3 * b3[j]
                        out[j] += low + a4 * b4[j] + a5 * b5[j] + a6 * b6[j] + a7 * b7[j]
                p += 8
            while p < inner:
                b0 = b[h, p, start:stop]
                for i in range(rows):
                    a0 = a[g, i, p]
                    out = c[g, i, start:stop]
                    for j in range(stop - start):
                        out[j] += a0 * b0[j]
                p += 1


def _transpose_bits(x: Array, planes: Array) -> None:
    """Bit j of element i to bit i of plane j. Shapes: uint64 [R, n], uint8 [R, count, ceil(n / 8)]."""
    rows, elements = x.shape
    count = planes.shape[1]
    for r in range(rows):
        for i in range(planes.shape[2]):
            members = min(8, elements - 8 * i)
            for first in range(0, count, 8):
                # Eight bytes, one of each element: an 8 x 8 matrix of bits, transposed by swapping ever larger blocks.
                t = np.uint64(0)
                for k in range(members):
                    t |= ((x[r, 8 * i + k] >> np.uint64(first)) & np.uint64(255)) << np.uint64(8 * k)
                u = (t ^ (t >> np.uint64(7))) & np.uint64(0x00AA00AA00AA00AA)
                t ^= u ^ (u << np.uint64(7))
                u = (t ^ (t >> np.uint64(14))) & np.uint64(0x0000CCCC0000CCCC)
                t ^= u ^ (u << np.uint64(14))
                u = (t ^ (t >> np.uint64(28))) & np.uint64(0x00000000F0F0F0F0)
                t ^= u ^ (u << np.uint64(28))
                for j in range(min(8, count - first)):
                    planes[r, first + j, i] = (t >> np.uint64(8 * j)) & np.uint64(255)


@_part
def _phasors(x: Array, low: int, down: int, up: int, angles: Array, drop: int, cos: Array, sin: Array) -> None:
    """cos and sin of x's angle, as `tables.phasor` has them; `angles` are its tables. Shapes: [n] each, [4, size]."""
    half, bits = 1 << (drop - 1), 0
    while 1 << bits < angles.shape[1]:
        bits += 1
    for i in range(len(x)):
        angle = ((x[i] & low) >> down) << up
        high, small = (angle >> bits) & ((1 << bits) - 1), angle & ((1 << bits) - 1)
        a_cos, a_sin, b_cos, b_sin = angles[0, high], angles[1, high], angles[2, small], angles[3, small]
        cos[i] = (a_cos * b_cos - a_sin * b_sin + half) >> drop
        sin[i] = (a_cos * b_sin + a_sin * b_cos + half) >> drop


@_part
def _turn(cos: Array, sin: Array, by_cos: Array, by_sin: Array, drop: int) -> None:
    """Products of complex numbers, in place, rounded by `drop` bits. Shapes: int64 [n] each."""
    half = 1 << (drop - 1)
    for i in range(len(cos)):
        a_cos, a_sin = cos[i], sin[i]
        cos[i] = (a_cos * by_cos[i] - a_sin * by_sin[i] + half) >> drop
        sin[i] = (a_cos * by_sin[i] + a_sin * by_cos[i] + half) >> drop


def _harmonics(
    x: Array, periods: Array, rows: Array, step: int, angles: Array, drop: int, less: int, out: Array
) -> None:
    """See `harmonics.basis`. Shapes: x [n], periods [J, 3], rows [T]: which row of out [H, 2, J, n] each of T has."""
    cos, sin = np.empty(_TURNED, dtype=np.int64), np.empty(_TURNED, dtype=np.int64)
    by_cos, by_sin = np.empty(_TURNED, dtype=np.int64), np.empty(_TURNED, dtype=np.int64)
    half = (1 << less) >> 1
    for j in range(len(periods)):
        low, down, up = periods[j, 0], periods[j, 1], periods[j, 2]
        for start in range(0, len(x), _TURNED):
            width = min(_TURNED, len(x) - start)
            c, s, p, q = cos[:width], sin[:width], by_cos[:width], by_sin[:width]
            _phasors(x[start : start + width], low, down, up, angles, drop, c, s)
            p[:], q[:] = c, s
            if step == 2:
                _turn(p, q, c, s, drop)
            for t in range(len(rows)):
                if rows[t] >= 0:
                    of_cos, of_sin = (
                        out[rows[t], 0, j, start : start + width],
                        out[rows[t], 1, j, start : start + width],
                    )
                    for i in range(width):
                        of_cos[i] = (c[i] + half) >> less
                        of_sin[i] = (s[i] + half) >> less
                if t + 1 < len(rows):
                    _turn(c, s, p, q, drop)


def _add_harmonics(
    x: Array,
    periods: Array,
    rows: Array,
    step: int,
    angles: Array,
    drop: int,
    factors: Array,
    value: Array,
    shares: Array,
    result: Array,
) -> None:
    """See `harmonics.add_sum`. Shapes: factors [H, 2, J], value [J, n], shares [H, 4 or 2, J, n], others as above."""
    cos, sin = np.empty(_TURNED, dtype=np.int64), np.empty(_TURNED, dtype=np.int64)
    by_cos, by_sin = np.empty(_TURNED, dtype=np.int64), np.empty(_TURNED, dtype=np.int64)
    half, each = 1 << (drop - 1), shares.shape[1] // 2
    for j in range(len(periods)):
        low, down, up = periods[j, 0], periods[j, 1], periods[j, 2]
        for start in range(0, len(x), _TURNED):
            width = min(_TURNED, len(x) - start)
            stop = start + width
            c, s, p, q = cos[:width], sin[:width], by_cos[:width], by_sin[:width]
            _phasors(x[start:stop], low, down, up, angles, drop, c, s)
            p[:], q[:] = c, s
            if step == 2:
                _turn(p, q, c, s, drop)
            v, total = value[j, start:stop], result[start:stop]
            for t in range(len(rows)):
                h = rows[t]
                if h >= 0:
                    a, b = factors[h, 0, j], factors[h, 1, j]
                    cos_share, cos_masked = shares[h, 0, j, start:stop], shares[h, each - 1, j, start:stop]
                    sin_share, sin_masked = shares[h, each, j, start:stop], shares[h, 2 * each - 1, j, start:stop]
                    for i in range(width):
                        of_cos = (a * c[i] + b * s[i] + half) >> drop
                        of_sin = (a * s[i] - b * c[i] + half) >> drop
                        bit = np.int64(v[i])
                        first = bit * (cos_share[i] - 2 * cos_masked[i]) + cos_masked[i]
                        second = bit * (sin_share[i] - 2 * sin_masked[i]) + sin_masked[i]
                        total[i] += of_cos * first + of_sin * second
                if t + 1 < len(rows):
                    _turn(c, s, p, q, drop)


def _split_digits(x: Array, first: int, stop: int, balance: int, digits: Array, at: int) -> None:
    """Balanced base-256 digits of some columns: see `factor.write_digits`. Shapes: int64 [R, K], int8 [R, count, L]."""
    width = stop - first
    for r in range(x.shape[0]):
        row = x[r, first:stop]
        for i in range(digits.shape[1]):
            out, shift = digits[r, i, at : at + width], 8 * i
            for k in range(width):
                out[k] = ((row[k] + balance) ^ balance) >> shift


def _split_transposed(y: Array, first: int, stop: int, balance: int, digits: Array, at: int) -> None:
    """The same of some rows as columns, highest digit first. Shapes: int64 [K, N], int8 [at least N, count, L]."""
    count = digits.shape[1]
    block = np.empty((_BLOCK, _BLOCK), dtype=np.int64)
    for n in range(0, y.shape[1], _BLOCK):
        columns = min(_BLOCK, y.shape[1] - n)
        for k in range(first, stop, _BLOCK):
            rows = min(_BLOCK, stop - k)
            for i in range(rows):
                row = y[k + i, n : n + columns]
                for j in range(columns):
                    block[j, i] = (np.int64(row[j]) + balance) ^ balance
            start = at + k - first
            for j in range(columns):
                column = block[j]
                for d in range(count):
                    out, shift = digits[n + j, count - 1 - d, start : start + rows], 8 * d
                    for i in range(rows):
                        out[i] = column[i] >> shift


def _add_shifted(parts: Array, shifts: Array, total: Array) -> None:
    """total[r] += sum_p parts[r, p] 2^shifts[p]. Shapes: int32 [R, P, n], int64 [P], [R, n]."""
    rows, count, length = parts.shape
    for r in range(rows):
        for start in range(0, length, _SPAN):
            stop = min(start + _SPAN, length)
            for p in range(count):
                shift = shifts[p]
                for i in range(start, stop):
                    total[r, i] += np.int64(parts[r, p, i]) << shift


def _select(bit: Array, shared: Array, masked: Array, out: Array) -> None:
    """See `local.select`. Shapes: uint8 [n], int64 [n] each."""
    for i in range(len(bit)):
        out[i] = masked[i] + np.int64(bit[i]) * (shared[i] - 2 * masked[i])


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
                bit = np.int64(v[i])
                share = rho[i] + bit * (first - 2 * rho[i])
                line = share * opened[i] - product[i] - bit * (mask[i] - 2 * product[i])
                out[i] += share * constant + line * slope
        elif constant:
            for i in range(len(opened)):
                out[i] += (rho[i] + np.int64(v[i]) * (first - 2 * rho[i])) * constant


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
        out[i] = masked_middle + np.int64(bits[0, i]) * (middle_share - 2 * masked_middle)
        out[i] += masked_upper + np.int64(bits[1, i]) * (upper_share - 2 * masked_upper)


def _power_products(
    negative: Array,
    fraction: Array,
    small: Array,
    wrapped: Array,
    power: Array,
    by_small: Array,
    by_wrapped: Array,
    by_both: Array,
    up: int,
    drop: int,
    period: int,
    out: Array,
) -> None:
    """See `local.power_products`. Shapes: [n] each."""
    for i in range(len(out)):
        s, w = np.int64(small[i]), np.int64(wrapped[i])
        kept = by_small[i] + s * (power[i] - 2 * by_small[i])
        masked = by_both[i] + s * (by_wrapped[i] - 2 * by_both[i])
        both = masked + w * (kept - 2 * masked)
        shift, double = up + (negative[i] >> drop), fraction[i] << 1
        public = (((double >> max(0, -shift)) + 1) >> 1) << max(0, shift)
        shift -= period
        public_wrapped = (((double >> max(0, -shift)) + 1) >> 1) << max(0, shift)
        out[i] = public * kept + (public_wrapped - public) * both


def _leaves(not_c: Array, products: Array, one: int, less: Array, equal: Array) -> None:
    """See `local.leaves`. Shapes: uint8 [J, digits, b, row], [2^b - 1, digits, row], two of [digits, J, row]."""
    numbers, digits, bits, row = not_c.shape
    table = np.empty((1 << bits, _SPAN), dtype=np.uint8)
    below = np.empty((1 << bits, _SPAN), dtype=np.uint8)
    same = np.empty((1 << bits, _SPAN), dtype=np.uint8)
    for d in range(digits):
        for start in range(0, row, _SPAN):
            width = min(_SPAN, row - start)
            table[0, :] = one
            for s in range(1, 1 << bits):
                table[s, :width] = products[s - 1, d, start : start + width]
            for j in range(numbers):
                for s in range(1 << bits):
                    source, target, zero = table[s], same[s], below[s]
                    for i in range(width):
                        target[i] = source[i]
                        zero[i] = 0
                for bit in range(bits):
                    keep = not_c[j, d, bit, start : start + width]
                    for s in range(1 << (bits - 1 - bit)):
                        with_bit = table[(1 << bit) + s * (2 << bit)]
                        low, high, into = below[2 * s], below[2 * s + 1], below[s]
                        low_same, high_same, into_same = same[2 * s], same[2 * s + 1], same[s]
                        for i in range(width):
                            into[i] = (keep[i] & (with_bit[i] ^ low[i])) ^ high[i]
                            into_same[i] = (keep[i] & low_same[i]) ^ high_same[i]
                less[d, j, start : start + width] = below[0, :width]
                equal[d, j, start : start + width] = same[0, :width]


def _leaves_of_short_rows(not_c: Array, products: Array, one: int, less: Array, equal: Array) -> None:
    """`_leaves` with all numbers side by side, so that there is something to do in one go. Shapes: as there."""
    numbers, digits, bits, row = not_c.shape
    count = numbers * row
    table = np.empty((1 << bits, count), dtype=np.uint8)
    below = np.empty((1 << (bits - 1), count), dtype=np.uint8)
    same = np.empty((1 << (bits - 1), count), dtype=np.uint8)
    keep = np.empty(count, dtype=np.uint8)
    for d in range(digits):
        for i in range(count):
            table[0, i] = one
        for s in range(1, 1 << bits):
            for i in range(count):
                table[s, i] = products[s - 1, d, i % row]
        for bit in range(bits):
            for i in range(count):
                keep[i] = not_c[i // row, d, bit, i % row]
            for s in range(1 << (bits - 1 - bit)):
                with_bit = (1 << bit) + s * (2 << bit)
                if bit:
                    for i in range(count):
                        below[s, i] = (keep[i] & (table[with_bit, i] ^ below[2 * s, i])) ^ below[2 * s + 1, i]
                        same[s, i] = (keep[i] & same[2 * s, i]) ^ same[2 * s + 1, i]
                else:
                    for i in range(count):
                        below[s, i] = keep[i] & table[with_bit, i]
                        same[s, i] = (keep[i] & table[2 * s, i]) ^ table[with_bit, i]
        for i in range(count):
            less[d, i // row, i % row] = below[0, i]
            equal[d, i // row, i % row] = same[0, i]


def _merge(
    opened: Array, masks: Array, shared: Array, highest: Array, lowest: int, one: int, less: Array, equal: Array
) -> None:
    """See `local.merge`; lowest is the first digit whose p was opened. Shapes: uint8 [.., n], [n] for the last two."""
    size = (opened.shape[0] + 1 + lowest) // 2
    of_p = size - lowest
    count = 1 << of_p
    width = min(_SPAN, len(highest))
    table = np.empty((count, width), dtype=np.uint8)
    below = np.empty((max(count, 2), width), dtype=np.uint8)
    for start in range(0, len(highest), width):
        span = slice(start, min(start + width, len(highest)))
        length = span.stop - start
        taken = 0
        for subset in range(count):
            position, several = 0, False
            for i in range(of_p):
                if subset >> i & 1:
                    several |= subset != 1 << i
                    position = i
            out = table[subset]
            if several:
                out[:length] = shared[taken, span]
                taken += 1
            elif subset:
                out[:length] = masks[position, span]
            else:
                out[:length] = one
        for i in range(size):
            step = 1 << max(0, i + 1 - lowest)
            for k in range(max(1, count // step) if i < size - 1 else 1):
                # In place: entry k is written after entries 2 k and 2 k + 1 were read.
                out, low, high = below[k], below[2 * k], below[min(2 * k + 1, len(below) - 1)]
                if i:
                    v = opened[i - lowest, span]
                    for j in range(length):
                        out[j] = (v[j] & low[j]) ^ high[j]
                else:
                    out[:length] = 0
                if i == size - 1:
                    mine = highest[span]
                    for j in range(length):
                        out[j] ^= mine[j]
                else:
                    w, above = opened[of_p + i, span], table[k * step]
                    mine = masks[of_p + i, span] if k == 0 else shared[taken, span]
                    taken += k > 0
                    for j in range(length):
                        out[j] ^= (w[j] & above[j]) ^ mine[j]
        less[span] = below[0, :length]
        if lowest:
            equal[span] = 0
            continue
        for i in range(size):
            v = opened[i, span]
            for k in range(count >> (i + 1)):
                out, low, high = table[k], table[2 * k], table[2 * k + 1]
                for j in range(length):
                    out[j] = (v[j] & low[j]) ^ high[j]
        equal[span] = table[0, :length]


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
                    chosen[s] = chosen[2 * s + 1] + bit * (chosen[2 * s] - 2 * chosen[2 * s + 1])
                    with_mask[s] = with_mask[2 * s + 1] + bit * (with_mask[2 * s] - 2 * with_mask[2 * s + 1])
            total += opened[i, e] * chosen[0] - with_mask[0]
        out[e] = total


# Elements of fewer than eight bytes are written and read as whole words that overlap in memory. So the order matters:
# ascending, and each element overwrites what the one before has written too far.


def _pack(x: Array, words: Array) -> None:
    """words[i] = x[i]. Shapes: int64 [n], [n]."""
    for i in range(len(x)):
        words[i] = x[i]


def _pack_sum(x: Array, y: Array, total: Array, words: Array) -> None:
    """total = x + y, and packed. Shapes: int64 [n] each."""
    for i in range(len(x)):
        value = x[i] + y[i]
        total[i] = value
        words[i] = value


def _pack_difference(x: Array, y: Array, words: Array) -> None:
    """x - y, packed. Shapes: int64 [n] each."""
    for i in range(len(x)):
        words[i] = x[i] - y[i]


def _unpack(words: Array, mask: int, x: Array) -> None:
    """The masked low bits of each word. Shapes: int64 [n] each."""
    for i in range(len(words)):
        x[i] = words[i] & mask


def _unpack_added(words: Array, mask: int, y: Array, x: Array) -> None:
    """The masked low bits of word plus y. Shapes: int64 [n] each."""
    for i in range(len(words)):
        x[i] = (words[i] + y[i]) & mask


@functools.cache
def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    """A loop compiled for this processor at its first call, and kept on disk after that."""
    if platform.machine() in ("x86_64", "AMD64"):
        # This processor's instructions only, chosen as for one with fast long vectors: by default the compiler halves
        # the vector length of AVX-512, and with it the speed here (measured: 2.6 against 6.6 multiplications per ns).
        features = llvm.get_host_cpu_features().flatten() + ",-prefer-256-bit"
        vars(numba.config).update(CPU_NAME="sapphirerapids", CPU_FEATURES=features)
    compiled: Callable[..., None] = numba.njit(nogil=True, cache=True)(function)
    return compiled


def matmul(a: Array, b: Array) -> Array:
    """a @ b in the integers mod 2^64. Shapes: int64 [G, m, k], [G or 1, k, n] -> [G, m, n]."""
    c = np.zeros((a.shape[0], a.shape[1], b.shape[2]), dtype=a.dtype)
    _compiled(_multiply)(np.ascontiguousarray(a), np.ascontiguousarray(b), c)
    return c


def transpose_bits(x: Array, count: int) -> Array:
    """Bit planes. Shapes: int64 [R, n] -> uint8 [R, count, ceil(n / 8)]."""
    planes = np.empty((x.shape[0], count, (x.shape[1] + 7) // 8), dtype=np.uint8)
    _compiled(_transpose_bits)(np.ascontiguousarray(x).view(np.uint64), planes)
    return planes


def harmonics(count: int, x: Array, periods: Array, *others: Any) -> Array:
    """`_harmonics`, compiled, for `count` of them. Shapes: int64 [n], [J, 3] -> [count, 2, J, n]."""
    out = np.empty((count, 2, len(periods), len(x)), dtype=np.int64)
    _compiled(_harmonics)(x, periods, *others, out)
    return out


def add_harmonics(*arguments: Any) -> None:
    """`_add_harmonics`, compiled."""
    _compiled(_add_harmonics)(*arguments)


def split_digits(x: Array, columns: slice, balance: int, digits: Array, at: int) -> None:
    """`_split_digits`, compiled."""
    _compiled(_split_digits)(np.ascontiguousarray(x), columns.start, columns.stop, balance, digits, at)


def split_transposed(y: Array, rows: slice, balance: int, digits: Array, at: int) -> None:
    """`_split_transposed`, compiled."""
    _compiled(_split_transposed)(np.ascontiguousarray(y), rows.start, rows.stop, balance, digits, at)


def add_shifted(parts: Array, shifts: Sequence[int], total: Array) -> None:
    """`_add_shifted`, compiled."""
    _compiled(_add_shifted)(parts, np.array(shifts, dtype=np.int64), total)


def select(bit: Array, shared: Array, masked: Array) -> Array:
    """`_select`, compiled."""
    out = np.empty_like(shared)
    _compiled(_select)(bit, shared, masked, out)
    return out


def shift_opened(opened: Array, shift: int, bits: int) -> Array:
    """`_shift_opened`, compiled."""
    out = np.empty(len(opened), dtype=np.int64)
    _compiled(_shift_opened)(opened, shift, 1 << (bits - 2), (1 << (bits - shift)) - 1, out)
    return out


def lift(opened: Array, mask: Array, mask_top: Array, bits: int, first: bool) -> Array:
    """`_lift`, compiled."""
    out = np.empty_like(opened)
    _compiled(_lift)(opened, mask, mask_top, bits, int(first), out)
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
    _compiled(_lines)(opened, mask, bits, bit_masks, masked, places, constants, slopes, int(first), out)
    return out


def smooth(*arguments: Any) -> Array:
    """`_smooth`, compiled."""
    out: Array = np.empty_like(arguments[0])
    _compiled(_smooth)(*arguments, out)
    return out


def power_products(*arguments: Any) -> Array:
    """`_power_products`, compiled."""
    out: Array = np.empty_like(arguments[0])
    _compiled(_power_products)(*arguments, out)
    return out


def leaves(not_c: Array, products: Array, one: int) -> tuple[Array, Array]:
    """`_leaves`, compiled."""
    shape = products.shape[1], not_c.shape[0], products.shape[2]
    less, equal = np.empty(shape, dtype=np.uint8), np.empty(shape, dtype=np.uint8)
    _compiled(_leaves if shape[2] > _SHORT_ROW else _leaves_of_short_rows)(not_c, products, one, less, equal)
    return less, equal


def merge(
    opened: Array, masks: Array, shared: Array, highest: Array, *, needs_equal: bool, one: int
) -> tuple[Array, Array]:
    """`_merge`, compiled; highest is [1, n]."""
    less, equal = np.empty_like(highest[0]), np.empty_like(highest[0])
    _compiled(_merge)(opened, masks, shared, highest[0], 0 if needs_equal else 1, one, less, equal)
    return less, equal


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
    _compiled(_largest)(*arguments)
    return out


def pack(x: Array, width: int) -> Array:
    """The `width` low bytes of every element. Shapes: int64 [n] -> uint8 [n * width]."""
    packed, words = _room(len(x), width)
    _compiled(_pack)(x, words)
    return packed


def pack_sum(x: Array, y: Array, width: int) -> tuple[Array, Array]:
    """x + y, and its bytes as `pack` gives them. Shapes: int64 [n], [n]."""
    total = np.empty_like(x)
    packed, words = _room(len(x), width)
    _compiled(_pack_sum)(x, y, total, words)
    return total, packed


def pack_difference(x: Array, y: Array, width: int) -> Array:
    """The bytes of x - y. Shapes: int64 [n], [n]."""
    packed, words = _room(len(x), width)
    _compiled(_pack_difference)(x, y, words)
    return packed


def unpack(packed: Array, width: int) -> Array:
    """Inverse of `pack`. Shapes: uint8 [n * width] -> int64 [n]."""
    x = np.empty(len(packed) // width, dtype=np.int64)
    mask = -1 if width == 8 else (1 << 8 * width) - 1
    for part, words in _words_of(packed, width):
        _compiled(_unpack)(words, mask, x[part])
    return x


def unpack_added(packed: Array, y: Array, width: int, mask: int) -> Array:
    """(unpacked + y) & mask. Shapes: uint8 [n * width], int64 [n] -> int64 [n]."""
    x = np.empty_like(y)
    for part, words in _words_of(packed, width):
        _compiled(_unpack_added)(words, mask, y[part], x[part])
    return x


def _room(count: int, width: int) -> tuple[Array, Array]:
    """Memory for packed elements: its bytes, and as overlapping words."""
    packed = np.empty(count * width + 8, dtype=np.uint8)
    return packed[: count * width], np.ndarray((count,), dtype=np.int64, buffer=packed.data, strides=(width,))


def _words_of(packed: Array, width: int) -> list[tuple[slice, Array]]:
    """Packed elements as overlapping words; the last few, behind which there is too little to read, from a copy."""
    count = len(packed) // width
    whole = max(0, (len(packed) - 8) // width + 1)
    rest = np.zeros((count - whole) * width + 8, dtype=np.uint8)
    rest[: (count - whole) * width] = packed[whole * width :]
    parts = slice(0, whole), slice(whole, count)
    return [
        (part, np.ndarray((part.stop - part.start,), dtype=np.int64, buffer=memory.data, strides=(width,)))
        for part, memory in zip(parts, (packed, rest), strict=True)
        if part.stop > part.start
    ]
