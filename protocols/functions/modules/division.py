"""Quotients of secrets."""

from __future__ import annotations

import functools
from dataclasses import replace

import torch
from torch import Tensor

from secure.protocols.core.piecewise import Piece, Piecewise
from secure.protocols.core.secret import Secret, multiply
from secure.protocols.functions.reciprocal_and_root import reciprocal_function
from secure.protocols.masked.gates.piecewise import piecewise

LOWEST_POWER, _HIGHEST_POWER = -6, 13
"""Divisors are from 2^-6 to 2^13 in magnitude."""
_OUTPUT_BITS = 28  # the inverse of 2^13 keeps 15 of them
_AMPLITUDE_BITS, _BASIS_BITS = 30, 24  # amplitudes are up to 92, and meet cosines of 26 bits in a word


def _mirrored(piece: Piece | None) -> Piece:
    """-f(-x)."""
    assert piece is not None
    return replace(piece, constant=-piece.constant, cosines=tuple((j, -amplitude) for j, amplitude in piece.cosines))


def _reference(x: Tensor) -> Tensor:
    return torch.where(x < 0, -1.0, 1.0) / x.abs().clamp(min=2.0**LOWEST_POWER)


@functools.cache
def inverse_function(input_bits: int) -> Piecewise:
    """1 / x for 2^-6 <= |x| < 2^13; 64 or -64 between; x with input_bits fraction bits."""
    positive = reciprocal_function(LOWEST_POWER, _HIGHEST_POWER, input_bits=input_bits)
    return replace(
        positive,
        name="inverse",
        thresholds=(*(-t for t in reversed(positive.thresholds)), 0.0, *positive.thresholds),
        pieces=(*map(_mirrored, reversed(positive.pieces)), *positive.pieces),
        reference=_reference,
        domain=(-(2.0**_HIGHEST_POWER), 2.0**_HIGHEST_POWER),
        max_error=2.0 ** (1 - _OUTPUT_BITS),
        relative_error=4e-5,
        compare_bits=_HIGHEST_POWER + 3 + input_bits,
        amplitude_bits=_AMPLITUDE_BITS,
        basis_bits=_BASIS_BITS,
        output_bits=_OUTPUT_BITS,
        integer_bits=-LOWEST_POWER + 1,
    )


def divide(x: Secret, y: Secret) -> Secret:
    """x / y elementwise for 2^-6 <= |y| < 2^13, and y between as if it were at the end of that.

    Shapes: broadcast. |x / y| < 2^13. Error: 6e-5 of the result, 2^-27 |x| and two units. Reveals nothing.
    """
    inverse = piecewise(y, inverse_function(y.fraction_bits))
    return multiply(x, inverse, fraction_bits=x.fraction_bits)
