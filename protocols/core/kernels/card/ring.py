"""Ring elements on a card: their products, and their bytes on the wire."""

from __future__ import annotations

import math

import torch
import triton.language as tl
from torch import Tensor

from secure.protocols.core import ring, transfer
from secure.protocols.core.channel import Payload
from secure.protocols.core.kernels.card.compiler import Number, Pointer, launch, loop, places

_WORD_BYTES = 8
_SIDE = 32
"""Rows, and columns, of the square of results that one program computes."""


@ring.matmul.on_card
def matmul(a: Tensor, b: Tensor, bits: int = ring.WORD_BITS) -> Tensor:
    """See `ring.matmul`: this computes whole words, whatever the ring."""
    return ring.batched(_product, a, b)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Products of matrices. Shapes: int64 [B, M, K], int64 or int32 [B, K, N] -> int64 [B, M, N]; any strides."""
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


@ring.pack.on_card
def pack(x: Tensor, bits: int) -> Tensor:
    """See `ring.pack`."""
    width = ring.element_bytes(bits)
    return ring.pack.plain(x, bits) if width == _WORD_BYTES else _packed(x, x, None, width, sign=0)


@ring.pack_sum.on_card
def pack_sum(x: Tensor, y: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """See `ring.pack_sum`."""
    total = torch.empty_like(x, memory_format=torch.contiguous_format)
    return total, _packed(x, y, total, ring.element_bytes(bits), sign=1)


@ring.pack_difference.on_card
def pack_difference(x: Tensor, y: Tensor, bits: int, *, keep: bool = False) -> Tensor:
    """See `ring.pack_difference`."""
    return _packed(x, y.to(torch.int64), None, ring.element_bytes(bits), sign=-1)


@ring.unpack.on_card
def unpack(
    payload: Payload,
    shape: tuple[int, ...],
    bits: int,
    device: torch.device = transfer.CPU,
    dtype: torch.dtype = torch.int64,
) -> Tensor:
    """See `ring.unpack`."""
    result = torch.empty(shape, dtype=torch.int64, device=device)
    raw, width = transfer.received(payload, device), ring.element_bytes(bits)
    launch(_unpack, math.prod(shape), raw, result, result, -1, width=width, added=False)
    return result.to(dtype)


@ring.unpack_added.on_card
def unpack_added(payload: Payload, x: Tensor, bits: int) -> Tensor:
    """See `ring.unpack_added`."""
    result = torch.empty_like(x, memory_format=torch.contiguous_format)
    mask = -1 if bits >= ring.WORD_BITS else (1 << bits) - 1
    raw, width = transfer.received(payload, x.device), ring.element_bytes(bits)
    launch(_unpack, x.numel(), raw, x.contiguous(), result, mask, width=width, added=True)
    return result


def _packed(x: Tensor, y: Tensor, total: Tensor | None, width: int, sign: int) -> Tensor:
    x, y = x.contiguous(), y.contiguous()
    packed = torch.empty(x.numel() * width, dtype=torch.uint8, device=x.device)
    kept = packed if total is None else total
    launch(_pack, x.numel(), x, y, kept, packed, sign=sign, keep=total is not None, width=width)
    return packed


@loop
def _pack(
    x: Pointer,
    y: Pointer,
    total: Pointer,
    packed: Pointer,
    count: Number,
    sign: tl.constexpr,
    keep: tl.constexpr,
    width: tl.constexpr,
    block: tl.constexpr,
) -> None:
    i, inside = places(count, block)
    word = tl.load(x + i, mask=inside)
    if sign > 0:
        word += tl.load(y + i, mask=inside)
    if sign < 0:
        word -= tl.load(y + i, mask=inside)
    if keep:
        tl.store(total + i, word, mask=inside)
    for k in tl.static_range(width):
        tl.store(packed + i * width + k, ((word >> (8 * k)) & 255).to(tl.uint8), mask=inside)


@loop
def _unpack(
    raw: Pointer,
    x: Pointer,
    result: Pointer,
    kept: Number,
    count: Number,
    width: tl.constexpr,
    added: tl.constexpr,
    block: tl.constexpr,
) -> None:
    i, inside = places(count, block)
    word = tl.zeros((block,), tl.int64)
    for k in tl.static_range(width):
        word |= tl.load(raw + i * width + k, mask=inside, other=0).to(tl.int64) << (8 * k)
    if added:
        word = (word + tl.load(x + i, mask=inside)) & kept
    tl.store(result + i, word, mask=inside)


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
