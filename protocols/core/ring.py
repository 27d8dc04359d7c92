"""Arithmetic in Z_2^k, held in torch int64 tensors.

A tensor of "k-bit ring elements" has its value in the low k bits; the bits above are whatever arithmetic left there.
Z_2^64 → Z_2^k is a ring homomorphism, so sums and products need no reduction; only a value that becomes public, or is
shifted right, is reduced first.

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
from secure.protocols.core.kernels import card, cpu

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
    """x + y, with broadcasting. On the meta device from shapes alone: there torch takes its time over a sum."""
    if x.device.type != "meta":
        return x + y
    shape = x.shape if x.shape == y.shape else torch.broadcast_shapes(x.shape, y.shape)
    return torch.empty(shape, dtype=x.dtype, device=x.device)


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
    return x if bits >= WORD_BITS else x & ((1 << bits) - 1)


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


def shift_right(x: Tensor, shift: int, bits: int) -> Tensor:
    """floor(x / 2^shift) of the unsigned k-bit representative."""
    if shift == 0:
        return low(x, bits)
    if not cpu.serve(x.device):
        return shift_right_reference(x, shift, bits)
    return torch.from_numpy(cpu.shift_right(_flat(x), shift, bits)).reshape(x.shape)


def shift_right_reference(x: Tensor, shift: int, bits: int) -> Tensor:
    """`shift_right` in plain torch, for shift > 0."""
    return (x >> shift) & ((1 << (bits - shift)) - 1)


def top_bit(x: Tensor, bits: int) -> Tensor:
    """Bit k - 1 of x, as 0 or 1."""
    return shift_right(x, bits - 1, bits)


def matmul(a: Tensor, b: Tensor, bits: int = WORD_BITS) -> Tensor:
    """a @ b mod 2^bits, with torch's broadcasting. b may be int32: its numbers, or what they are mod 2^32 >= 2^bits."""
    if card.serve(a.device):
        return _batched(card.matmul, a, b)
    if not cpu.serve(a.device):
        return matmul_limbs(a, b, bits)
    if bits <= HALF_WORD_BITS:
        # The result is wanted mod 2^32 only, and torch is fast in 32 bits.
        return torch.matmul(a.to(torch.int32), b.to(torch.int32)).to(torch.int64)
    return _matmul_cpu(a, b)


def matmul_reference(a: Tensor, b: Tensor) -> Tensor:
    """`matmul` in plain torch, which has no products of integers on graphics cards."""
    return torch.matmul(a, b)


