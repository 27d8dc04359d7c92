"""max(x, 0), and what is built of it."""

from __future__ import annotations

import functools

import torch

from secure.protocols.core.piecewise import Piece, Piecewise
from secure.protocols.core.secret import Secret
from secure.protocols.masked.gates.piecewise import piecewise

_LARGEST_BITS = 13  # |x| < 2^13


@functools.cache
def relu_function(fraction_bits: int) -> Piecewise:
    """max(x, 0) of numbers with that many fraction bits, and for results with as many."""
    return Piecewise(
        name="relu",
        thresholds=(0.0,),
        pieces=(None, Piece(slope=1.0)),
        reference=torch.relu,
        domain=(1.0 - 2**_LARGEST_BITS, 2**_LARGEST_BITS - 1.0),
        compare_bits=_LARGEST_BITS + fraction_bits + 1,
        output_bits=fraction_bits,
        integer_bits=_LARGEST_BITS + 1,  # softmax's exponential takes what it subtracts from a maximum as it is then
    )


def relu(x: Secret) -> Secret:
    """max(x, 0) elementwise. Shapes: any -> same. Exact. Reveals nothing."""
    return piecewise(x, relu_function(x.fraction_bits))


def maximum(x: Secret, y: Secret) -> Secret:
    """The larger of two secrets, elementwise: y + relu(x - y). Exact. Reveals nothing."""
    return y + relu(x - y)
