"""Comparisons with a secret result, and selection by it."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from secure.protocols.core.piecewise import LARGEST, Piece, Piecewise
from secure.protocols.core.primitives import widen
from secure.protocols.core.secret import Secret, multiply
from secure.protocols.masked.gates.piecewise import piecewise


def _is_negative(x: Tensor) -> Tensor:
    return (x < 0).to(torch.float64)


NEGATIVE = Piecewise(
    name="less-than",
    thresholds=(0.0,),
    pieces=(Piece(constant=1.0), None),
    reference=_is_negative,
    domain=(-2 * LARGEST, 2 * LARGEST),
    output_bits=0,
    integer_bits=30,  # a bit in a 32-bit ring: room for the ring's own size, nothing is truncated
)


def difference(x: Secret, y: Secret | float) -> Secret:
    """x - y, which may be twice as large as the policy's numbers. Shapes: broadcast. Exact, reveals nothing."""
    return widen(x) - (widen(y) if isinstance(y, Secret) else y)


def less_than(x: Secret, y: Secret | float) -> Secret:
    """[x < y] as 0 or 1 with no fraction bits; y secret or public. Shapes: broadcast. Exact. Reveals nothing."""
    return piecewise(difference(x, y), NEGATIVE)


@functools.cache
def _equality(fraction_bits: int) -> Piecewise:
    """[x == 0] of numbers with that many fraction bits: no less, and less than one unit."""
    return Piecewise(
        name="equal",
        thresholds=(0.0, 2.0**-fraction_bits),
        pieces=(None, Piece(constant=1.0), None),
        reference=lambda x: (x == 0).to(torch.float64),
        domain=(2.0 ** (1 - fraction_bits) - 2.0**14, 2.0**14 - 2.0 ** (1 - fraction_bits)),
        compare_bits=15 + fraction_bits,
        output_bits=0,
        integer_bits=15,
    )


def equal(x: Secret, y: Secret | float) -> Secret:
    """[x == y] as 0 or 1 with no fraction bits; y secret or public. Shapes: broadcast. Exact. Reveals nothing."""
    apart = difference(x, y)
    return piecewise(apart, _equality(apart.fraction_bits))


def select(condition: Secret, x: Secret, y: Secret) -> Secret:
    """x where condition is 1, y where it is 0: y + condition * (x - y). Shapes: broadcast. Exact. Reveals nothing."""
    apart = difference(x, y)
    most = x.protocol.policy.value_bits + 1
    return y + multiply(condition, apart, fraction_bits=apart.fraction_bits, value_bits=most)
