"""Arithmetic in Z_2^k, held in torch int64 tensors.

A tensor of "k-bit ring elements" has its value in the low k bits; the bits above are whatever arithmetic left there.
Z_2^64 → Z_2^k is a ring homomorphism, so sums and products need no reduction; only a value that becomes public, or is
shifted right, is reduced first.

What is marked as a step has compiled loops in `kernels/cpu/ring.py` and `kernels/card/ring.py`.

The wire format of a k-bit element is its ceil(k / 8) low bytes, little endian.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from secure.protocols.core import transfer
from secure.protocols.core.channel import Payload
from secure.protocols.core.kernels.dispatch import step

WORD_BITS = 64
HALF_WORD_BITS = 32
_LIMB_BITS = 16
_LIMB = (1 << _LIMB_BITS) - 1
_MOST_TERMS = (1 << 21) - 1


def element_bytes(bits: int) -> int:
    """Bytes that one k-bit element takes on the wire."""
    return (bits + 7) // 8


def word_type(bits: int) -> torch.dtype:
    """The shortest words that hold k-bit elements: half ones or whole ones."""
    return torch.int32 if bits <= HALF_WORD_BITS else torch.int64


def add(x: Tensor, y: Tensor) -> Tensor:
    """x + y, with broadcasting; from shapes alone, as by `mapped`, where one is on the meta device."""
    return x + y if x.device.type != "meta" and y.device.type != "meta" else _of_shapes(x, y)


def multiply(x: Tensor, y: Tensor) -> Tensor:
    """x y, with broadcasting; from shapes alone, as by `mapped`, where one is on the meta device."""
    return x * y if x.device.type != "meta" and y.device.type != "meta" else _of_shapes(x, y)


def mapped(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """function(x); on the meta device its shape alone, found out with one byte for each element.

    Torch has no kernels for sums and products there: it goes through Python, and imports its compiler for that, which
    takes a party's start some seconds.
    """
    if x.device.type != "meta":
        return function(x)
    shape = function(torch.zeros((), dtype=torch.int8).expand(x.shape)).shape
    return torch.empty(shape, dtype=x.dtype, device=x.device)


def broadcast(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The shape that tensors of these shapes are broadcast to. Torch's own function imports its compiler, too."""
    return np.broadcast_shapes(*map(tuple, shapes))


def _of_shapes(x: Tensor, y: Tensor) -> Tensor:
    shape = x.shape if x.shape == y.shape else broadcast(x.shape, y.shape)
    return torch.empty(shape, dtype=torch.int64, device="meta")


def concatenate(parts: Sequence[Tensor], dim: int) -> Tensor:
    """The parts joined along an axis; on the meta device likewise."""
    first = parts[0]
    if first.device.type != "meta":
        return torch.cat(list(parts), dim)
    shape = list(first.shape)
    shape[dim] = sum(part.shape[dim] for part in parts)
    return torch.empty(shape, dtype=first.dtype, device=first.device)


def low(x: Tensor, bits: int) -> Tensor:
    """The representative of x in [0, 2^bits); for 64 bits the int64 value itself."""
    return x if bits >= WORD_BITS or x.device.type == "meta" else x & ((1 << bits) - 1)


def low_bits_to_first(x: Tensor, bits: int, dim: int) -> Tensor:
    """Numbers with the same sum along dim, all but the first one multiples of 2^bits. Shapes: int64 any -> the same."""
    moved = low(x, bits)
    first = moved.narrow(dim, 0, 1)
    first.copy_(first - moved.sum(dim, keepdim=True))
    return x - moved


def to_bits(x: Tensor, count: int) -> Tensor:
    """The `count` lowest bits as 0 and 1, lowest first. Shapes: int64 any -> [..., count]."""
    return (x.unsqueeze(-1) >> torch.arange(count, device=x.device)) & 1


def from_bits(bits: Tensor) -> Tensor:
    """The number with these bits in two's complement, a linear function of them. Shapes: int64 [..., count] -> any."""
    weights = 1 << torch.arange(bits.shape[-1], device=bits.device)
    weights[-1:].neg_()
    return (bits * weights).sum(-1)


def signed(x: Tensor, bits: int) -> Tensor:
    """The representative of x in [-2^(bits-1), 2^(bits-1))."""
    gap = WORD_BITS - bits
    return x if gap == 0 else (x << gap) >> gap


