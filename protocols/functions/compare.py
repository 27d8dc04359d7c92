"""Comparisons with a secret result, and selection by it."""

from __future__ import annotations

import torch
from torch import Tensor

from protocols.core.piecewise import Piece, Piecewise
from protocols.core.secret import Secret


def _is_negative(x: Tensor) -> Tensor:
    return (x < 0).to(torch.float64)


NEGATIVE = Piecewise(
    name="less-than",
    thresholds=(0.0,),
    pieces=(Piece(constant=1.0), None),
    reference=_is_negative,
    domain=(-8191.0, 8191.0),
    output_bits=0,
    integer_bits=30,  # a bit in a 32-bit ring: room for the ring's own size, nothing is truncated
)


def less_than(x: Secret, y: Secret | float) -> Secret:
    """[x < y] as 0 or 1 with no fraction bits; y secret or public. Shapes: broadcast. Exact. Reveals nothing."""
    return x.protocol.piecewise(x - y, NEGATIVE)


def select(condition: Secret, x: Secret, y: Secret) -> Secret:
    """x where condition is 1, y where it is 0: y + condition * (x - y). Shapes: broadcast. Exact. Reveals nothing."""
    difference = x - y
    return y + difference.protocol.multiply(condition, difference, fraction_bits=difference.fraction_bits)
