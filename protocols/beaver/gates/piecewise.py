"""Any function by pieces from one opening: comparison, sign, ReLU, GeLU, tanh, reciprocal, inverse square root."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from protocols.beaver.gate import Gate
from protocols.beaver.gates.borrow import shared_one
from protocols.beaver.gates.comparing import (
    Thresholds,
    compare,
    deal_bit_masks,
    deal_comparison,
    open_bits,
    opened_bits_cost,
    thresholds_cost,
)
from protocols.beaver.gates.opening import unknown
from protocols.beaver.gates.series import amplitudes, harmonic_waves
from protocols.beaver.pair import Pair
from protocols.beaver.roles import Dealer, Party
from protocols.core import local, ring, tables
from protocols.core.cost import Cost
from protocols.core.errors import ProtocolError
from protocols.core.piecewise import Piece, Piecewise


@dataclass(frozen=True, eq=False)
class EvaluatePiecewise(Gate[list[Tensor]]):
    """f(x) for one or several `Piecewise` f with the same thresholds, from a pair c = x + r that exists already.

    1. b_j = [x < t_j] for all thresholds at once, and from neighbouring b_j the indicator h of every piece that some
       function needs.
    2. Open v = h ⊕ ρ, one bit per such piece.
    3. On a piece, f is a public combination of dealer-shared functions φ of r:
           x = c - r,   cos(wx) = cos(wc) cos(wr) + sin(wc) sin(wr),   sin(wx) = sin(wc) cos(wr) - cos(wc) sin(wr);
       with [φ] and [ρφ] shared, [h φ] = v [φ] + (1 - 2v) [ρφ] is local. So is the sum over pieces.

    Shapes: any. Encoding: pair in Z_2^k with input_bits, mask dealt where a function has slopes -> shares in Z_2^bits,
    bits <= k where there are slopes, each with its `function.scale` fraction bits: output_bits or, for a later
    truncation, amplitude_bits + basis_bits.
    Cost: rounds and bits of the comparison, one round of one bit per piece; the dealer sends the comparison's
    correlations and, per piece, words of ceil(bits/8) bytes: one, one more for a slope, four for each harmonic.
    Error: function.max_error after truncation. Reveals: nothing new; all opened bits are uniform.
    Source: one opening for thresholds and function as in the project's design notes; Fourier series under additive
    masks as in SHAFT 2025 (there with several openings).
    """

    name = "piecewise"
    pair: Pair
    functions: tuple[Piecewise, ...]
    input_bits: int
    bits: int

    def _thresholds(self) -> Thresholds:
        first = self.functions[0]
        if any(f.comparison != first.comparison for f in self.functions):
            raise ProtocolError("functions that are evaluated together must have the same thresholds")
        if first.compare_bits > self.pair.bits:
            raise ProtocolError(f"{first.name} compares {first.compare_bits} bits of a smaller ring")
        if self._sloped() and self.pair.bits < self.bits:
            raise ProtocolError(f"{first.name} has slopes: its result is in no larger ring than its argument")
        values = tuple(round(t * 2.0**self.input_bits) for t in first.thresholds)
        dropped = max(0, self.input_bits - first.blur_bits) if first.blur_bits is not None else 0
        return Thresholds(values, first.compare_bits - dropped, dropped)

    def _chosen(self) -> list[int]:
        """Pieces on which some function is not zero."""
        count = len(self.functions[0].pieces)
        return [i for i in range(count) if any(f.pieces[i] is not None for f in self.functions)]

    def _sloped(self) -> list[int]:
        """Positions, among the chosen pieces, at which some function has a slope."""
        return [k for k, i in enumerate(self._chosen()) if any(f.slope(i) for f in self.functions)]

    def cost(self) -> Cost:
        count, chosen = self.pair.opened.numel(), self._chosen()
        words = len(chosen) + len(self._sloped())
        words += sum(4 * len(piece.harmonics) for f in self.functions for piece in f.pieces if piece is not None)
        cost = thresholds_cost(self._thresholds(), count) + opened_bits_cost(len(chosen), count)
        return cost + Cost(dealer_bytes=words * count * ring.element_bytes(self.bits))

    def deal(self, dealer: Dealer) -> list[Tensor]:
        assert self.pair.mask is not None
        mask, chosen = self.pair.mask.reshape(-1), self._chosen()
        deal_comparison(dealer, self.pair, self._thresholds())
        bit_masks = deal_bit_masks(dealer, len(chosen), mask.numel())
        dealer.share(bit_masks, self.bits)
        sloped = self._sloped()
        if sloped:
            dealer.share(mask * bit_masks[sloped], self.bits)
        for function in self.functions:
            waved = _waved(function, chosen)
            if waved:
                of_waves = bit_masks[[k for k, _ in waved]]
                for wave in harmonic_waves(mask, [piece for _, piece in waved], self.input_bits):
                    basis = [tables.rounded(part, tables.SCALE_BITS - function.basis_bits) for part in wave]
                    dealer.share(torch.stack([t for part in basis for t in (part, part * of_waves)]), self.bits)
        return [unknown(self.pair.opened.shape) for _ in self.functions]

    def evaluate(self, party: Party) -> list[Tensor]:
        opened, chosen = self.pair.opened.reshape(-1), self._chosen()
        below, _ = compare(party, self.pair, self._thresholds())
        indicators = torch.stack([_indicator(party, below, i) for i in chosen])
        bits = open_bits(party, indicators, opened.numel())
        bit_masks = party.correlation((len(chosen), opened.numel()), self.bits)
        sloped = self._sloped()
        masked = party.correlation((len(sloped), opened.numel()), self.bits) if sloped else None
        mask = self.pair.mask.reshape(-1) if sloped and self.pair.mask is not None else None
        constants = [[f.scaled_constant(i) for i in chosen] for f in self.functions]
        slopes = [[_exact_slope(f.slope(i), f.scale - self.input_bits) for i in chosen] for f in self.functions]
        factors = (torch.tensor(rows, dtype=torch.int64, device=opened.device) for rows in (constants, slopes))
        first = party.index == 0
        results = local.lines(opened, mask, bits, bit_masks, masked, sloped, *factors, first=first)
        for function, result in zip(self.functions, results, strict=True):
            waved = _waved(function, chosen)
            if waved:
                result += self._sums(party, function, bits[[k for k, _ in waved]], [p for _, p in waved], opened)
        return [result.reshape(tuple(self.pair.opened.shape)) for result in results]

    def _sums(self, party: Party, function: Piecewise, chosen: Tensor, pieces: list[Piece], opened: Tensor) -> Tensor:
        """A share of the trigonometric sum of the piece that applies. Shapes: J pieces, opened [n] -> [n]."""
        result = torch.zeros_like(opened)
        shape = 4, *chosen.shape
        for harmonic, wave in zip(pieces[0].harmonics, harmonic_waves(opened, pieces, self.input_bits), strict=True):
            shares = list(party.correlation(shape, self.bits))
            a, b = amplitudes(pieces, harmonic, function.amplitude_bits, opened.device)
            tables.add_terms(result, wave, a, b, chosen, shares)
        return result


def _waved(function: Piecewise, chosen: list[int]) -> list[tuple[int, Piece]]:
    """Position among the chosen pieces and the piece itself, for those with a trigonometric sum."""
    pieces = [(k, function.pieces[i]) for k, i in enumerate(chosen)]
    return [(k, piece) for k, piece in pieces if piece is not None and piece.harmonics]


def _indicator(party: Party, below: Tensor, i: int) -> Tensor:
    """XOR share of [t_i <= x < t_{i+1}] from shares of [x < t_j]; outermost thresholds are infinite."""
    upper = below[i] if i < below.shape[0] else shared_one(party, below[0])
    return upper ^ below[i - 1] if i > 0 else upper


def _exact_slope(slope: float, shift: int) -> int:
    scaled = math.ldexp(slope, shift)
    if scaled != int(scaled):
        raise ProtocolError(f"slope {slope} is not exact with {shift} more fraction bits")
    return int(scaled)
