"""Public transcendental functions in integers, bit-identical on every machine.

The parties multiply shares, which are uniform in the ring, by public factors such as cos(2 pi c / P). If the two
machines disagreed in the last bit of such a factor the result would be noise, so no floating-point function of a
machine is evaluated on data: each factor is a product of two table entries. The tables hold 2^26 times a cosine, or a
power of two, rounded; `digest` goes into the policy digest, which the handshake compares.
"""

from __future__ import annotations

import functools
import hashlib
import math
from typing import Any

import torch
from torch import Tensor

SCALE_BITS = 26
ANGLE_BITS = 24
HALF_ANGLE = ANGLE_BITS // 2
FRACTION_BITS = 16
HALF_FRACTION = FRACTION_BITS // 2


@functools.cache
def angles(device: torch.device) -> Tensor:
    """cos and sin of the upper half of an angle's bits, then of the lower half. Shapes: -> int64 [4, 2^12]."""
    size = 1 << HALF_ANGLE
    rows = []
    for turn in (size, 1 << ANGLE_BITS):
        for function in (math.cos, math.sin):
            rows.append([round(function(2 * math.pi * i / turn) * 2**SCALE_BITS) for i in range(size)])
    return torch.tensor(rows, dtype=torch.int64, device=device)


@functools.cache
def powers(device: torch.device) -> tuple[Tensor, Tensor]:
    """2^(i / 2^8), then 2^(i / 2^16), times 2^26. Shapes: -> two of int64 [2^8]."""
    size = 1 << HALF_FRACTION
    rows = [[round(2.0 ** (i / turn) * 2**SCALE_BITS) for i in range(size)] for turn in (size, 1 << FRACTION_BITS)]
    coarse, fine = (torch.tensor(row, dtype=torch.int64, device=device) for row in rows)
    return coarse, fine


@functools.cache
def numbers(values: tuple[Any, ...], device: torch.device) -> Tensor:
    """Public integers on a device, put there once. Shapes: nested tuples of them -> int64, as many axes."""
    return torch.tensor(values, dtype=torch.int64, device=device)


def rounded(product: Tensor, drop_bits: int) -> Tensor:
    """product / 2^drop_bits, rounded to nearest, in integers."""
    return (product + (1 << (drop_bits - 1))) >> drop_bits if drop_bits else product


def phasor(angle: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin of 2 pi angle / 2^24, times 2^26. Shapes: int64 any -> two of the same. Error: 2 units."""
    coarse_cos, coarse_sin, fine_cos, fine_sin = angles(angle.device)
    high = (angle >> HALF_ANGLE) & ((1 << HALF_ANGLE) - 1)
    small = angle & ((1 << HALF_ANGLE) - 1)
    return rotate((coarse_cos[high], coarse_sin[high]), (fine_cos[small], fine_sin[small]))


def rotate(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The product of two unit complex numbers, each (cos, sin) times 2^26. Shapes: int64 any, all the same."""
    real = a[0] * b[0] - a[1] * b[1]
    imaginary = a[0] * b[1] + a[1] * b[0]
    return rounded(real, SCALE_BITS), rounded(imaginary, SCALE_BITS)


def power_of_two(fraction: Tensor) -> Tensor:
    """2^(fraction / 2^16) times 2^26, for 0 <= fraction < 2^16. Shapes: int64 any -> same. Error: 2 units."""
    coarse, fine = powers(fraction.device)
    product = coarse[fraction >> HALF_FRACTION] * fine[fraction & ((1 << HALF_FRACTION) - 1)]
    return rounded(product, SCALE_BITS)


@functools.cache
def digest() -> str:
    """SHA-256 of all tables."""
    cpu = torch.device("cpu")
    state = hashlib.sha256()
    for table in (*angles(cpu), *powers(cpu)):
        state.update(table.numpy().tobytes())
    return state.hexdigest()
