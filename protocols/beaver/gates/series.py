"""Trigonometric sums of a secret, the smooth part of a piecewise function, from an opening modulo the period."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from protocols.beaver.gate import Gate
from protocols.beaver.gates.opening import unknown
from protocols.beaver.gates.pieces import factors_of, harmonics_of
from protocols.beaver.pair import Pair
from protocols.beaver.roles import Dealer, Party
from protocols.core import harmonics, ring, tables
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

    @property
    def _harmonics(self) -> harmonics.Harmonics:
        return harmonics_of((self.piece,), self.input_bits)

    def cost(self) -> Cost:
        words = 2 * len(self.piece.harmonics) * self.pair.opened.numel()
        return Cost(dealer_bytes=words * ring.element_bytes(self.bits))

    def deal(self, dealer: Dealer) -> Tensor:
        assert self.pair.mask is not None
        less = tables.SCALE_BITS - self.function.basis_bits
        dealer.share(harmonics.basis(self.pair.mask.reshape(-1), self._harmonics, less), self.bits)
        return unknown(self.pair.opened.shape)

    def evaluate(self, party: Party) -> Tensor:
        opened = self.pair.opened.reshape(-1)
        constant = round(self.piece.constant * 2.0**self.function.scale) if party.index == 0 else 0
        result = torch.full_like(opened, constant)
        shares = party.correlation((len(self.piece.harmonics), 2, 1, opened.numel()), self.bits)
        factors = factors_of((self.piece,), self.function.amplitude_bits, opened.device)
        no_choice = torch.zeros((1, opened.numel()), dtype=torch.uint8, device=opened.device)
        harmonics.add_sum(result, opened, self._harmonics, factors, no_choice, shares)
        return result.reshape(tuple(self.pair.opened.shape))