def matmul_limbs(a: Tensor, b: Tensor, bits: int = WORD_BITS) -> Tensor:
    """`matmul` by products of float64 matrices, which every device has.

    x = sum_i x_i 2^(16 i) with 0 <= x_i < 2^16; limbs i and j with i + j = s are multiplied for each s at once, side by
    side along the inner dimension. A sum of fewer than 2^21 terms below 2^32 is exact in the 53 bits of a float64.
    """
    count = -(-bits // _LIMB_BITS)
    most = _MOST_TERMS // count
    left, right = ([(x.to(torch.int64) >> _LIMB_BITS * i & _LIMB).double() for i in range(count)] for x in (a, b))
    batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    total = torch.zeros((*batch, a.shape[-2], b.shape[-1]), dtype=torch.int64, device=a.device)
    for start in range(0, a.shape[-1], most):
        inner = slice(start, start + most)
        for s in range(count):
            x = torch.cat([left[i][..., inner] for i in range(s + 1)], -1)
            y = torch.cat([right[s - i][..., inner, :] for i in range(s + 1)], -2)
            total += torch.matmul(x, y).to(torch.int64) << _LIMB_BITS * s
    return total


def _matmul_cpu(a: Tensor, b: Tensor) -> Tensor:
    if b.dim() == 2:  # one matrix for the whole batch
        rows = a.reshape(1, -1, a.shape[-1])
        product = torch.from_numpy(cpu.matmul(rows.numpy(), b.unsqueeze(0).numpy()))
        return product.reshape(*a.shape[:-1], b.shape[-1])
    return _batched(lambda x, y: torch.from_numpy(cpu.matmul(x.numpy(), y.numpy())), a, b)


def _batched(multiply: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
    """a @ b with torch's broadcasting, by a product of [B, M, K] and [B, K, N]."""
    batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    left, right = (x.expand(*batch, *x.shape[-2:]).reshape(-1, *x.shape[-2:]) for x in (a, b))
    return multiply(left, right).reshape(*batch, a.shape[-2], b.shape[-1])


def pack(x: Tensor, bits: int) -> Tensor:
    """Wire bytes of k-bit elements. Shapes: any -> uint8 [numel * element_bytes(bits)]."""
    width = element_bytes(bits)
    words = x.reshape(-1).contiguous()
    if width == 8:
        return _bytes_of(words).reshape(-1)
    if card.serve(x.device):
        return card.pack(words, width)
    return torch.from_numpy(cpu.pack(words.numpy(), width)) if cpu.serve(x.device) else pack_reference(words, bits)


def pack_reference(x: Tensor, bits: int) -> Tensor:
    """`pack` in plain torch."""
    return _bytes_of(x.reshape(-1).contiguous())[:, : element_bytes(bits)].reshape(-1)


def _bytes_of(words: Tensor) -> Tensor:
    """Shapes: int64 [n] -> uint8 [n, 8].

    A new last axis has stride one, which a view wants; a slice of no more than one element may have any.
    """
    return words.unsqueeze(-1).view(torch.uint8)


def pack_sum(x: Tensor, y: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """x + y, and its wire bytes. Shapes: int64, both the same -> the same, uint8 [numel * element_bytes(bits)]."""
    if card.serve(x.device):
        return card.pack_sum(x, y, element_bytes(bits))
    if not cpu.serve(x.device) or element_bytes(bits) == 8:
        total = x + y
        return total, pack(total, bits)
    words, packed = cpu.pack_sum(_flat(x), _flat(y), element_bytes(bits))
    return torch.from_numpy(words).reshape(x.shape), torch.from_numpy(packed)


def pack_difference(x: Tensor, y: Tensor, bits: int, *, keep: bool = False) -> Tensor:
    """Wire bytes of x - y. Shapes: as `pack_sum`, but y may be int32 where bits are no more than it has.

    y's memory may be used for the result, unless it is to be kept.
    """
    if card.serve(x.device):
        return card.pack_difference(x, y.to(torch.int64), element_bytes(bits))
    if not cpu.serve(x.device) or element_bytes(bits) == 8:
        return pack(torch.sub(x, y, out=None if keep or y.dtype != x.dtype else y), bits)
    return torch.from_numpy(cpu.pack_difference(_flat(x), _flat(y), element_bytes(bits)))


def unpack(
    payload: Payload,
    shape: tuple[int, ...],
    bits: int,
    device: torch.device = transfer.CPU,
    dtype: torch.dtype = torch.int64,
) -> Tensor:
    """Inverse of `pack`. Shapes: bytes [numel * element_bytes(bits)] -> `shape`, int64, or int32 if it is asked for."""
    if cpu.serve(device):
        half = dtype == torch.int32
        found = cpu.unpack(np.frombuffer(payload, dtype=np.uint8), element_bytes(bits), half=half)
        return torch.from_numpy(found).reshape(shape)
    raw = transfer.received(payload, device)
    words = card.unpack(raw, shape, element_bytes(bits)) if card.serve(device) else unpack_reference(raw, shape, bits)
    return words.to(dtype)


def unpack_added(payload: Payload, x: Tensor, bits: int) -> Tensor:
    """The representative in [0, 2^bits) of x plus what the bytes hold. Shapes: bytes, int64 any -> same."""
    mask = -1 if bits >= WORD_BITS else (1 << bits) - 1
    if card.serve(x.device):
        return card.unpack_added(transfer.received(payload, x.device), x, element_bytes(bits), mask)
    if cpu.serve(x.device):
        words = cpu.unpack_added(np.frombuffer(payload, dtype=np.uint8), _flat(x), element_bytes(bits), mask)
        return torch.from_numpy(words).reshape(x.shape)
    return low(x + unpack_reference(transfer.received(payload, x.device), tuple(x.shape), bits), bits)


def unpack_reference(raw: Tensor, shape: tuple[int, ...], bits: int) -> Tensor:
    """`unpack` in plain torch, of bytes that are on the device already."""
    width = element_bytes(bits)
    wide = torch.zeros((math.prod(shape), 8), dtype=torch.uint8, device=raw.device)
    wide[:, :width] = raw.reshape(-1, width)
    return wide.reshape(-1).view(torch.int64).reshape(shape)


def _flat(x: Tensor) -> cpu.Array:
    return x.reshape(-1).contiguous().numpy()
