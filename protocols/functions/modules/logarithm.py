"""The natural logarithm, and of softmax."""

from __future__ import annotations

import functools
import math

from secure.protocols.core.piecewise import Piece, Piecewise
from secure.protocols.core.primitives import square_sum
from secure.protocols.core.secret import Secret
from secure.protocols.functions.argmax import maximum_along
from secure.protocols.masked.gates.exponential import exp2_negative
from secure.protocols.masked.gates.piecewise import piecewise

_LOWEST = -1  # a sum of powers, the largest of which is one, with all that rounding may take

# ln x on [1, 2): least largest error over four harmonics of period 4, by linear programming on 1,600 points: 8.3e-7.
_CONSTANT = -0.01254569
_COSINES = (-0.9708045585, -0.300492837, -0.0330281705, 0.0023521492)
_SINES = (-0.2219622272, 0.1341151932, 0.0683362358, 0.0082624595)


@functools.cache
def logarithm_function(lowest: int, highest: int, input_bits: int) -> Piecewise:
    """ln x for 2^lowest <= x <= 2^highest, by one piece per factor of two; x with input_bits fraction bits."""

    def octave(power: int) -> Piece:
        return Piece(
            constant=_CONSTANT + power * math.log(2.0),
            period=4.0 * 2.0**power,
            cosines=tuple(enumerate(_COSINES, 1)),
            sines=tuple(enumerate(_SINES, 1)),
        )

    ends = (Piece(constant=power * math.log(2.0)) for power in (lowest, highest))
    first, last = ends
    return Piecewise(
        name="log",
        thresholds=tuple(2.0**power for power in range(lowest, highest + 1)),
        pieces=(first, *map(octave, range(lowest, highest)), last),
        reference=lambda x: x.clamp(min=2.0**lowest).log(),
        domain=(0.0, 2.0**highest),
        max_error=3e-5,
        compare_bits=highest + 2 + input_bits,
        amplitude_bits=20,
        basis_bits=20,
        integer_bits=max(1, math.ceil(math.log2(max(highest, -lowest)))),
    )


def log_softmax(x: Secret) -> Secret:
    """x - m - ln(sum of e^(x - m)) along the last axis, m the largest element.

    The sum is one of squares, of e^((x - m) / 2): these reach down twice as far, and their sum is not truncated.

    Shapes: [..., n] -> the same. Elements of a row differ by less than 2^13. Error: 3e-4 + 2e-5 sqrt(n).
    Reveals nothing.
    """
    below = maximum_along(x) - x
    halves = exp2_negative(below * (math.log2(math.e) / 2))
    highest = math.ceil(math.log2(x.shape[-1])) + 1
    squares = square_sum(halves)
    logarithm = piecewise(squares, logarithm_function(_LOWEST, highest, squares.fraction_bits))
    return -(below + logarithm)
