"""A function of one real variable in the form that secure gates evaluate: pieces between public thresholds.

On each piece the function is zero, or constant + slope * x + a trigonometric sum

    sum_j cosines[j] * cos(2 pi j x / period) + sines[j] * sin(2 pi j x / period).

Trigonometric sums are what one masked opening gives for free: with c = x + r public, cos(w x) is
cos(w c) cos(w r) + sin(w c) sin(w r), linear in what a dealer can share about r. And they fit smooth functions on an
interval faster than polynomials of the same number of terms, because only the interval matters, not the whole period.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from torch import Tensor

from secure.protocols.core.errors import ProtocolError

LARGEST = 2.0**13 - 2.0**-16
"""The largest magnitude of the default policy: where its functions' domains end."""


@dataclass(frozen=True, eq=False)
class Piece:
    """constant + slope * x + trigonometric sum. `period` is a power of two; harmonics are (j, amplitude)."""

    constant: float = 0.0
    slope: float = 0.0
    period: float = 0.0
    cosines: tuple[tuple[int, float], ...] = ()
    sines: tuple[tuple[int, float], ...] = ()

    def value(self, x: float) -> float:
        """The piece's value at x."""
        turn = 2 * math.pi * x / self.period if self.period else 0.0
        waves = [a * math.cos(j * turn) for j, a in self.cosines] + [b * math.sin(j * turn) for j, b in self.sines]
        return self.constant + self.slope * x + sum(waves)

    @cached_property
    def harmonics(self) -> tuple[int, ...]:
        """Every j of the sum, ascending."""
        return tuple(sorted({j for j, _ in self.cosines + self.sines}))


@dataclass(frozen=True, eq=False)
class Piecewise:
    """A function by pieces, with the reference it approximates.

    thresholds: m ascending reals; piece i holds on [thresholds[i-1], thresholds[i]).
    pieces: m + 1 pieces; None is zero.
    reference: the exact function on float64 tensors.
    domain: arguments for which the pieces are within the error below of the reference, ends included.
    least: arguments of a smaller magnitude are taken for this one by the reference, too.
    max_error: largest |pieces - reference| on the domain, fixed-point rounding included; relative_error: the same as a
        share of |reference|. Both allow: max_error + relative_error * |reference|.
    compare_bits: |x - threshold| * 2^fraction_bits < 2^(compare_bits - 1) for all x of the domain.
    blur_bits: within 2^-blur_bits of a threshold, a multiple of that, either of the two pieces may be taken; None where
        comparisons are exact. A blurred comparison costs less.
    amplitude_bits, basis_bits: fraction bits of the public factor and of the dealer's cosines.
    output_bits: fraction bits of the result. Where pieces are constants or slopes only, and all of them are exact at
        output_bits, no truncation is needed and none is done.
    integer_bits: |result| < 2^integer_bits.

    Each is one object for as long as a program runs, and equal to itself alone: gates keep what they worked out for it.
    """

    name: str
    thresholds: tuple[float, ...]
    pieces: tuple[Piece | None, ...]
    reference: Callable[[Tensor], Tensor]
    domain: tuple[float, float]
    least: float = 0.0
    max_error: float = 0.0
    relative_error: float = 0.0
    compare_bits: int = 32
    blur_bits: int | None = None
    amplitude_bits: int = 16
    basis_bits: int = 16
    output_bits: int = 16
    integer_bits: int = 13

    def check_scale(self, input_bits: int) -> None:
        """Raises ProtocolError when arguments with input_bits are too fine for the compared bits."""
        reach = max(self.domain[1] - self.thresholds[0], self.thresholds[-1] - self.domain[0])
        if reach * 2.0**input_bits >= 2.0 ** (self.compare_bits - 1):
            raise ProtocolError(
                f"{self.name} compares {self.compare_bits} bits, too few for its range with {input_bits} fraction "
                "bits; truncate the argument first"
            )

    @cached_property
    def sloped(self) -> bool:
        """Whether any piece has a slope."""
        return any(piece is not None and bool(piece.slope) for piece in self.pieces)

    @cached_property
    def trigonometric(self) -> bool:
        """Whether any piece has a trigonometric sum."""
        return any(piece is not None and bool(piece.harmonics) for piece in self.pieces)

    @cached_property
    def scale(self) -> int:
        """Fraction bits of the pieces' values before any truncation."""
        return self.amplitude_bits + self.basis_bits if self.trigonometric else self.output_bits

    def slope(self, i: int) -> float:
        """Slope of piece i."""
        piece = self.pieces[i]
        return 0.0 if piece is None else piece.slope

    @cached_property
    def smooth(self) -> Smooth | None:
        """This function as a series that is evaluated everywhere, and lines.

        There is one when the middle one of three pieces alone has a trigonometric sum, and the lowest is constant.
        """
        if len(self.pieces) != 3 or self.pieces[1] is None or not self.pieces[1].harmonics or self.slope(0):
            return None
        lower, middle, upper = (piece or Piece() for piece in self.pieces)
        if lower.harmonics or upper.harmonics:
            return None
        above = replace(upper, constant=upper.constant - lower.constant)
        lines = Piece(constant=-lower.constant, slope=middle.slope), above
        return Smooth(lower.constant, replace(middle, slope=0.0), lines)


@dataclass(frozen=True)
class Smooth:
    """f(x) = base, plus lines[0](x) + series(x) between the thresholds, plus lines[1](x) above them.

    The series has a period and is small everywhere, so a small ring is enough for it; which piece applies is known
    later. The lowest piece costs nothing.
    """

    base: float
    series: Piece
    lines: tuple[Piece, Piece]

    @property
    def series_integer_bits(self) -> int:
        """|series| < 2^this between the thresholds, with all that rounding may add; elsewhere it does not matter."""
        amplitudes = sum(abs(a) for _, a in self.series.cosines + self.series.sines)
        return math.ceil(math.log2(abs(self.series.constant) + amplitudes))
