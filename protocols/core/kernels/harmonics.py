"""Trigonometric sums of a masked number, in integers: cosines and sines of multiples of its angle.

With c = x + r public, cos(w x) is cos(w c) cos(w r) + sin(w c) sin(w r). The dealer shares cosines and sines of r, the
parties multiply them by those of c. Both come from here, from the tables of `integer_functions` and repeated rotation,
so that every machine finds the same integers. Each side is a step with compiled loops in `cpu/harmonics.py` and
`card/harmonics.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from secure.protocols.core import integer_functions
from secure.protocols.core.kernels.dispatch import step


@dataclass(frozen=True)
class Harmonics:
    """Harmonics of J periods. numbers: which multiples of each angle, ascending.

    periods: how x mod a period becomes units of 2^-24 turns: a mask, then shifts down and up. Periods are powers of two
    units, so reducing is exact, for a public c and for a mask r alike.
    """

    periods: tuple[tuple[int, int, int], ...]
    numbers: tuple[int, ...]

    @cached_property
    def step(self) -> int:
        """Functions that are odd about a quarter period need odd harmonics only: step by two then."""
        return 2 if all(j % 2 for j in self.numbers) else 1

    @cached_property
    def rows(self) -> tuple[int, ...]:
        """The position among the numbers of each multiple 1, 1 + step, ..., or -1."""
        return tuple(
            self.numbers.index(j) if j in self.numbers else -1 for j in range(1, self.numbers[-1] + 1, self.step)
        )


@step
def basis(x: Tensor, harmonics: Harmonics, less: int) -> Tensor:
    """cos and sin of every harmonic of x, times 2^(26 - less), rounded. Shapes: int64 [n] -> [H, 2, J, n]."""
    return integer_functions.rounded(torch.stack([torch.stack(wave) for wave in _waves(x, harmonics)]), less)


@step
def add_sum(result: Tensor, x: Tensor, harmonics: Harmonics, factors: Tensor, value: Tensor, shares: Tensor) -> None:
    """result += sum over J and harmonics of a cos(w (x - r)) + b sin(w (x - r)), where a bit of J chooses one or none.

        a cos(wx - wr) + b sin(wx - wr) = (a cos wx + b sin wx) cos wr + (a sin wx - b cos wx) sin wr.

    factors: a and b of every harmonic. value: the opened bits, v = bit ⊕ ρ. shares: of cos wr, ρ cos wr, sin wr and
    ρ sin wr; or of cos wr and sin wr alone, where every sum is taken: then value is zero.
    Shapes: result, x int64 [n]; factors int64 [H, 2, J]; value uint8 [J, n]; shares int64 [H, 4 or 2, J, n].
    """
    chosen = value.to(torch.bool)
    for (cos, sin), (a, b), of_harmonic in zip(_waves(x, harmonics), factors.unsqueeze(-1), shares, strict=True):
        pairs = of_harmonic.reshape(2, -1, *value.shape)
        for factor, pair in zip((a * cos + b * sin, a * sin - b * cos), pairs, strict=True):
            share = torch.where(chosen, pair[0] - pair[-1], pair[-1])
            result += (integer_functions.rounded(factor, integer_functions.SCALE_BITS) * share).sum(0)


def _waves(x: Tensor, harmonics: Harmonics) -> list[tuple[Tensor, Tensor]]:
    """cos and sin of every harmonic, times 2^26. Shapes: int64 [n] -> two of [J, n] each."""
    low, down, up = (side.unsqueeze(1) for side in integer_functions.numbers(harmonics.periods, x.device).unbind(1))
    current = base = integer_functions.phasor(((x & low) >> down) << up)
    stride = integer_functions.rotate(base, base) if harmonics.step == 2 else base
    waves = []
    for t, row in enumerate(harmonics.rows):
        if t:
            current = integer_functions.rotate(current, stride)
        if row >= 0:
            waves.append(current)
    return waves


def loop_arguments(harmonics: Harmonics, device: torch.device) -> tuple[Tensor, Tensor, int, Tensor]:
    """What the compiled loops take of harmonics, on their device: periods, rows, step, the tables of angles."""
    periods, rows = (integer_functions.numbers(values, device) for values in (harmonics.periods, harmonics.rows))
    return periods, rows, harmonics.step, integer_functions.angles(device)
