"""What the gates need of functions by pieces, worked out once: thresholds, coefficients in fixed point, periods."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from secure.protocols.core import integer_functions
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.kernels.harmonics import Harmonics
from secure.protocols.core.piecewise import Piece, Piecewise
from secure.protocols.core.profile import NEAR, Profile
from secure.protocols.masked.comparison.comparing import Thresholds


@dataclass(frozen=True)
class Table:
    """chosen: the K pieces that are not zero. sloped, waved: positions among them of those that have a slope, or a
    trigonometric sum; waves: the latter, J of them. constants, slopes: K of each, in fixed point. words: that the
    dealer sends for each element.
    """

    thresholds: Thresholds
    chosen: tuple[int, ...]
    sloped: tuple[int, ...]
    waved: tuple[int, ...]
    waves: tuple[Piece, ...]
    constants: tuple[int, ...]
    slopes: tuple[int, ...]
    words: int


@cache
def table_of(function: Piecewise, input_bits: int, profile: Profile = NEAR) -> Table:
    """Raises ProtocolError for a function that cannot be evaluated at these scales."""
    found = [(i, piece) for i, piece in enumerate(function.pieces) if piece is not None]
    chosen, pieces = tuple(i for i, _ in found), [piece for _, piece in found]
    sloped = tuple(k for k, piece in enumerate(pieces) if piece.slope)
    waved = tuple(k for k, piece in enumerate(pieces) if piece.harmonics)
    waves = tuple(pieces[k] for k in waved)
    constants = tuple(round(piece.constant * 2.0**function.scale) for piece in pieces)
    slopes = tuple(exact_slope(piece.slope, function.scale - input_bits) for piece in pieces)
    words = len(chosen) + len(sloped) + sum(4 * len(piece.harmonics) for piece in waves)
    return Table(thresholds_of(function, input_bits, profile), chosen, sloped, waved, waves, constants, slopes, words)


def factors_of(pieces: tuple[Piece, ...], amplitude_bits: int, device: torch.device) -> Tensor:
    """Amplitudes of cosine and sine of every harmonic, in fixed point. Shapes: J pieces -> int64 [H, 2, J]."""
    return integer_functions.numbers(_amplitudes(pieces, amplitude_bits), device)


@cache
def _amplitudes(pieces: tuple[Piece, ...], amplitude_bits: int) -> tuple[tuple[tuple[int, ...], ...], ...]:
    sides = [[dict(piece.cosines) for piece in pieces], [dict(piece.sines) for piece in pieces]]
    return tuple(
        tuple(tuple(round(terms.get(j, 0.0) * 2.0**amplitude_bits) for terms in side) for side in sides)
        for j in pieces[0].harmonics
    )


@cache
def harmonics_of(pieces: tuple[Piece, ...], input_bits: int) -> Harmonics:
    """What J pieces take of a number with input_bits. Raises ProtocolError when their harmonics are not the same."""
    if any(piece.harmonics != pieces[0].harmonics for piece in pieces):
        raise ProtocolError("pieces with trigonometric sums must have the same harmonics")
    exponents = [math.log2(piece.period) + input_bits for piece in pieces]
    if any(exponent != int(exponent) for exponent in exponents):
        raise ProtocolError("a period is not a power of two")
    drops = [(int(exponent), int(exponent) - integer_functions.ANGLE_BITS) for exponent in exponents]
    periods = tuple(((1 << exponent) - 1, max(0, drop), max(0, -drop)) for exponent, drop in drops)
    return Harmonics(periods, pieces[0].harmonics)


@cache
def thresholds_of(function: Piecewise, input_bits: int, profile: Profile = NEAR) -> Thresholds:
    """What x is compared with, and how finely. Raises ProtocolError for an x that is too fine."""
    function.check_scale(input_bits)
    values = tuple(round(t * 2.0**input_bits) for t in function.thresholds)
    dropped = max(0, input_bits - function.blur_bits) if function.blur_bits is not None else 0
    return Thresholds(values, function.compare_bits - dropped, dropped, profile)


def exact_slope(slope: float, shift: int) -> int:
    """slope 2^shift. Raises ProtocolError where that is no integer."""
    scaled = math.ldexp(slope, shift)
    if scaled != int(scaled):
        raise ProtocolError(f"slope {slope} is not exact with {shift} more fraction bits")
    return int(scaled)
