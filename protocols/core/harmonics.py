"""Trigonometric sums of a masked number, in integers: cosines and sines of multiples of its angle.

With c = x + r public, cos(w x) is cos(w c) cos(w r) + sin(w c) sin(w r). The dealer shares cosines and sines of r, the
parties multiply them by those of c. Both come from here, from the tables of `tables` and repeated rotation, so that
every machine finds the same integers. There is one compiled loop for each side, on the CPU and on graphics cards, and
the same in plain torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from secure.protocols.core import integer_functions
from secure.protocols.core.kernels import card, cpu


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
        """Of each multiple 1, 1 + step, ... its position among the numbers, or -1."""
        return tuple(
            self.numbers.index(j) if j in self.numbers else -1 for j in range(1, self.numbers[-1] + 1, self.step)
        )


def basis(x: Tensor, harmonics: Harmonics, less: int) -> Tensor:
    """cos and sin of every harmonic of x, times 2^(26 - less), rounded. Shapes: int64 [n] -> [H, 2, J, n]."""
    count = len(harmonics.numbers)
    if card.serve(x.device):
        periods, rows, step, angles = _arguments(x, harmonics)
        return card.harmonics(x, periods, rows, count, step, angles, integer_functions.SCALE_BITS, less)
    if not cpu.serve(x.device):
        return basis_reference(x, harmonics, less)
    return torch.from_numpy(cpu.harmonics(count, *_arrays(x, harmonics), integer_functions.SCALE_BITS, less))


def basis_reference(x: Tensor, harmonics: Harmonics, less: int) -> Tensor:
    """`basis` in plain torch."""
    return integer_functions.rounded(torch.stack([torch.stack(wave) for wave in _waves(x, harmonics)]), less)


def add_sum(result: Tensor, x: Tensor, harmonics: Harmonics, factors: Tensor, value: Tensor, shares: Tensor) -> None:
    """result += sum over J and harmonics of a cos(w (x - r)) + b sin(w (x - r)), where a bit of J chooses one or none.

        a cos(wx - wr) + b sin(wx - wr) = (a cos wx + b sin wx) cos wr + (a sin wx - b cos wx) sin wr.

    factors: a and b of every harmonic. value: the opened bits, v = bit ⊕ ρ. shares: of cos wr, ρ cos wr, sin wr and
    ρ sin wr; or of cos wr and sin wr alone, where every sum is taken: then value is zero.
    Shapes: result, x int64 [n]; factors int64 [H, 2, J]; value uint8 [J, n]; shares int64 [H, 4 or 2, J, n].
    """
    if card.serve(x.device):
        card.add_harmonics(x, *_arguments(x, harmonics), integer_functions.SCALE_BITS, factors, value, shares, result)
    elif cpu.serve(x.device):
        others = factors.numpy(), value.contiguous().numpy(), shares.contiguous().numpy(), result.numpy()
        cpu.add_harmonics(*_arrays(x, harmonics), integer_functions.SCALE_BITS, *others)
    else:
        add_sum_reference(result, x, harmonics, factors, value, shares)


def add_sum_reference(
    result: Tensor, x: Tensor, harmonics: Harmonics, factors: Tensor, value: Tensor, shares: Tensor
) -> None:
    """`add_sum` in plain torch."""
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


def _arguments(x: Tensor, harmonics: Harmonics) -> tuple[Tensor, Tensor, int, Tensor]:
    """What the loops take beside x, on its device: periods, rows, step, angles."""
    periods, rows = (integer_functions.numbers(values, x.device) for values in (harmonics.periods, harmonics.rows))
    return periods, rows, harmonics.step, integer_functions.angles(x.device)


def _arrays(x: Tensor, harmonics: Harmonics) -> tuple[cpu.Array, cpu.Array, cpu.Array, int, cpu.Array]:
    """What both loops on the CPU take first."""
    periods, rows, step, angles = _arguments(x, harmonics)
    return x.contiguous().numpy(), periods.numpy(), rows.numpy(), step, angles.numpy()
