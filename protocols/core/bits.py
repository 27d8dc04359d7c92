"""Bit planes: plane j holds bit j of every element, eight elements to a byte, element 0 in the lowest bit.

Every Boolean operation on a plane is then one bulk bitwise operation, and an opened bit costs one bit on the wire.
The two conversions have a loop for the CPU, one for graphics cards and a plain torch form; tests compare them bit for
bit.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from secure.protocols.core.kernels import card, cpu

ALL_ONES = 255


def plane_bytes(elements: int) -> int:
    """Bytes of one plane over `elements` elements."""
    return (elements + 7) // 8


def to_planes(x: Tensor, count: int, lowest: int = 0) -> Tensor:
    """`count` bits of x, from bit `lowest` on, as planes. Shapes: int64 [..., n] -> uint8 [..., count, ceil(n / 8)]."""
    if card.serve(x.device):
        return card.to_planes(x, count, lowest)
    if not cpu.serve(x.device):
        return to_planes_reference(x, count, lowest)
    planes = cpu.transpose_bits(x.reshape(-1, x.shape[-1]).numpy(), count, lowest)
    return torch.from_numpy(planes).reshape(*x.shape[:-1], count, -1)


def from_planes(planes: Tensor, elements: int, dtype: torch.dtype = torch.int64) -> Tensor:
    """Each plane as 0 / 1 elements. Shapes: uint8 [..., ceil(n / 8)] -> dtype [..., n]."""
    if card.serve(planes.device):
        return card.from_planes(planes, elements, dtype)
    if cpu.serve(planes.device):
        return _from_planes_cpu(planes, elements).to(dtype)
    return from_planes_reference(planes, elements).to(dtype)


def products(factors: Tensor, one: int = ALL_ONES) -> Tensor:
    """Products of every subset of k factors: planes, or numbers that are 0 or 1 where one = 1.

    Shapes: [k, ...] -> [2^k, ...], factor i in bit i of the index.
    """
    if card.serve(factors.device):
        return card.products(factors, one)
    table = torch.empty((1 << len(factors), *factors.shape[1:]), dtype=factors.dtype, device=factors.device)
    table[0] = one
    for i, factor in enumerate(factors):
        torch.bitwise_and(table[: 1 << i], factor, out=table[1 << i : 2 << i])
    return table


def to_planes_reference(x: Tensor, count: int, lowest: int = 0) -> Tensor:
    """`to_planes` in plain torch."""
    padded = torch.nn.functional.pad(x >> lowest, (0, -x.shape[-1] % 8)).contiguous()
    raw = padded.view(torch.uint8).reshape(*x.shape[:-1], -1, 8, 8)  # [..., row, element, byte]
    raw = raw[..., : plane_bytes(count)]
    places = torch.arange(8, dtype=torch.uint8, device=x.device)
    single = (raw.unsqueeze(-1) >> places) & 1  # [..., row, element, byte, bit]
    packed = (single << places.view(8, 1, 1)).sum(-3, dtype=torch.uint8).flatten(-2)
    return packed[..., :count].transpose(-1, -2).contiguous()


def from_planes_reference(planes: Tensor, elements: int) -> Tensor:
    """`from_planes` in plain torch."""
    shifts = torch.arange(8, dtype=torch.uint8, device=planes.device)
    bits = (planes.unsqueeze(-1) >> shifts) & 1
    return bits.flatten(-2)[..., :elements]


def _from_planes_cpu(planes: Tensor, elements: int) -> Tensor:
    bits = np.unpackbits(planes.contiguous().numpy(), axis=-1, count=elements, bitorder="little")
    return torch.from_numpy(bits)
