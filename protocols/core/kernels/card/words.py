"""Elements of a ring to and from their bytes on the wire, on a card."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from secure.protocols.core.kernels.card.compiler import HAS_TRITON, Number, Pointer, launch, loop, places

if HAS_TRITON:
    import triton.language as tl


def pack(x: Tensor, width: int) -> Tensor:
    """The `width` lowest bytes of each element. Shapes: int64 any -> uint8 [numel * width]."""
    return _packed(x, x, None, width, sign=0)


def pack_sum(x: Tensor, y: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """x + y and its bytes. Shapes: int64, both the same -> the same, uint8 [numel * width]."""
    total = torch.empty_like(x, memory_format=torch.contiguous_format)
    return total, _packed(x, y, total, width, sign=1)


def pack_difference(x: Tensor, y: Tensor, width: int) -> Tensor:
    """The bytes of x - y. Shapes: as `pack_sum`."""
    return _packed(x, y, None, width, sign=-1)


def unpack(raw: Tensor, shape: tuple[int, ...], width: int) -> Tensor:
    """Shapes: uint8 [numel * width] -> int64 `shape`."""
    result = torch.empty(shape, dtype=torch.int64, device=raw.device)
    launch(_unpack, math.prod(shape), raw, result, result, -1, width=width, added=False)
    return result


def unpack_added(raw: Tensor, x: Tensor, width: int, mask: int) -> Tensor:
    """x plus what the bytes hold, and of that the bits of a mask. Shapes: uint8 [numel * width], int64 any -> same."""
    result = torch.empty_like(x, memory_format=torch.contiguous_format)
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
