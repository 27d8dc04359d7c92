"""Products of matrices: of words, and the parts of those by digits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from secure.protocols.core.kernels.cpu.compiler import SPAN, Array, compiled

_BLOCK = 64  # rows and columns of a matrix that is transposed, at a time
_COLUMNS = 512  # of the right factor at a time: eight rows of them stay in the first-level cache
_FEW_COLUMNS = 8192  # for one row, which comes back to none of them: long stretches of memory are read faster


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
        for start in range(0, length, SPAN):
            stop = min(start + SPAN, length)
            out = total[r, start:stop]
            for p in range(count):
                part, shift = parts[r, p, start:stop], shifts[p]
                for i in range(stop - start):
                    out[i] += np.int64(part[i]) << shift


def matmul(a: Array, b: Array) -> Array:
    """a @ b in the integers mod 2^64. Shapes: int64 [G, m, k], [G or 1, k, n] -> [G, m, n]."""
    c = np.zeros((a.shape[0], a.shape[1], b.shape[2]), dtype=a.dtype)
    compiled(_multiply)(np.ascontiguousarray(a), np.ascontiguousarray(b), c)
    return c


def split_digits(x: Array, columns: slice, balance: int, digits: Array, at: int) -> None:
    """`_split_digits`, compiled."""
    compiled(_split_digits)(np.ascontiguousarray(x), columns.start, columns.stop, balance, digits, at)


def split_transposed(y: Array, rows: slice, balance: int, digits: Array, at: int) -> None:
    """`_split_transposed`, compiled."""
    compiled(_split_transposed)(np.ascontiguousarray(y), rows.start, rows.stop, balance, digits, at)


def add_shifted(parts: Array, shifts: Sequence[int], total: Array) -> None:
    """`_add_shifted`, compiled."""
    compiled(_add_shifted)(parts, np.array(shifts, dtype=np.int64), total)
