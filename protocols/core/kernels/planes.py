"""Bit planes: transposition, and the two steps of a comparison."""

from __future__ import annotations

import numpy as np

from protocols.core.kernels.compiler import SPAN, Array, compiled

_SHORT_ROW = 4  # bytes


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


def _leaves(not_c: Array, products: Array, one: int, less: Array, equal: Array) -> None:
    """See `local.leaves`. Shapes: uint8 [J, digits, b, row], [2^b - 1, digits, row], two of [digits, J, row]."""
    numbers, digits, bits, row = not_c.shape
    table = np.empty((1 << bits, SPAN), dtype=np.uint8)
    below = np.empty((1 << bits, SPAN), dtype=np.uint8)
    same = np.empty((1 << bits, SPAN), dtype=np.uint8)
    for d in range(digits):
        for start in range(0, row, SPAN):
            width = min(SPAN, row - start)
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
    width = min(SPAN, len(highest))
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


def transpose_bits(x: Array, count: int) -> Array:
    """Bit planes. Shapes: int64 [R, n] -> uint8 [R, count, ceil(n / 8)]."""
    planes = np.empty((x.shape[0], count, (x.shape[1] + 7) // 8), dtype=np.uint8)
    compiled(_transpose_bits)(np.ascontiguousarray(x).view(np.uint64), planes)
    return planes


def leaves(not_c: Array, products: Array, one: int) -> tuple[Array, Array]:
    """`_leaves`, compiled."""
    shape = products.shape[1], not_c.shape[0], products.shape[2]
    less, equal = np.empty(shape, dtype=np.uint8), np.empty(shape, dtype=np.uint8)
    compiled(_leaves if shape[2] > _SHORT_ROW else _leaves_of_short_rows)(not_c, products, one, less, equal)
    return less, equal


def merge(
    opened: Array, masks: Array, shared: Array, highest: Array, *, needs_equal: bool, one: int
) -> tuple[Array, Array]:
    """`_merge`, compiled; highest is [1, n]."""
    less, equal = np.empty_like(highest[0]), np.empty_like(highest[0])
    compiled(_merge)(opened, masks, shared, highest[0], 0 if needs_equal else 1, one, less, equal)
    return less, equal
