"""Bit planes on the CPU: to them and back."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from secure.protocols.core import bits
from secure.protocols.core.kernels.cpu.compiler import SPAN, Array, array, computed


def _transpose_bits(x: Array, lowest: int, planes: Array) -> None:
    """Bit lowest + j of element i to bit i of plane j. Shapes: uint64 [R, n], uint8 [R, count, ceil(n / 8)]."""
    rows, elements = x.shape
    count = planes.shape[1]
    # Eight bytes, one of each element: an 8 x 8 matrix of bits in a word.
    words = np.empty(SPAN, dtype=np.uint64)
    members = words.view(np.uint8)
    for r in range(rows):
        for first in range(0, count, 8):
            for start in range(0, planes.shape[2], SPAN):
                width = min(SPAN, planes.shape[2] - start)
                present = min(8 * width, elements - 8 * start)
                source, shift = x[r, 8 * start : 8 * start + present], np.uint64(lowest + first)
                for k in range(present):
                    members[k] = source[k] >> shift
                members[present : 8 * width] = 0
                for i in range(width):
                    # Transposed by swapping ever larger blocks.
                    t = words[i]
                    u = (t ^ (t >> np.uint64(7))) & np.uint64(0x00AA00AA00AA00AA)
                    t ^= u ^ (u << np.uint64(7))
                    u = (t ^ (t >> np.uint64(14))) & np.uint64(0x0000CCCC0000CCCC)
                    t ^= u ^ (u << np.uint64(14))
                    u = (t ^ (t >> np.uint64(28))) & np.uint64(0x00000000F0F0F0F0)
                    words[i] = t ^ u ^ (u << np.uint64(28))
                for j in range(min(8, count - first)):
                    out, shift = planes[r, first + j, start : start + width], np.uint64(8 * j)
                    for i in range(width):
                        out[i] = words[i] >> shift


@bits.to_planes.on_cpu
def to_planes(x: Tensor, count: int, lowest: int = 0) -> Tensor:
    """See `bits.to_planes`."""
    rows, row = x.reshape(-1, x.shape[-1]), bits.plane_bytes(x.shape[-1])
    words, shape = array(rows).view(np.uint64), (len(rows), count, row)
    return computed(_transpose_bits, words, lowest, shape=shape, dtype=np.uint8).reshape(*x.shape[:-1], count, row)


@bits.from_planes.on_cpu
def from_planes(planes: Tensor, elements: int, dtype: torch.dtype = torch.int64) -> Tensor:
    """See `bits.from_planes`: numpy has a loop for this."""
    found = np.unpackbits(array(planes), axis=-1, count=elements, bitorder="little")
    return torch.from_numpy(found).to(dtype)
