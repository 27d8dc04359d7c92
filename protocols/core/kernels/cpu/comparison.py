"""The two steps of a comparison on the CPU, on bit planes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from secure.protocols.core.kernels import comparison
from secure.protocols.core.kernels.cpu.compiler import SPAN, Array, array, elements, run

_USUAL_DIGIT_BITS = 4


def _leaves_of_four_bits(not_c: Array, products: Array, one: int, less: Array, equal: Array) -> None:
    """`_leaves` for digits of four bits, as nearly all have: written out, as the compiler then keeps all in registers.

    Shapes: as there.
    """
    numbers, digits, _, row = not_c.shape
    for d in range(digits):
        p0, p1, p2, p3, p4 = products[0, d], products[1, d], products[2, d], products[3, d], products[4, d]
        p5, p6, p7, p8, p9 = products[5, d], products[6, d], products[7, d], products[8, d], products[9, d]
        p10, p11, p12, p13, p14 = products[10, d], products[11, d], products[12, d], products[13, d], products[14, d]
        for j in range(numbers):
            not_c0, not_c1, not_c2, not_c3 = not_c[j, d, 0], not_c[j, d, 1], not_c[j, d, 2], not_c[j, d, 3]
            less_here, equal_here = less[d, j], equal[d, j]
            for i in range(row):
                keep = not_c0[i]
                l0, e0 = keep & p0[i], (keep & one) ^ p0[i]
                l1, e1 = keep & p2[i], (keep & p1[i]) ^ p2[i]
                l2, e2 = keep & p4[i], (keep & p3[i]) ^ p4[i]
                l3, e3 = keep & p6[i], (keep & p5[i]) ^ p6[i]
                l4, e4 = keep & p8[i], (keep & p7[i]) ^ p8[i]
                l5, e5 = keep & p10[i], (keep & p9[i]) ^ p10[i]
                l6, e6 = keep & p12[i], (keep & p11[i]) ^ p12[i]
                l7, e7 = keep & p14[i], (keep & p13[i]) ^ p14[i]
                keep = not_c1[i]
                l0, e0 = (keep & (p1[i] ^ l0)) ^ l1, (keep & e0) ^ e1
                l1, e1 = (keep & (p5[i] ^ l2)) ^ l3, (keep & e2) ^ e3
                l2, e2 = (keep & (p9[i] ^ l4)) ^ l5, (keep & e4) ^ e5
                l3, e3 = (keep & (p13[i] ^ l6)) ^ l7, (keep & e6) ^ e7
                keep = not_c2[i]
                l0, e0 = (keep & (p3[i] ^ l0)) ^ l1, (keep & e0) ^ e1
                l1, e1 = (keep & (p11[i] ^ l2)) ^ l3, (keep & e2) ^ e3
                keep = not_c3[i]
                less_here[i] = (keep & (p7[i] ^ l0)) ^ l1
                equal_here[i] = (keep & e0) ^ e1


def _leaves(not_c: Array, products: Array, one: int, less: Array, equal: Array) -> None:
    """See `comparison.leaves`. Shapes: uint8 [J, digits, b, row], [2^b - 1, digits, row], two of [digits, J, row]."""
    numbers, digits, bits, row = not_c.shape
    below = np.empty((1 << bits, row), dtype=np.uint8)
    same = np.empty((1 << bits, row), dtype=np.uint8)
    for d in range(digits):
        for j in range(numbers):
            below[:] = 0
            same[0] = one
            same[1:] = products[:, d]
            for bit in range(bits):
                keep = not_c[j, d, bit]
                for s in range(1 << (bits - 1 - bit)):
                    # Entry s is written, in the same memory, after entries 2 s and 2 s + 1 were read.
                    with_bit = products[(1 << bit) + s * (2 << bit) - 1, d]
                    into, low, high = below[s], below[2 * s], below[2 * s + 1]
                    for i in range(row):
                        into[i] = (keep[i] & (with_bit[i] ^ low[i])) ^ high[i]
                    into, low, high = same[s], same[2 * s], same[2 * s + 1]
                    for i in range(row):
                        into[i] = (keep[i] & low[i]) ^ high[i]
            less[d, j], equal[d, j] = below[0], same[0]


def _merge(
    opened: Array, masks: Array, shared: Array, highest: Array, lowest: int, one: int, less: Array, equal: Array
) -> None:
    """See `comparison.merge`; lowest is the first digit whose p was opened. Shapes: uint8 [.., n], [n] the last two."""
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
                # Entry k is written, in the same memory, after entries 2 k and 2 k + 1 were read.
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


@comparison.leaves.on_cpu
def leaves(not_c: Tensor, products: Tensor, *, first: bool) -> tuple[Tensor, Tensor]:
    """See `comparison.leaves`."""
    shape = products.shape[1], not_c.shape[0], products.shape[2]
    less, equal = np.empty(shape, dtype=np.uint8), np.empty(shape, dtype=np.uint8)
    loop = _leaves_of_four_bits if not_c.shape[2] == _USUAL_DIGIT_BITS else _leaves
    run(loop, not_c, products, np.uint8(comparison.share_of_ones(first=first)), into=(less, equal))
    return torch.from_numpy(less), torch.from_numpy(equal)


@comparison.merge.on_cpu
def merge(
    opened: Tensor, masks: Tensor, shared: Tensor, highest: Tensor, *, needs_equal: bool, first: bool
) -> tuple[Tensor, Tensor]:
    """See `comparison.merge`."""
    less, equal = np.empty(highest.shape, dtype=np.uint8), np.empty(highest.shape, dtype=np.uint8)
    count, lowest = highest.numel(), 0 if needs_equal else 1
    planes = (array(t).reshape(-1, count) for t in (opened, masks, shared))
    results = less.reshape(-1), equal.reshape(-1)
    run(_merge, *planes, elements(highest), lowest, comparison.share_of_ones(first=first), into=results)
    return torch.from_numpy(less), torch.from_numpy(equal)
