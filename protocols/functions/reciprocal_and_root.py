"""Powers of x over many octaves: reciprocal and inverse square root by one piece per factor of two."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace

import torch

from secure.protocols.core import integer_functions, ring
from secure.protocols.core.piecewise import Piece, Piecewise
from secure.protocols.core.secret import Secret
from secure.protocols.masked.gates.piecewise import piecewise

INVERSE_ROOT = "rsqrt"
"""Name of what norms evaluate."""
_AMPLITUDE_BITS = 22
MOST_FINE_BITS = _AMPLITUDE_BITS + integer_functions.SCALE_BITS
"""The most fraction bits of `fine_inverse_root`: what the tables of cosines have digits for."""


@dataclass(frozen=True)
class _Fit:
    """A trigonometric sum of period 4 for x^exponent on [1, 2): constant, then cosines and sines of harmonics 1, 2, ...

    Least largest error by linear programming on 900 points.
    """

    exponent: float
    constant: float
    cosines: tuple[float, ...]
    sines: tuple[float, ...]

    def octave(self, power: int, factor: float) -> Piece:
        """factor * x^exponent on [2^power, 2^(power+1)): the same sum, stretched and scaled."""
        height = factor * 2.0 ** (self.exponent * power)
        return Piece(
            constant=height * self.constant,
            period=4.0 * 2.0**power,
            cosines=tuple((j, height * a) for j, a in enumerate(self.cosines, 1)),
            sines=tuple((j, height * b) for j, b in enumerate(self.sines, 1)),
        )


_INVERSE_ROOT = _Fit(  # 1.3e-5
    -0.5, 1.078125735, (0.483769007, 0.119724981, 0.006962103), (0.02279207, -0.072695316, -0.018794351)
)
_RECIPROCAL = _Fit(  # 1.8e-6
    -1.0,
    1.544807523,
    (1.433884276, 0.423211497, 0.025832513, -0.008300552),
    (-0.255118803, -0.389881192, -0.14182165, -0.014953888),
)


def _by_octaves(
    name: str, fit: _Fit, factor: float, lowest: int, highest: int, output_bits: int, input_bits: int
) -> Piecewise:
    """factor * x^exponent for 2^lowest <= x <= 2^highest, and what it is at 2^lowest below; of no use above."""
    powers = range(lowest, highest)

    def value(x: float) -> float:
        return factor * math.pow(x, fit.exponent)

    def reference(x: torch.Tensor) -> torch.Tensor:
        return factor * x.clamp(min=2.0**lowest) ** fit.exponent

    largest = value(2.0**lowest)
    return Piecewise(
        name=name,
        thresholds=tuple(2.0**p for p in range(lowest, highest + 1)),
        pieces=(
            Piece(constant=largest),
            *(fit.octave(p, factor) for p in powers),
            Piece(constant=value(2.0**highest)),
        ),
        reference=reference,
        domain=(0.0, 2.0**highest),
        least=2.0**lowest,
        max_error=2.0**-output_bits + largest * 2.0**-20,
        relative_error=4e-5,
        compare_bits=highest + 2 + input_bits,
        amplitude_bits=_AMPLITUDE_BITS,
        basis_bits=_AMPLITUDE_BITS - max(0, math.ceil(math.log2(largest)) - 8),
        output_bits=output_bits,
        integer_bits=max(1, math.ceil(math.log2(largest)) + 1),
    )


@functools.cache
def reciprocal_function(lowest: int, highest: int, output_bits: int = 16, *, input_bits: int = 16) -> Piecewise:
    """1 / x for 2^lowest <= x < 2^highest, x with input_bits fraction bits."""
    return _by_octaves("reciprocal", _RECIPROCAL, 1.0, lowest, highest, output_bits, input_bits)


@functools.cache
def inverse_root_function(
    count: int, lowest: int, highest: int, output_bits: int = 16, *, input_bits: int = 32
) -> Piecewise:
    """sqrt(count / x), the inverse standard deviation for a sum x of `count` squares, 2^lowest <= x < 2^highest."""
    return _by_octaves(INVERSE_ROOT, _INVERSE_ROOT, math.sqrt(count), lowest, highest, output_bits, input_bits)


@functools.cache
def fine_inverse_root(count: int, lowest: int, highest: int, output_bits: int, *, input_bits: int = 32) -> Piecewise:
    """`inverse_root_function` as the pieces come, in the full ring: a factor whose product is truncated, not itself.

    output_bits: 38 to MOST_FINE_BITS. Error: as the other's, with 2^-20 in place of its unit.
    """
    coarse = inverse_root_function(count, lowest, highest, input_bits=input_bits)
    return replace(
        coarse,
        max_error=2.0**-20 + coarse.max_error - 2.0**-coarse.output_bits,
        basis_bits=output_bits - _AMPLITUDE_BITS,
        output_bits=output_bits,
        integer_bits=ring.WORD_BITS - 2 - output_bits,
    )


def reciprocal(x: Secret, *, lowest: int = -4, highest: int = 13, output_bits: int = 16) -> Secret:
    """1 / x elementwise for 2^lowest <= x < 2^highest, at most the inverse of 2^lowest below, with output_bits.

    Shapes: any -> same. Error: 4e-5 relative, 2^-output_bits, and 2^-20 of the largest result. Reveals nothing.
    """
    return piecewise(x, reciprocal_function(lowest, highest, output_bits, input_bits=x.fraction_bits))


def rsqrt(x: Secret, *, lowest: int = -8, highest: int = 13) -> Secret:
    """1 / sqrt(x) elementwise for 2^lowest <= x < 2^highest, at most 2^(-lowest/2) below.

    Shapes: any -> same. Error: 4e-5 relative, and the ring's resolution. Reveals nothing.
    """
    return piecewise(x, inverse_root_function(1, lowest, highest, input_bits=x.fraction_bits))
