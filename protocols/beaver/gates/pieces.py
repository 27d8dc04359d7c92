"""What the gates need of functions by pieces, worked out once: thresholds, coefficients in fixed point, periods."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from protocols.beaver.gates.comparing import Thresholds
from protocols.core import tables
from protocols.core.errors import ProtocolError
from protocols.core.harmonics import Harmonics
from protocols.core.piecewise import Piece, Piecewise


@dataclass(frozen=True)
class Sum:
    """The pieces of one function that have trigonometric sums, J of them, and their positions among the chosen."""

    positions: tuple[int, ...]
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class Table:
    """Functions with the same thresholds. chosen: the K pieces on which some function is not zero.

    sloped: positions among the chosen at which some function has a slope. constants, slopes: of each function, K of
    them. sums: of each function; words: that the dealer sends for each element.
    """

    thresholds: Thresholds
    chosen: tuple[int, ...]
    sloped: tuple[int, ...]
    constants: tuple[tuple[int, ...], ...]
    slopes: tuple[tuple[int, ...], ...]
    sums: tuple[Sum | None, ...]
    words: int


@cache
def table_of(functions: tuple[Piecewise, ...], input_bits: int) -> Table:
    """Raises ProtocolError for functions that cannot be evaluated together, or not at these scales."""
    first = functions[0]
    if any(f.comparison != first.comparison for f in functions):
        raise ProtocolError("functions that are evaluated together must have the same thresholds")
    chosen = tuple(i for i in range(len(first.pieces)) if any(f.pieces[i] is not None for f in functions))
    sloped = tuple(k for k, i in enumerate(chosen) if any(f.slope(i) for f in functions))
    constants = tuple(tuple(f.scaled_constant(i) for i in chosen) for f in functions)
    slopes = tuple(tuple(_exact_slope(f.slope(i), f.scale - input_bits) for i in chosen) for f in functions)
    sums = tuple(_sum(f, chosen) for f in functions)
    waves = sum(4 * len(each.pieces[0].harmonics) * len(each.pieces) for each in sums if each is not None)
    words = len(chosen) + len(sloped) + waves
    return Table(_thresholds(first, input_bits), chosen, sloped, constants, slopes, sums, words)


def factors_of(pieces: tuple[Piece, ...], amplitude_bits: int, device: torch.device) -> Tensor:
    """Amplitudes of cosine and sine of every harmonic, in fixed point. Shapes: J pieces -> int64 [H, 2, J]."""
    return tables.numbers(_amplitudes(pieces, amplitude_bits), device)


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
    drops = [(int(exponent), int(exponent) - tables.ANGLE_BITS) for exponent in exponents]
    periods = tuple(((1 << exponent) - 1, max(0, drop), max(0, -drop)) for exponent, drop in drops)
    return Harmonics(periods, pieces[0].harmonics)


def _thresholds(function: Piecewise, input_bits: int) -> Thresholds:
    values = tuple(round(t * 2.0**input_bits) for t in function.thresholds)
    dropped = max(0, input_bits - function.blur_bits) if function.blur_bits is not None else 0
    return Thresholds(values, function.compare_bits - dropped, dropped)


def _sum(function: Piecewise, chosen: tuple[int, ...]) -> Sum | None:
    found = [(k, function.pieces[i]) for k, i in enumerate(chosen)]
    waved = [(k, piece) for k, piece in found if piece is not None and piece.harmonics]
    if not waved:
        return None
    return Sum(tuple(k for k, _ in waved), tuple(piece for _, piece in waved))


def _exact_slope(slope: float, shift: int) -> int:
    scaled = math.ldexp(slope, shift)
    if scaled != int(scaled):
        raise ProtocolError(f"slope {slope} is not exact with {shift} more fraction bits")
    return int(scaled)
