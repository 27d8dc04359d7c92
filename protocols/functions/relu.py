"""max(x, 0), and what is built of it."""

from __future__ import annotations

import functools

import torch

from secure.protocols.core.piecewise import Piece, Piecewise
from secure.protocols.core.secret import Secret
from secure.protocols.functions.compare import difference
from secure.protocols.masked.gates.piecewise import piecewise

_LARGEST_BITS = 13  # |x| < 2^13


@functools.cache
def relu_function(fraction_bits: int) -> Piecewise:
    """max(x, 0) of numbers with that many fraction bits, and for results with as many."""
    return _positive_part(fraction_bits, _LARGEST_BITS)


@functools.cache
def _positive_part(fraction_bits: int, largest_bits: int) -> Piecewise:
    largest = 2.0**largest_bits - 2.0**-fraction_bits
    return Piecewise(
        name="relu",
        thresholds=(0.0,),
        pieces=(None, Piece(slope=1.0)),
        reference=torch.relu,
        domain=(-largest, largest),
        compare_bits=largest_bits + fraction_bits + 1,
        output_bits=fraction_bits,
        integer_bits=_LARGEST_BITS + 1,  # softmax's exponential takes what it subtracts from a maximum as it is then
    )


def relu(x: Secret) -> Secret:
    """max(x, 0) elementwise. Shapes: any -> same. Exact. Reveals nothing."""
    return piecewise(x, relu_function(x.fraction_bits))


def maximum(x: Secret, y: Secret | float) -> Secret:
    """The larger of two numbers, y secret or public, elementwise: y + relu(x - y). Exact. Reveals nothing."""
    above = difference(x, y)
    return piecewise(above, _positive_part(above.fraction_bits, _LARGEST_BITS + 1)) + y
