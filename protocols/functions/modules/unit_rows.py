"""Rows divided by their Euclidean norm, over all norms that rows of numbers in the policy's range have."""

from __future__ import annotations

import functools
from dataclasses import replace

from secure.protocols.core import ring
from secure.protocols.core.piecewise import Piecewise
from secure.protocols.core.primitives import square_sum
from secure.protocols.core.secret import Secret, multiply
from secure.protocols.functions.layernorm import sums_around
from secure.protocols.functions.reciprocal_and_root import inverse_root_function
from secure.protocols.masked.gates.piecewise import piecewise

LOWEST_SQUARE, _HIGHEST_SQUARE = -12, 30
"""Powers of two around the square of a norm: that of up to 16 numbers of the default policy is below 2^30."""
_HIGHEST_MEAN = 26
_OUTPUT_BITS = 28  # the inverse of 2^19 keeps 9 of them, and is multiplied by numbers below 2^13
_AMPLITUDE_BITS, _BASIS_BITS = 30, 24  # amplitudes are up to 64, and meet cosines of 26 bits in a word
_VALUE_BITS = 1  # of an entry of a row whose norm is one, with all errors


@functools.cache
def inverse_norm_function(input_bits: int, highest: int = _HIGHEST_SQUARE) -> Piecewise:
    """1 / sqrt(x) for 2^-12 <= x < 2^highest; x with input_bits fraction bits."""
    coarse = inverse_root_function(1, LOWEST_SQUARE, highest, input_bits=input_bits)
    return replace(
        coarse,
        max_error=2.0 ** (1 - _OUTPUT_BITS),
        relative_error=2.0**-13,  # the fit's 1.3e-5, and amplitudes' rounding where the inverse is 2^-15
        amplitude_bits=_AMPLITUDE_BITS,
        basis_bits=_BASIS_BITS,
        output_bits=_OUTPUT_BITS,
    )


def unit_rows(x: Secret) -> Secret:
    """x / |x| along the last axis, for |x| >= 2^-6; 64 x for shorter rows.

    Shapes: [..., n] -> [..., n]. Error: 2^-13 of each entry, 2^-27 of each of x, and two units; above 16 numbers also
    n 2^-36 / |x|^2 of each entry. Reveals nothing.
    """
    highest = max(_HIGHEST_SQUARE, sums_around(x.shape[-1], (0, _HIGHEST_MEAN))[1])
    squares = square_sum(x, fraction_bits=min(2 * x.fraction_bits, ring.WORD_BITS - 2 - highest))
    inverse = piecewise(squares, inverse_norm_function(squares.fraction_bits, highest))
    return multiply(x, inverse, fraction_bits=x.fraction_bits, value_bits=_VALUE_BITS)
