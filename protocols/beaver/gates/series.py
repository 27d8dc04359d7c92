"""Trigonometric sums of a secret, the smooth part of a piecewise function, from an opening modulo the period."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from protocols.beaver.gate import Gate
from protocols.beaver.gates.opening import unknown
from protocols.beaver.pair import Pair
from protocols.beaver.roles import Dealer, Party
from protocols.core import ring, tables
from protocols.core.cost import Cost
from protocols.core.errors import ProtocolError
from protocols.core.piecewise import Piece, Piecewise


@dataclass(frozen=True, eq=False)
class EvaluateSeries(Gate[Tensor]):
    """The constant and the trigonometric sum of `piece`, everywhere, from a pair c = x + r modulo the period.

    cos(wx) = cos(wc) cos(wr) + sin(wc) sin(wr) and likewise sin(wx), with cos(wr) and sin(wr) shared by the dealer.

    Shapes: any. Encoding: pair in Z_2^period or larger with input_bits -> share in Z_2^bits with function.scale
    fraction bits. Cost: no round; the dealer sends two words of ceil(bits/8) bytes for each harmonic.
    Error: that of rounding amplitudes and basis. Reveals: nothing. Source: as `EvaluatePiecewise`.
    """

    name = "series"
    pair: Pair
    piece: Piece
    function: Piecewise
    input_bits: int
    bits: int

    def cost(self) -> Cost:
        words = 2 * len(self.piece.harmonics) * self.pair.opened.numel()
        return Cost(dealer_bytes=words * ring.element_bytes(self.bits))

    def deal(self, dealer: Dealer) -> Tensor:
        assert self.pair.mask is not None
        for wave in harmonic_waves(self.pair.mask.reshape(-1), [self.piece], self.input_bits):
            dealer.share(tables.rounded(torch.stack(wave), tables.SCALE_BITS - self.function.basis_bits), self.bits)
        return unknown(self.pair.opened.shape)

    def evaluate(self, party: Party) -> Tensor:
        opened = self.pair.opened.reshape(-1)
        constant = round(self.piece.constant * 2.0**self.function.scale) if party.index == 0 else 0
        result = torch.full_like(opened, constant)
        everywhere = torch.zeros_like(opened, dtype=torch.uint8).unsqueeze(0)
        waves = harmonic_waves(opened, [self.piece], self.input_bits)
        for harmonic, wave in zip(self.piece.harmonics, waves, strict=True):
            cos, sin = party.correlation((2, *everywhere.shape), self.bits)
            a, b = amplitudes([self.piece], harmonic, self.function.amplitude_bits, opened.device)
            # No bit selects here: as for an opened bit of zero, whose masked share counts alone.
            tables.add_terms(result, wave, a, b, everywhere, (cos, cos, sin, sin))
        return result.reshape(tuple(self.pair.opened.shape))


def amplitudes(pieces: list[Piece], harmonic: int, amplitude_bits: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Amplitudes of cosine and sine of one harmonic, in fixed point. Shapes: J pieces -> two of [J]."""
    found = [
        [round(dict(terms).get(harmonic, 0.0) * 2.0**amplitude_bits) for terms in side]
        for side in ([piece.cosines for piece in pieces], [piece.sines for piece in pieces])
    ]
    a, b = (torch.tensor(side, dtype=torch.int64, device=device) for side in found)
    return a, b


def harmonic_waves(x: Tensor, pieces: list[Piece], input_bits: int) -> list[tuple[Tensor, Tensor]]:
    """cos and sin of 2 pi j x / period, times 2^26, for every harmonic j, from integers only.

    A public c and a secret r go through here alike: periods are powers of two units, so reducing is exact.
    Shapes: int64 [n] -> per harmonic two of [J, n], J pieces with the same harmonics.
    """
    harmonics = pieces[0].harmonics
    if any(piece.harmonics != harmonics for piece in pieces):
        raise ProtocolError("pieces with trigonometric sums must have the same harmonics")
    exponents = [math.log2(piece.period) + input_bits for piece in pieces]
    if any(exponent != int(exponent) for exponent in exponents):
        raise ProtocolError("a period is not a power of two")
    base = tables.phasor(_angles(x, [int(exponent) for exponent in exponents]))
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


def _angles(x: Tensor, period_bits: list[int]) -> Tensor:
    """x mod 2^period in units of 2^-24 turns. Shapes: [n] -> [J, n]."""
    periods = torch.tensor(period_bits, dtype=torch.int64, device=x.device).unsqueeze(1)
    residue = x & ((torch.ones_like(periods) << periods) - 1)
    drop = periods - tables.ANGLE_BITS
    return (residue >> drop.clamp(min=0)) << (-drop).clamp(min=0)
