"""Cosines and sines in integers on the CPU, and sums of their products with shares."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from secure.protocols.core.integer_functions import SCALE_BITS
from secure.protocols.core.kernels import harmonics
from secure.protocols.core.kernels.cpu.compiler import Array, computed, part, run
from secure.protocols.core.kernels.cpu.selection import choose
from secure.protocols.core.kernels.harmonics import Harmonics, loop_arguments

_TURNED = 1024  # angles that are multiplied in one go: cosines and sines of two of them stay in the first-level cache


@part
def _phasors(x: Array, low: int, down: int, up: int, angles: Array, drop: int, cos: Array, sin: Array) -> None:
    """cos and sin of x's angle, as `integer_functions.phasor` has them, and its tables. Shapes: [n] each, [4, size]."""
    half, bits = 1 << (drop - 1), 0
    while 1 << bits < angles.shape[1]:
        bits += 1
    for i in range(len(x)):
        angle = ((x[i] & low) >> down) << up
        high, small = (angle >> bits) & ((1 << bits) - 1), angle & ((1 << bits) - 1)
        a_cos, a_sin, b_cos, b_sin = angles[0, high], angles[1, high], angles[2, small], angles[3, small]
        cos[i] = (a_cos * b_cos - a_sin * b_sin + half) >> drop
        sin[i] = (a_cos * b_sin + a_sin * b_cos + half) >> drop


@part
def _turn(cos: Array, sin: Array, by_cos: Array, by_sin: Array, drop: int) -> None:
    """Products of complex numbers, in place, rounded by `drop` bits. Shapes: int32 [n] each."""
    half = 1 << (drop - 1)
    for i in range(len(cos)):
        a_cos, a_sin = cos[i], sin[i]
        cos[i] = (a_cos * by_cos[i] - a_sin * by_sin[i] + half) >> drop
        sin[i] = (a_cos * by_sin[i] + a_sin * by_cos[i] + half) >> drop


def _harmonics(
    x: Array, periods: Array, rows: Array, step: int, angles: Array, drop: int, less: int, out: Array
) -> None:
    """See `harmonics.basis`. Shapes: x [n], periods [J, 3], rows [T]: which row of out [H, 2, J, n] each of T has."""
    cos, sin = np.empty(_TURNED, dtype=np.int32), np.empty(_TURNED, dtype=np.int32)
    by_cos, by_sin = np.empty(_TURNED, dtype=np.int32), np.empty(_TURNED, dtype=np.int32)
    half = (1 << less) >> 1
    for j in range(len(periods)):
        low, down, up = periods[j, 0], periods[j, 1], periods[j, 2]
        for start in range(0, len(x), _TURNED):
            width = min(_TURNED, len(x) - start)
            c, s, p, q = cos[:width], sin[:width], by_cos[:width], by_sin[:width]
            _phasors(x[start : start + width], low, down, up, angles, drop, c, s)
            p[:], q[:] = c, s
            if step == 2:
                _turn(p, q, c, s, drop)
            for t in range(len(rows)):
                if rows[t] >= 0:
                    of_cos, of_sin = (
                        out[rows[t], 0, j, start : start + width],
                        out[rows[t], 1, j, start : start + width],
                    )
                    for i in range(width):
                        of_cos[i] = (c[i] + half) >> less
                        of_sin[i] = (s[i] + half) >> less
                if t + 1 < len(rows):
                    _turn(c, s, p, q, drop)


def _add_harmonics(
    x: Array,
    periods: Array,
    rows: Array,
    step: int,
    angles: Array,
    drop: int,
    factors: Array,
    value: Array,
    shares: Array,
    result: Array,
) -> None:
    """See `harmonics.add_sum`. Shapes: factors [H, 2, J], value [J, n], shares [H, 4 or 2, J, n], others as above."""
    cos, sin = np.empty(_TURNED, dtype=np.int32), np.empty(_TURNED, dtype=np.int32)
    by_cos, by_sin = np.empty(_TURNED, dtype=np.int32), np.empty(_TURNED, dtype=np.int32)
    half, each = 1 << (drop - 1), shares.shape[1] // 2
    for j in range(len(periods)):
        low, down, up = periods[j, 0], periods[j, 1], periods[j, 2]
        for start in range(0, len(x), _TURNED):
            width = min(_TURNED, len(x) - start)
            stop = start + width
            c, s, p, q = cos[:width], sin[:width], by_cos[:width], by_sin[:width]
            _phasors(x[start:stop], low, down, up, angles, drop, c, s)
            p[:], q[:] = c, s
            if step == 2:
                _turn(p, q, c, s, drop)
            v, total = value[j, start:stop], result[start:stop]
            for t in range(len(rows)):
                h = rows[t]
                if h >= 0:
                    a, b = factors[h, 0, j], factors[h, 1, j]
                    cos_share, cos_masked = shares[h, 0, j, start:stop], shares[h, each - 1, j, start:stop]
                    sin_share, sin_masked = shares[h, each, j, start:stop], shares[h, 2 * each - 1, j, start:stop]
                    for i in range(width):
                        of_cos = (a * c[i] + b * s[i] + half) >> drop
                        of_sin = (a * s[i] - b * c[i] + half) >> drop
                        total[i] += of_cos * choose(v[i], cos_share[i], cos_masked[i])
                        total[i] += of_sin * choose(v[i], sin_share[i], sin_masked[i])
                if t + 1 < len(rows):
                    _turn(c, s, p, q, drop)


@harmonics.basis.on_cpu
def basis(x: Tensor, harmonics: Harmonics, less: int) -> Tensor:
    """See `harmonics.basis`."""
    shape = len(harmonics.numbers), 2, len(harmonics.periods), len(x)
    return computed(_harmonics, x, *loop_arguments(harmonics, x.device), SCALE_BITS, less, shape=shape)


@harmonics.add_sum.on_cpu
def add_sum(result: Tensor, x: Tensor, harmonics: Harmonics, factors: Tensor, value: Tensor, shares: Tensor) -> None:
    """See `harmonics.add_sum`."""
    inputs = x, *loop_arguments(harmonics, x.device), SCALE_BITS, factors, value, shares
    run(_add_harmonics, *inputs, into=(result,))
