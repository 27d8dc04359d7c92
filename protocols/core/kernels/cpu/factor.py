"""Products of matrices by digits on the CPU: the digits, and the sum of what they give."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from secure.protocols.core import factor
from secure.protocols.core.kernels.cpu.compiler import SPAN, Array, run

_BLOCK = 64  # rows and columns of a matrix that is transposed, at a time


def _split_digits(x: Array, first: int, stop: int, balance: int, at: int, digits: Array) -> None:
    """Balanced base-256 digits of some columns: see `factor.write_digits`. Shapes: int64 [R, K], int8 [R, count, L]."""
    width = stop - first
    for r in range(x.shape[0]):
        row = x[r, first:stop]
        for i in range(digits.shape[1]):
            out, shift = digits[r, i, at : at + width], 8 * i
            for k in range(width):
                out[k] = ((row[k] + balance) ^ balance) >> shift


def _split_transposed(y: Array, first: int, stop: int, balance: int, at: int, digits: Array) -> None:
    """Digits of some rows as columns, highest digit first. Shapes: int64 [K, N], int8 [at least N, count, L]."""
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


@factor.write_digits.on_cpu
def write_digits(x: Tensor, columns: slice, digits: Tensor, at: int) -> None:
    """See `factor.write_digits`."""
    run(_split_digits, x, columns.start, columns.stop, factor.BALANCE, at, into=(digits,))


@factor.write_transposed_digits.on_cpu
def write_transposed_digits(y: Tensor, rows: slice, digits: Tensor, at: int) -> None:
    """See `factor.write_transposed_digits`."""
    run(_split_transposed, y, rows.start, rows.stop, factor.BALANCE, at, into=(digits,))


@factor.add_shifted.on_cpu
def add_shifted(parts: Tensor, shifts: list[int], total: Tensor) -> None:
    """See `factor.add_shifted`."""
    run(_add_shifted, parts, np.array(shifts, dtype=np.int64), into=(total,))