@step
def shift_right(x: Tensor, shift: int, bits: int) -> Tensor:
    """floor(x / 2^shift) of the unsigned k-bit representative."""
    return low(x >> shift, bits - shift)


def top_bit(x: Tensor, bits: int) -> Tensor:
    """Bit k - 1 of x, as 0 or 1."""
    return shift_right(x, bits - 1, bits)


@step
def matmul(a: Tensor, b: Tensor, bits: int = WORD_BITS) -> Tensor:
    """a @ b mod 2^bits, with torch's broadcasting. b may be int32: its numbers, or what they are mod 2^32 >= 2^bits.

    The plain form multiplies float64 matrices, which every device can, while cards have no products of integers.
    x = sum_i x_i 2^(16 i) with 0 <= x_i < 2^16; limbs i and j with i + j = s are multiplied for each s at once, side by
    side along the inner dimension. A sum of fewer than 2^21 terms below 2^32 is exact in the 53 bits of a float64.
    """
    count = -(-bits // _LIMB_BITS)
    most = _MOST_TERMS // count
    left, right = ([(x.to(torch.int64) >> _LIMB_BITS * i & _LIMB).double() for i in range(count)] for x in (a, b))
    batch = broadcast(a.shape[:-2], b.shape[:-2])
    total = torch.zeros((*batch, a.shape[-2], b.shape[-1]), dtype=torch.int64, device=a.device)
    for start in range(0, a.shape[-1], most):
        inner = slice(start, start + most)
        for s in range(count):
            x = torch.cat([left[i][..., inner] for i in range(s + 1)], -1)
            y = torch.cat([right[s - i][..., inner, :] for i in range(s + 1)], -2)
            total += torch.matmul(x, y).to(torch.int64) << _LIMB_BITS * s
    return total


def batched(multiply: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
    """a @ b with torch's broadcasting, by a product of [B, M, K] and [B, K, N]."""
    batch = broadcast(a.shape[:-2], b.shape[:-2])
    left, right = (x.expand(*batch, *x.shape[-2:]).reshape(-1, *x.shape[-2:]) for x in (a, b))
    return multiply(left, right).reshape(*batch, a.shape[-2], b.shape[-1])


@step
def pack(x: Tensor, bits: int) -> Tensor:
    """Wire bytes of k-bit elements; of whole words it is a view. Shapes: any -> uint8 [numel * element_bytes(bits)]."""
    # A new last axis has stride one, which a view wants; a slice of no more than one element may have any.
    raw = x.reshape(-1).contiguous().unsqueeze(-1).view(torch.uint8)
    width = element_bytes(bits)
    return raw.reshape(-1) if width == raw.shape[1] else raw[:, :width].reshape(-1).contiguous()


@step
def pack_sum(x: Tensor, y: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """x + y, and its wire bytes. Shapes: int64, both the same -> the same, uint8 [numel * element_bytes(bits)]."""
    total = x + y
    return total, pack.plain(total, bits)


@step
def pack_difference(x: Tensor, y: Tensor, bits: int, *, keep: bool = False) -> Tensor:
    """Wire bytes of x - y. Shapes: as `pack_sum`, but y may be int32 where bits are no more than it has.

    y's memory may be used for the result, unless it is to be kept.
    """
    return pack.plain(torch.sub(x, y, out=None if keep or y.dtype != x.dtype else y), bits)


@step
def unpack(
    payload: Payload,
    shape: tuple[int, ...],
    bits: int,
    device: torch.device = transfer.CPU,
    dtype: torch.dtype = torch.int64,
) -> Tensor:
    """Inverse of `pack`. Shapes: bytes [numel * element_bytes(bits)] -> `shape`, int64, or int32 if it is asked for."""
    width = element_bytes(bits)
    raw = transfer.received(payload, device)
    wide = torch.zeros((math.prod(shape), 8), dtype=torch.uint8, device=device)
    wide[:, :width] = raw.reshape(-1, width)
    return wide.reshape(-1).view(torch.int64).reshape(shape).to(dtype)


@step
def unpack_added(payload: Payload, x: Tensor, bits: int) -> Tensor:
    """The representative in [0, 2^bits) of x plus what the bytes hold. Shapes: bytes, int64 any -> same."""
    return low(x + unpack.plain(payload, tuple(x.shape), bits, x.device), bits)
