"""Products of matrices by digits on a card: the digits, and the sum of what they give."""

from __future__ import annotations

import triton.language as tl
from torch import Tensor

from secure.protocols.core import factor, integer_functions
from secure.protocols.core.kernels.card.compiler import Number, Pointer, launch, loop, places


@factor.write_digits.on_card
def write_digits(x: Tensor, columns: slice, digits: Tensor, at: int) -> None:
    """See `factor.write_digits`."""
    width, (rows, count, length) = columns.stop - columns.start, digits.shape
    source, target = x[:, columns], digits[:, :, at:]
    launch(_split_digits, rows * width, source, target, factor.BALANCE, *x.stride(), count, length, width)


@factor.add_shifted.on_card
def add_shifted(parts: Tensor, shifts: list[int], total: Tensor) -> None:
    """See `factor.add_shifted`; the total is contiguous."""
    rows, count, width = parts.shape
    powers = integer_functions.numbers(tuple(shifts), total.device)
    launch(_add_shifted, width, parts, powers, total, *parts.stride()[:2], count, others=(rows,))


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
