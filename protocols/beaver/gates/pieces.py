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


def amplitudes(
    pieces: tuple[Piece, ...], harmonic: int, amplitude_bits: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Amplitudes of cosine and sine of one harmonic, in fixed point. Shapes: J pieces -> two of [J]."""
    a, b = (tables.numbers(side, device) for side in _amplitudes(pieces, harmonic, amplitude_bits))
    return a, b


@cache
def _amplitudes(pieces: tuple[Piece, ...], harmonic: int, amplitude_bits: int) -> list[tuple[int, ...]]:
    return [
        tuple(round(dict(terms).get(harmonic, 0.0) * 2.0**amplitude_bits) for terms in side)
        for side in ([piece.cosines for piece in pieces], [piece.sines for piece in pieces])
    ]


def harmonic_waves(x: Tensor, pieces: tuple[Piece, ...], input_bits: int) -> list[tuple[Tensor, Tensor]]:
    """cos and sin of 2 pi j x / period, times 2^26, for every harmonic j, from integers only.

    A public c and a secret r go through here alike: periods are powers of two units, so reducing is exact.
    Shapes: int64 [n] -> per harmonic two of [J, n], J pieces with the same harmonics.
    """
    harmonics = pieces[0].harmonics
    low, down, up = (tables.numbers(values, x.device).unsqueeze(1) for values in _periods(pieces, input_bits))
    base = tables.phasor(((x & low) >> down) << up)
    # Functions that are odd about a quarter period need odd harmonics only: step by two then.
    step = 2 if all(j % 2 for j in harmonics) else 1
    stride = tables.rotate(base, base) if step == 2 and len(harmonics) > 1 else base
    waves, current = [], base
    for j in range(1, harmonics[-1] + 1, step):
        if j in harmonics:
            waves.append(current)
        if j < harmonics[-1]:
            current = tables.rotate(current, stride)
    return waves


@cache
def _periods(pieces: tuple[Piece, ...], input_bits: int) -> list[tuple[int, ...]]:
    """How x mod 2^period becomes units of 2^-24 turns: what masks it, and shifts down and up. J each."""
    if any(piece.harmonics != pieces[0].harmonics for piece in pieces):
        raise ProtocolError("pieces with trigonometric sums must have the same harmonics")
    exponents = [math.log2(piece.period) + input_bits for piece in pieces]
    if any(exponent != int(exponent) for exponent in exponents):
        raise ProtocolError("a period is not a power of two")
    drops = [int(exponent) - tables.ANGLE_BITS for exponent in exponents]
    masks = tuple((1 << int(exponent)) - 1 for exponent in exponents)
    return [masks, tuple(max(0, drop) for drop in drops), tuple(max(0, -drop) for drop in drops)]


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
