"""Trigonometric sums of a secret, the smooth part of a piecewise function, from an opening modulo the period."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from protocols.beaver.gate import Gate
from protocols.beaver.gates.opening import unknown
from protocols.beaver.gates.pieces import amplitudes, harmonic_waves
from protocols.beaver.pair import Pair
from protocols.beaver.roles import Dealer, Party
from protocols.core import ring, tables
from protocols.core.cost import Cost
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
        for wave in harmonic_waves(self.pair.mask.reshape(-1), (self.piece,), self.input_bits):
            dealer.share(tables.rounded(torch.stack(wave), tables.SCALE_BITS - self.function.basis_bits), self.bits)
        return unknown(self.pair.opened.shape)

    def evaluate(self, party: Party) -> Tensor:
        opened = self.pair.opened.reshape(-1)
        constant = round(self.piece.constant * 2.0**self.function.scale) if party.index == 0 else 0
        result = torch.full_like(opened, constant)
        everywhere = torch.zeros_like(opened, dtype=torch.uint8).unsqueeze(0)
        waves = harmonic_waves(opened, (self.piece,), self.input_bits)
        for harmonic, wave in zip(self.piece.harmonics, waves, strict=True):
            cos, sin = party.correlation((2, *everywhere.shape), self.bits)
            a, b = amplitudes((self.piece,), harmonic, self.function.amplitude_bits, opened.device)
            # No bit selects here: as for an opened bit of zero, whose masked share counts alone.
            tables.add_terms(result, wave, a, b, everywhere, (cos, cos, sin, sin))
        return result.reshape(tuple(self.pair.opened.shape))
