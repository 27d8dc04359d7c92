"""Bit planes: plane j holds bit j of every element, eight elements to a byte, element 0 in the lowest bit.

Every Boolean operation on a plane is then one bulk bitwise operation, and an opened bit costs one bit on the wire.
What is marked as a step has compiled loops in `kernels/cpu/bits.py` and `kernels/card/bits.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from secure.protocols.core.kernels.dispatch import step

ALL_ONES = 255


def plane_bytes(elements: int) -> int:
    """Bytes of one plane over `elements` elements."""
    return (elements + 7) // 8


@step
def to_planes(x: Tensor, count: int, lowest: int = 0) -> Tensor:
    """`count` bits of x, from bit `lowest` on, as planes. Shapes: int64 [..., n] -> uint8 [..., count, ceil(n / 8)]."""
    padded = torch.nn.functional.pad(x >> lowest, (0, -x.shape[-1] % 8)).contiguous()
    raw = padded.view(torch.uint8).reshape(*x.shape[:-1], -1, 8, 8)  # [..., row, element, byte]
    raw = raw[..., : plane_bytes(count)]
    places = torch.arange(8, dtype=torch.uint8, device=x.device)
    single = (raw.unsqueeze(-1) >> places) & 1  # [..., row, element, byte, bit]
    packed = (single << places.view(8, 1, 1)).sum(-3, dtype=torch.uint8).flatten(-2)
    return packed[..., :count].transpose(-1, -2).contiguous()


@step
def from_planes(planes: Tensor, elements: int, dtype: torch.dtype = torch.int64) -> Tensor:
    """Each plane as 0 / 1 elements. Shapes: uint8 [..., ceil(n / 8)] -> dtype [..., n]."""
    shifts = torch.arange(8, dtype=torch.uint8, device=planes.device)
    bits = (planes.unsqueeze(-1) >> shifts) & 1
    return bits.flatten(-2)[..., :elements].to(dtype)


@step
def products(factors: Tensor, one: int = ALL_ONES) -> Tensor:
    """Products of every subset of k factors: planes, or numbers that are 0 or 1 where one = 1.

    Shapes: [k, ...] -> [2^k, ...], factor i in bit i of the index.
    """
    table = torch.empty((1 << len(factors), *factors.shape[1:]), dtype=factors.dtype, device=factors.device)
    table[0] = one
    for i, factor in enumerate(factors):
        torch.bitwise_and(table[: 1 << i], factor, out=table[1 << i : 2 << i])
    return table
