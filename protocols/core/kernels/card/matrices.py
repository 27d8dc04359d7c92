"""Products of matrices in the ring on a card: batches of small ones, and the digits of large ones."""

from __future__ import annotations

import torch
from torch import Tensor

from secure.protocols.core.kernels.card.compiler import HAS_TRITON, Number, Pointer, launch, loop, places

if HAS_TRITON:
    import triton.language as tl

_SIDE = 32
"""Of the square of results that one program computes."""


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """a @ b mod 2^64. Shapes: int64 [B, M, K], int64 or int32 [B, K, N] -> int64 [B, M, N]; any strides."""
    (batch, m, inner), n = a.shape, b.shape[2]
    result = torch.empty((batch, m, n), dtype=torch.int64, device=a.device)
    across = -(-n // _SIDE)
    launch(
        _matmul,
        -(-m // _SIDE) * across,
        a,
        b,
        result,
        *a.stride(),
        *b.stride(),
        m,
        inner,
        n,
        across,
        others=(batch,),
        side=_SIDE,
        block=1,
    )
    return result


def split_digits(x: Tensor, columns: slice, balance: int, digits: Tensor, at: int) -> None:
    """As `factor.write_digits`: digits of some columns of x, from column `at` on. balance: 0x80...80."""
    width, (rows, count, length) = columns.stop - columns.start, digits.shape
    source, target = x[:, columns], digits[:, :, at:]
    launch(_split_digits, rows * width, source, target, balance, *x.stride(), count, length, width)


def add_shifted(parts: Tensor, shifts: Tensor, total: Tensor) -> None:
    """As `factor.add_shifted`, to a total that is contiguous."""
    rows, count, width = parts.shape
    launch(_add_shifted, width, parts, shifts, total, *parts.stride()[:2], count, others=(rows,))


@loop
def _matmul(
    a: Pointer,
    b: Pointer,
    result: Pointer,
    a_batch: Number,
    a_row: Number,
    a_column: Number,
    b_batch: Number,
    b_row: Number,
    b_column: Number,
    m: Number,
    inner: Number,
    n: Number,
    across: Number,
    squares: Number,
    side: tl.constexpr,
    block: tl.constexpr,
) -> None:
    square, batch = tl.program_id(0), tl.program_id(1).to(tl.int64)
    rows = (square // across * side + tl.arange(0, side)).to(tl.int64)
    columns = (square % across * side + tl.arange(0, side)).to(tl.int64)
    left = a + batch * a_batch + rows * a_row
    right = b + batch * b_batch + columns * b_column
    total = tl.zeros((side, side), tl.int64)
    for k in range(inner):
        x = tl.load(left + k * a_column, mask=rows < m, other=0)
        y = tl.load(right + k * b_row, mask=columns < n, other=0).to(tl.int64)
        total += x[:, None] * y[None, :]
    at = result + (batch * m + rows[:, None]) * n + columns[None, :]
    tl.store(at, total, mask=(rows[:, None] < m) & (columns[None, :] < n))


@loop
def _split_digits(
    x: Pointer,
    digits: Pointer,
    balance: Number,
    x_row: Number,
    x_column: Number,
    count: Number,
    length: Number,
    width: Number,
    elements: Number,
    block: tl.constexpr,
) -> None:
    i, inside = places(elements, block)
    row, column = i // width, i % width
    word = (tl.load(x + row * x_row + column * x_column, mask=inside) + balance) ^ balance
    for j in range(count):
        tl.store(digits + (row * count + j) * length + column, ((word >> (8 * j)) & 255).to(tl.int8), mask=inside)


@loop
def _add_shifted(
    parts: Pointer,
    shifts: Pointer,
    total: Pointer,
    part_row: Number,
    part_stride: Number,
    count: Number,
    width: Number,
    block: tl.constexpr,
) -> None:
    i, inside = places(width, block)
    row = tl.program_id(1).to(tl.int64)
    found = tl.load(total + row * width + i, mask=inside)
    for p in range(count):
        part = tl.load(parts + row * part_row + p * part_stride + i, mask=inside).to(tl.int64)
        found += part << tl.load(shifts + p)
    tl.store(total + row * width + i, found, mask=inside)
